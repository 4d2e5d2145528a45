// Page-locked host memory that copies to and from the device go through, so that they need not stop the calling thread.
#pragma once
#include <deque>
#include <memory>
#include <mutex>

#include "../allocator.h"
#include "driver.h"

namespace lantern::cuda {

// Copies to the device: the bytes are packed into segments, and a segment is filled again when the device has read it. Waits for the device
// only when all kSegments are on their way.
class Uploads {
 public:
  static constexpr size_t kSegmentBytes = size_t(2) << 20, kSegments = 16;

  explicit Uploads(CUstream stream) : stream_(stream) {}
  Uploads(const Uploads&) = delete;
  ~Uploads();  // the stream must have run

  // `what` names the driver's function that failed.
  CUresult copy(CUdeviceptr to, const void* from, size_t bytes, const char*& what);

 private:
  struct Segment {
    unsigned char* data = nullptr;
    CUevent read = nullptr;  // by the device
  };
  CUresult next(const char*& what);  // makes current_ one that can be filled
  CUresult create(Segment& segment, const char*& what);
  static void destroy(const Segment& segment);

  const CUstream stream_;
  Segment current_;
  size_t used_ = kSegmentBytes;  // of current_
  std::deque<Segment> onTheWay_;
};

// Where copies from the device arrive: blocks of any size, given back by any thread.
class Arrivals {
 public:
  CUresult allocate(size_t bytes, void*& p);
  void free(void* p);

 private:
  struct PageLocked : MemorySource {
    void* map(size_t bytes) override;
    void unmap(void* p, size_t bytes) override;
    CUresult failure = CUDA_SUCCESS;  // of the last map()
  };
  static constexpr size_t kSegmentBytes = size_t(2) << 20, kKeep = size_t(32) << 20;  // more is given back to the system when it is not used

  std::mutex mutex_;
  PageLocked source_;
  Allocator blocks_{source_, 0, Allocator::Layout{.segment = kSegmentBytes}};
};

}  // namespace lantern::cuda
