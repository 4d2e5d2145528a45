// A caching allocator in stream order, used from the host thread alone.
//
// The stream executes in the order of the calls, so a block that is freed here may be handed out again at once: whatever still uses it
// was enqueued earlier and runs earlier. Memory comes from the source in segments; free blocks are kept by size (best fit), split on
// allocation and merged with their neighbours on release. Segments that are wholly free go back to the source before memory runs out.
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <set>

namespace lantern {

struct MemorySource {  // where segments come from: pages for the CPU, the driver for a GPU
  virtual ~MemorySource() = default;
  virtual void* map(size_t bytes) = 0;               // nullptr when there is no more
  virtual void unmap(void* p, size_t bytes) = 0;     // in stream order
};

class Allocator {
 public:
  struct Stats {
    size_t live, peak, reserved, budget;
  };

  struct Layout {
    size_t alignment = 64, segment = size_t(32) << 20;  // bytes; a segment is larger when a block is
  };

  Allocator(MemorySource& source, size_t budget) : Allocator(source, budget, Layout()) {}
  Allocator(MemorySource& source, size_t budget, Layout layout) : source_(source), layout_(layout), budget_(budget) {}
  ~Allocator();

  void* allocate(size_t bytes);  // nullptr when budget or machine have no more
  bool free(void* p);            // false when p is not a live block
  void releaseUnused();          // gives wholly free segments back
  Stats stats() const { return {live_, peak_, reserved_, budget_}; }
  void resetPeak() { peak_ = live_; }

 private:
  struct Block {
    size_t bytes;
    uintptr_t segment;
    bool free;
  };
  using Blocks = std::map<uintptr_t, Block>;  // by address: neighbours are adjacent entries
  void addFree(Blocks::iterator b);
  bool grow(size_t bytes);

  MemorySource& source_;
  const Layout layout_;
  Blocks blocks_;
  std::set<std::pair<size_t, uintptr_t>> free_;  // (bytes, address)
  std::map<uintptr_t, size_t> segments_;
  size_t budget_, live_ = 0, peak_ = 0, reserved_ = 0;
};

}  // namespace lantern
