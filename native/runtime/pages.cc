#include "pages.h"

#include <sys/mman.h>

#include <cstdint>

namespace lantern {

void* mapPages(size_t bytes) {
  const size_t span = bytes + kHugePage;
  void* base = mmap(nullptr, span, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED) return nullptr;
  const uintptr_t start = uintptr_t(base), aligned = (start + kHugePage - 1) / kHugePage * kHugePage;
  if (aligned > start) munmap(base, aligned - start);
  const uintptr_t end = aligned + bytes, limit = start + span;
  const uintptr_t tail = (end + 4095) / 4096 * 4096;
  if (limit > tail) munmap(reinterpret_cast<void*>(tail), limit - tail);
#ifdef MADV_HUGEPAGE
  if (bytes >= kHugePage) madvise(reinterpret_cast<void*>(aligned), bytes, MADV_HUGEPAGE);
#endif
  return reinterpret_cast<void*>(aligned);
}

void unmapPages(void* p, size_t bytes) { munmap(p, (bytes + 4095) / 4096 * 4096); }

}  // namespace lantern
