#include "workspace.h"

#include "../pages.h"

#ifdef LANTERN_SANITIZE
#include <sanitizer/asan_interface.h>
#endif

namespace lantern {

namespace {

// Under the address sanitizer only the bytes that were asked for may be touched, although the buffer has more; 0 leaves that as it is.
void* bounded(void* p, [[maybe_unused]] size_t asked, [[maybe_unused]] size_t bytes) {
#ifdef LANTERN_SANITIZE
  if (asked) ASAN_UNPOISON_MEMORY_REGION(p, bytes);
  if (asked && asked < bytes) ASAN_POISON_MEMORY_REGION(static_cast<char*>(p) + asked, bytes - asked);
#endif
  return p;
}

void release(void* p, size_t bytes) { unmapPages(bounded(p, bytes, bytes), bytes); }

}  // namespace

Workspace::~Workspace() {
  if (shared_.p) release(shared_.p, shared_.bytes);
  for (auto& b : local_)
    if (b.p) release(b.p, b.bytes);
}

void* Workspace::grow(Buffer& buffer, size_t bytes) {
  if (bytes <= buffer.bytes) return bounded(buffer.p, bytes, buffer.bytes);
  constexpr size_t kStep = size_t(64) << 10;
  const size_t size = (bytes + kStep - 1) / kStep * kStep;
  if (buffer.p) release(buffer.p, buffer.bytes);
  bytes_.fetch_sub(buffer.bytes, std::memory_order_relaxed);
  buffer = {mapPages(size), size};
  if (!buffer.p) buffer.bytes = 0;
  bytes_.fetch_add(buffer.bytes, std::memory_order_relaxed);
  return buffer.p ? bounded(buffer.p, bytes, buffer.bytes) : nullptr;
}

}  // namespace lantern
