// The caching allocator against a model: blocks never overlap, stay inside their segments, and every byte counted comes back.
#include "../../native/runtime/allocator.h"

#include <cstdlib>
#include <cstring>
#include <map>

#include "harness.h"

using namespace lantern;

namespace {

// Segments from the heap, so that a write outside of one is seen; `limit` bytes in all.
struct Heap : MemorySource {
  explicit Heap(size_t limit = SIZE_MAX) : limit(limit) {}
  void* map(size_t bytes) override {
    if (taken + bytes > limit) return nullptr;
    void* p = std::aligned_alloc(64, (bytes + 63) / 64 * 64);
    segments[p] = bytes;
    taken += bytes;
    return p;
  }
  void unmap(void* p, size_t bytes) override {
    CHECK(segments.count(p) && segments[p] == bytes);
    segments.erase(p);
    taken -= bytes;
    std::free(p);
  }
  size_t limit, taken = 0;
  std::map<void*, size_t> segments;
};

struct Held {
  unsigned char* p;
  size_t bytes;
  unsigned char mark;
};

void take(Allocator& allocator, std::vector<Held>& held, size_t bytes, unsigned char mark) {
  auto* p = static_cast<unsigned char*>(allocator.allocate(bytes));
  CHECK(p != nullptr);
  if (!p) return;
  CHECK(uintptr_t(p) % 64 == 0);
  std::memset(p, mark, bytes);
  held.push_back({p, bytes, mark});
}

// What was written is still there: no other block lies on it.
void give(Allocator& allocator, std::vector<Held>& held, size_t at) {
  const Held h = held[at];
  if (h.bytes) CHECK(h.p[0] == h.mark && h.p[h.bytes / 2] == h.mark && h.p[h.bytes - 1] == h.mark);
  CHECK(allocator.free(h.p));
  CHECK(!allocator.free(h.p));  // not twice
  held[at] = held.back();
  held.pop_back();
}

}  // namespace

TEST("allocator: random traffic against a model") {
  Heap heap;
  {
    Allocator allocator(heap, 0);
    test::Random random{7};
    std::vector<Held> held;
    size_t peak = 0;
    for (int step = 0; step < 6000; ++step) {
      const bool grow = held.empty() || random.below(100) < (step / 1000 % 2 ? 40 : 60);
      if (grow) take(allocator, held, size_t(random.below(random.below(50) ? 5000 : 3000000)), (unsigned char)step);
      else give(allocator, held, size_t(random.below(int64_t(held.size()))));
      size_t asked = 0;
      for (const Held& h : held) asked += h.bytes;
      const Allocator::Stats s = allocator.stats();
      CHECK(s.live >= asked && s.live <= asked + held.size() * 192);  // rounded to 64, a rest below 64 stays
      CHECK(s.reserved == heap.taken && s.live <= s.reserved);
      peak = s.live > peak ? s.live : peak;
      CHECK(s.peak == peak);
      if (step % 997 == 0) allocator.releaseUnused();
    }
    while (!held.empty()) give(allocator, held, held.size() - 1);
    CHECK(allocator.stats().live == 0);
    allocator.releaseUnused();  // everything merged back into whole segments
    CHECK(allocator.stats().reserved == 0 && heap.taken == 0);
  }
  CHECK(heap.segments.empty());
}

TEST("allocator: splits a block and merges its parts in every order") {
  Heap heap;
  Allocator allocator(heap, 0);
  const int orders[][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
  for (const auto& order : orders) {
    void* parts[3];
    for (void*& p : parts) p = allocator.allocate(1000);
    CHECK(parts[0] != parts[1] && parts[1] != parts[2]);
    for (const int i : order) CHECK(allocator.free(parts[i]));
    void* whole = allocator.allocate(size_t(32) << 20);  // fits only if all three merged with the rest of their segment
    CHECK(whole == parts[0]);
    CHECK(allocator.free(whole));
  }
  CHECK(heap.segments.size() == 1);
}

TEST("allocator: a budget is kept, and what is free is given up for what is asked") {
  Heap heap;
  const size_t mib = size_t(1) << 20;
  Allocator allocator(heap, 8 * mib);
  void* a = allocator.allocate(5 * mib);
  CHECK(a && allocator.stats().reserved <= 8 * mib);
  CHECK(allocator.allocate(4 * mib) == nullptr);
  void* b = allocator.allocate(2 * mib);
  CHECK(b != nullptr);
  CHECK(allocator.free(a));
  CHECK(allocator.free(b));
  void* c = allocator.allocate(8 * mib);
  CHECK(c != nullptr);
  CHECK(allocator.allocate(1) == nullptr);
  CHECK(allocator.free(c));
  CHECK(heap.taken <= 8 * mib);
}

TEST("allocator: a machine without memory, then with it again") {
  Heap heap(size_t(1) << 20);  // less than a segment: grown to what is asked
  Allocator allocator(heap, 0);
  void* a = allocator.allocate(600000);
  CHECK(a != nullptr);
  CHECK(allocator.allocate(600000) == nullptr);
  CHECK(allocator.stats().live == 600000 / 64 * 64);
  CHECK(allocator.free(a));
  void* b = allocator.allocate(900000);  // the free segment is returned first
  CHECK(b != nullptr);
  CHECK(allocator.free(b));
}

TEST("allocator: an address that is no live block is refused") {
  Heap heap;
  Allocator allocator(heap, 0);
  auto* p = static_cast<char*>(allocator.allocate(256));
  CHECK(!allocator.free(p + 64));
  CHECK(!allocator.free(nullptr));
  CHECK(allocator.free(p));
  CHECK(!allocator.free(p));
  allocator.resetPeak();
  CHECK(allocator.stats().peak == 0);
}
