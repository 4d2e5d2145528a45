// Scratch memory for kernels: grow-only buffers, one shared by all threads of an op and one per thread. Contents do not survive an op.
#pragma once
#include <atomic>
#include <cstddef>
#include <vector>

namespace lantern {

class Workspace {
 public:
  explicit Workspace(int threads) : local_(threads) {}
  ~Workspace();

  // At least `bytes` bytes, 2 MiB aligned. nullptr when out of memory. `shared` is for the caller of the pool only; call it before parallel().
  void* shared(size_t bytes) { return grow(shared_, bytes); }
  void* local(int thread, size_t bytes) { return grow(local_[thread], bytes); }
  size_t bytes() const { return bytes_.load(std::memory_order_relaxed); }

 private:
  struct alignas(64) Buffer {
    void* p = nullptr;
    size_t bytes = 0;
  };
  void* grow(Buffer& buffer, size_t bytes);

  Buffer shared_;
  std::vector<Buffer> local_;
  std::atomic<size_t> bytes_{0};
};

}  // namespace lantern
