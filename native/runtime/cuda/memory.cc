#include "memory.h"

#include <algorithm>

namespace lantern::cuda {

DeviceMemory::~DeviceMemory() {
  for (const auto& [p, bytes] : blocks_) give(p);
  for (const auto& [p, bytes] : scratch_) give(p);
  if (pool_) {
    driver().cuStreamSynchronize(stream_);
    driver().cuMemPoolDestroy(pool_);
  }
}

CUresult DeviceMemory::open() {
  if (!gpu_.memoryPools) {
    segments_ = std::make_unique<Segments>(stream_);
    allocator_ = std::make_unique<Allocator>(*segments_, budget_, Allocator::Layout{.alignment = 256});
    return CUDA_SUCCESS;
  }
  CUmemPoolProps props;
  props.location.id = gpu_.ordinal;
  if (const CUresult result = driver().cuMemPoolCreate(&pool_, &props); result != CUDA_SUCCESS) return result;
  uint64_t everything = UINT64_MAX;  // what is freed stays with the pool
  return driver().cuMemPoolSetAttribute(pool_, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &everything);
}

CUresult DeviceMemory::takeOnce(size_t bytes, void*& p) {
  if (pool_) {
    CUdeviceptr address = 0;
    const CUresult result = driver().cuMemAllocFromPoolAsync(&address, bytes, pool_, stream_);
    p = toPointer(address);
    return result;
  }
  segments_->failure = CUDA_SUCCESS;
  p = allocator_->allocate(bytes);
  if (p) return CUDA_SUCCESS;
  return segments_->failure == CUDA_SUCCESS ? CUDA_ERROR_OUT_OF_MEMORY : segments_->failure;
}

CUresult DeviceMemory::take(size_t bytes, void*& p) {
  if (budget_ && live_ + scratchLive_ + bytes > budget_) return CUDA_ERROR_OUT_OF_MEMORY;
  CUresult result = takeOnce(bytes, p);
  if (result == CUDA_ERROR_OUT_OF_MEMORY) {
    releaseUnused();
    result = takeOnce(bytes, p);
  }
  return result;
}

void DeviceMemory::give(void* p) {
  if (pool_) driver().cuMemFreeAsync(toDevice(p), stream_);
  else allocator_->free(p);
}

CUresult DeviceMemory::allocate(size_t bytes, void*& p) {
  bytes = std::max<size_t>(bytes, 1);
  const CUresult result = take(bytes, p);
  if (result != CUDA_SUCCESS) return result;
  blocks_[p] = bytes;
  live_ += bytes;
  peak_ = std::max(peak_, live_);
  return result;
}

void DeviceMemory::free(void* p) {
  const auto block = blocks_.find(p);
  if (block == blocks_.end()) return;
  live_ -= block->second;
  blocks_.erase(block);
  give(p);
}

CUresult DeviceMemory::allocateScratch(size_t bytes, void*& p) {
  bytes = std::max<size_t>(bytes, 1);
  const CUresult result = take(bytes, p);
  if (result != CUDA_SUCCESS) return result;
  scratch_[p] = bytes;
  scratchLive_ += bytes;
  scratchPeak_ = std::max(scratchPeak_, scratchLive_);
  return result;
}

void DeviceMemory::freeScratch(void* p) {
  const auto block = scratch_.find(p);
  scratchLive_ -= block->second;
  scratch_.erase(block);
  give(p);
}

// What was freed is given back to the driver only once the stream has got there.
void DeviceMemory::releaseUnused() {
  driver().cuStreamSynchronize(stream_);
  if (pool_) driver().cuMemPoolTrimTo(pool_, 0);
  else allocator_->releaseUnused();
}

size_t DeviceMemory::reserved() const {
  if (!pool_) return allocator_ ? allocator_->stats().reserved : 0;
  uint64_t bytes = 0;
  return driver().cuMemPoolGetAttribute(pool_, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT, &bytes) == CUDA_SUCCESS ? size_t(bytes) : 0;
}

void* DeviceMemory::Segments::map(size_t bytes) {
  CUdeviceptr p = 0;
  failure = driver().cuMemAlloc(&p, bytes);
  return failure == CUDA_SUCCESS ? toPointer(p) : nullptr;
}

void DeviceMemory::Segments::unmap(void* p, size_t) {
  driver().cuStreamSynchronize(stream);  // what still uses it was enqueued before
  driver().cuMemFree(toDevice(p));
}

}  // namespace lantern::cuda
