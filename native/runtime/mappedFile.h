// A file mapped read-only: pages come in on first touch and are shared between processes.
#pragma once
#include <cstddef>
#include <string>

#include "status.h"

namespace lantern {

struct MappedFile {
  void* data = nullptr;
  size_t bytes = 0;
};

Status mapFile(const std::string& path, MappedFile& out);
void unmapFile(MappedFile file);

}  // namespace lantern
