#include "workspace.h"

#include "../pages.h"

namespace lantern {

Workspace::~Workspace() {
  if (shared_.p) unmapPages(shared_.p, shared_.bytes);
  for (auto& b : local_)
    if (b.p) unmapPages(b.p, b.bytes);
}

void* Workspace::grow(Buffer& buffer, size_t bytes) {
  if (bytes <= buffer.bytes) return buffer.p;
  constexpr size_t kStep = size_t(64) << 10;
  const size_t size = (bytes + kStep - 1) / kStep * kStep;
  if (buffer.p) unmapPages(buffer.p, buffer.bytes);
  bytes_.fetch_sub(buffer.bytes, std::memory_order_relaxed);
  buffer = {mapPages(size), size};
  if (!buffer.p) buffer.bytes = 0;
  bytes_.fetch_add(buffer.bytes, std::memory_order_relaxed);
  return buffer.p;
}

}  // namespace lantern
