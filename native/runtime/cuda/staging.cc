#include "staging.h"

#include <algorithm>
#include <cstring>

namespace lantern::cuda {

Uploads::~Uploads() {
  destroy(current_);
  for (const Segment& segment : onTheWay_) destroy(segment);
}

CUresult Uploads::create(Segment& segment, const char*& what) {
  what = "cuMemHostAlloc";
  void* data = nullptr;
  if (const CUresult result = driver().cuMemHostAlloc(&data, kSegmentBytes, 0); result != CUDA_SUCCESS) return result;
  what = "cuEventCreate";
  CUevent read = nullptr;
  if (const CUresult result = driver().cuEventCreate(&read, CU_EVENT_DISABLE_TIMING | CU_EVENT_BLOCKING_SYNC); result != CUDA_SUCCESS) {
    driver().cuMemFreeHost(data);
    return result;
  }
  segment = {static_cast<unsigned char*>(data), read};
  return CUDA_SUCCESS;
}

void Uploads::destroy(const Segment& segment) {
  if (!segment.data) return;
  driver().cuEventDestroy(segment.read);
  driver().cuMemFreeHost(segment.data);
}

CUresult Uploads::next(const char*& what) {
  if (current_.data) {
    what = "cuEventRecord";
    if (const CUresult result = driver().cuEventRecord(current_.read, stream_); result != CUDA_SUCCESS) return result;
    onTheWay_.push_back(std::exchange(current_, {}));
  }
  const bool oldestIsRead = !onTheWay_.empty() && driver().cuEventQuery(onTheWay_.front().read) == CUDA_SUCCESS;
  if (!oldestIsRead && onTheWay_.size() < kSegments) {
    const CUresult result = create(current_, what);
    used_ = 0;
    if (result != CUDA_ERROR_OUT_OF_MEMORY || onTheWay_.empty()) return result;
  }
  what = "cuEventSynchronize";
  const CUresult result = driver().cuEventSynchronize(onTheWay_.front().read);
  if (result != CUDA_SUCCESS) return result;
  current_ = onTheWay_.front();
  onTheWay_.pop_front();
  used_ = 0;
  return CUDA_SUCCESS;
}

CUresult Uploads::copy(CUdeviceptr to, const void* from, size_t bytes, const char*& what) {
  const auto* source = static_cast<const unsigned char*>(from);
  while (bytes > 0) {
    if (used_ >= kSegmentBytes || !current_.data)
      if (const CUresult result = next(what); result != CUDA_SUCCESS) return result;
    const size_t n = std::min(bytes, kSegmentBytes - used_);
    std::memcpy(current_.data + used_, source, n);
    what = "cuMemcpyHtoDAsync";
    if (const CUresult result = driver().cuMemcpyHtoDAsync(to, current_.data + used_, n, stream_); result != CUDA_SUCCESS) return result;
    used_ += (n + 63) / 64 * 64;
    to += n, source += n, bytes -= n;
  }
  return CUDA_SUCCESS;
}

CUresult Arrivals::allocate(size_t bytes, void*& p) {
  std::lock_guard lock(mutex_);
  p = blocks_.allocate(bytes);
  return p ? CUDA_SUCCESS : source_.failure;
}

void Arrivals::free(void* p) {
  std::lock_guard lock(mutex_);
  blocks_.free(p);
  if (blocks_.stats().reserved > kKeep) blocks_.releaseUnused();
}

void* Arrivals::PageLocked::map(size_t bytes) {
  void* p = nullptr;
  failure = driver().cuMemHostAlloc(&p, bytes, 0);
  return failure == CUDA_SUCCESS ? p : nullptr;
}

void Arrivals::PageLocked::unmap(void* p, size_t) { driver().cuMemFreeHost(p); }

}  // namespace lantern::cuda
