#include "allocator.h"

#include <algorithm>

#include "pages.h"

namespace lantern {

namespace {
size_t roundUp(size_t n, size_t to) { return (n + to - 1) / to * to; }
}  // namespace

Allocator::~Allocator() {
  for (auto& [p, bytes] : segments_) source_.unmap(reinterpret_cast<void*>(p), bytes);
}

// Marks the block free and merges it with free neighbours of the same segment.
void Allocator::addFree(Blocks::iterator b) {
  b->second.free = true;
  const auto next = std::next(b);
  if (next != blocks_.end() && next->second.free && next->second.segment == b->second.segment) {
    free_.erase({next->second.bytes, next->first});
    b->second.bytes += next->second.bytes;
    blocks_.erase(next);
  }
  if (b != blocks_.begin()) {
    const auto prev = std::prev(b);
    if (prev->second.free && prev->second.segment == b->second.segment) {
      free_.erase({prev->second.bytes, prev->first});
      prev->second.bytes += b->second.bytes;
      blocks_.erase(b);
      b = prev;
    }
  }
  free_.insert({b->second.bytes, b->first});
}

bool Allocator::grow(size_t bytes) {
  size_t size = std::max(layout_.segment, roundUp(bytes, kHugePage));
  if (budget_ && reserved_ + size > budget_) {
    releaseUnused();
    size = std::min(size, std::max(roundUp(bytes, 4096), budget_ > reserved_ ? (budget_ - reserved_) / 4096 * 4096 : 0));
    if (reserved_ + size > budget_) return false;
  }
  void* p = source_.map(size);
  if (!p) {
    releaseUnused();
    size = roundUp(bytes, 4096);
    p = source_.map(size);
    if (!p) return false;
  }
  const uintptr_t at = reinterpret_cast<uintptr_t>(p);
  segments_[at] = size;
  reserved_ += size;
  free_.insert({size, at});
  blocks_[at] = {size, at, true};
  return true;
}

void* Allocator::allocate(size_t bytes) {
  bytes = roundUp(std::max<size_t>(bytes, 1), layout_.alignment);
  auto fit = free_.lower_bound({bytes, 0});
  if (fit == free_.end()) {
    if (!grow(bytes)) return nullptr;
    fit = free_.lower_bound({bytes, 0});
  }
  const uintptr_t at = fit->second;
  free_.erase(fit);
  Block& block = blocks_[at];
  block.free = false;
  if (block.bytes >= bytes + layout_.alignment) {
    const size_t rest = block.bytes - bytes;
    block.bytes = bytes;
    blocks_[at + bytes] = {rest, block.segment, true};
    free_.insert({rest, at + bytes});
  }
  live_ += block.bytes;
  peak_ = std::max(peak_, live_);
  return reinterpret_cast<void*>(at);
}

bool Allocator::free(void* p) {
  const auto b = blocks_.find(reinterpret_cast<uintptr_t>(p));
  if (b == blocks_.end() || b->second.free) return false;
  live_ -= b->second.bytes;
  addFree(b);
  return true;
}

void Allocator::releaseUnused() {
  for (auto s = segments_.begin(); s != segments_.end();) {
    const auto b = blocks_.find(s->first);
    if (!b->second.free || b->second.bytes != s->second) {
      ++s;
      continue;
    }
    source_.unmap(reinterpret_cast<void*>(s->first), s->second);
    reserved_ -= s->second;
    free_.erase({b->second.bytes, b->first});
    blocks_.erase(b);
    s = segments_.erase(s);
  }
}

}  // namespace lantern
