// A mapped file: pages come in on first touch and are shared between processes. Writing to one changes a copy of its own, never the file.
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
