// Device memory in the order of one stream, counted and kept within a budget.
//
// Blocks come from a memory pool of the driver, which caches what is freed: each has its exact size, so that a tool that watches the
// driver's allocations sees every access beyond one. Where the device has no pools they are cut from larger segments by Allocator.
#pragma once
#include <memory>
#include <unordered_map>

#include "../allocator.h"
#include "devices.h"
#include "driver.h"

namespace lantern::cuda {

class DeviceMemory {
 public:
  DeviceMemory(const GpuInfo& gpu, CUstream stream, size_t budget) : gpu_(gpu), stream_(stream), budget_(budget) {}
  DeviceMemory(const DeviceMemory&) = delete;
  ~DeviceMemory();  // gives back every block; the stream must have run

  CUresult open();

  // 256-byte aligned. Gives up what is cached and tries once more before it says CUDA_ERROR_OUT_OF_MEMORY.
  CUresult allocate(size_t bytes, void*& p);
  void free(void* p);  // nothing happens for an address that is no live block
  void releaseUnused();

  // Scratch of an op; counts towards the budget, but not as live.
  CUresult allocateScratch(size_t bytes, void*& p);
  void freeScratch(void* p);

  size_t live() const { return live_; }
  size_t peak() const { return peak_; }
  size_t scratchPeak() const { return scratchPeak_; }
  size_t budget() const { return budget_; }
  size_t reserved() const;
  void resetPeak() { peak_ = live_; }

 private:
  struct Segments : MemorySource {
    explicit Segments(CUstream stream) : stream(stream) {}
    void* map(size_t bytes) override;
    void unmap(void* p, size_t bytes) override;
    CUstream stream;
    CUresult failure = CUDA_SUCCESS;  // of the last map()
  };
  CUresult take(size_t bytes, void*& p);  // within the budget
  CUresult takeOnce(size_t bytes, void*& p);
  void give(void* p);

  const GpuInfo& gpu_;
  const CUstream stream_;
  const size_t budget_;
  CUmemoryPool pool_ = nullptr;
  std::unique_ptr<Segments> segments_;  // without a pool
  std::unique_ptr<Allocator> allocator_;
  std::unordered_map<void*, size_t> blocks_, scratch_;  // bytes
  size_t live_ = 0, peak_ = 0, scratchLive_ = 0, scratchPeak_ = 0;
};

}  // namespace lantern::cuda
