// Anonymous memory straight from the operating system, 2 MiB aligned and advised as huge pages: one fault per 2 MiB instead of 512.
#pragma once
#include <cstddef>

namespace lantern {

constexpr size_t kHugePage = size_t(2) << 20;

void* mapPages(size_t bytes);  // nullptr when the system has no more
void unmapPages(void* p, size_t bytes);

}  // namespace lantern
