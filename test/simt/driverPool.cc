// Memory pools, and memory that is given out and taken back in the order of a stream.
#include "driver.h"

namespace lantern::simt::driver {

void Pool::grow(uint64_t bytes, const Stream& stream) {
  std::lock_guard lock(mutex);
  if (maximum && used + bytes > maximum) refuse(CUDA_ERROR_OUT_OF_MEMORY, "the pool has a maximum of " + std::to_string(maximum) + " bytes");
  used += bytes;
  reserved = std::max(reserved, used - coming[&stream]);
  usedHigh = std::max(usedHigh, used);
  reservedHigh = std::max(reservedHigh, reserved);
}

void Pool::come(const Stream& stream, int64_t bytes) {
  std::lock_guard lock(mutex);
  coming[&stream] += uint64_t(bytes);
}

// Memory on its way back may be counted as used and be given out again already.
void Pool::trim(uint64_t keep) { reserved = std::min(reserved, std::max(used, keep)); }

std::vector<std::shared_ptr<Pool>> Context::pools() const {
  std::vector<std::shared_ptr<Pool>> mine;
  for (const auto& pool : Driver::get().pools.all())
    if (pool->context == this) mine.push_back(pool);
  return mine;
}

uint64_t Context::unusedInPools(const Pool* except) const {
  uint64_t unused = 0;
  for (const auto& pool : pools()) {
    std::lock_guard lock(pool->mutex);
    if (pool.get() != except && pool->reserved > pool->used) unused += pool->reserved - pool->used;
  }
  return unused;
}

uint64_t Context::nextOrdered(uint64_t bytes) {
  constexpr uint64_t kGap = Memory::State::kGap, kAlignment = 512;
  const uint64_t step = (bytes + kAlignment - 1) / kAlignment * kAlignment + kGap;
  const uint64_t address = device.nextOrdered.fetch_add(step);
  if (address + step > device.endOrdered) refuse(CUDA_ERROR_OUT_OF_MEMORY, "the simulated device has no addresses left: none is given out twice");
  return address;
}

namespace {

void allocateOrdered(Context& c, CUdeviceptr* p, size_t bytes, const std::shared_ptr<Pool>& pool, const Stream& stream) {
  require(p, "no place for the address");
  require(bytes > 0, "an allocation of 0 bytes");
  c.requireRoom(bytes, pool.get());
  pool->grow(bytes, stream);
  const std::string name = nameOfAllocation();
  const uint64_t address = c.nextOrdered(bytes);
  c.addBlock(address, {Block::Kind::ordered, bytes, name, pool});
  c.push(stream, [&c, address, bytes, name] { c.device.memory.state().add(bytes, name, false, address); });
  *p = address;
}

std::shared_ptr<Pool> poolOf(Context& c, CUmemoryPool handle) {
  std::shared_ptr<Pool> pool = Driver::get().pools.get(handle);
  if (!pool || pool->context != &c) refuse(CUDA_ERROR_INVALID_VALUE, "not a memory pool of this context");
  return pool;
}

// The primary context of a device has its pools.
Context& contextOf(CUdevice ordinal, const std::shared_ptr<Context>& current) {
  if (&Driver::get().device(ordinal) != &current->device) refuse(CUDA_ERROR_NOT_SUPPORTED, "pools of a device other than the current one");
  return *current;
}

}  // namespace

}  // namespace lantern::simt::driver

using namespace lantern::simt;
using namespace lantern::simt::driver;

// ---- in stream order ----

CUresult CUDAAPI cuMemAllocAsync(CUdeviceptr* p, size_t bytes, CUstream stream) {
  return creating("cuMemAllocAsync", [&](Context& c) {
    const auto s = c.stream(stream);
    allocateOrdered(c, p, bytes, poolOf(c, c.currentPool), *s);
  });
}

CUresult CUDAAPI cuMemAllocFromPoolAsync(CUdeviceptr* p, size_t bytes, CUmemoryPool pool, CUstream stream) {
  return creating("cuMemAllocFromPoolAsync", [&](Context& c) {
    const auto s = c.stream(stream);
    allocateOrdered(c, p, bytes, poolOf(c, pool), *s);
  });
}

CUresult CUDAAPI cuMemFreeAsync(CUdeviceptr p, CUstream stream) {
  return inContext("cuMemFreeAsync", [&](Context& c) {
    const auto s = c.stream(stream);
    const Block block = c.beginFree(p);
    if (block.pool) block.pool->come(*s, int64_t(block.bytes));
    c.push(*s, [&c, p, s, block] {
      if (block.pool) block.pool->come(*s, -int64_t(block.bytes));
      c.endFree(p);
    });
  }, true);
}

CUresult CUDAAPI cuDeviceGetDefaultMemPool(CUmemoryPool* pool, CUdevice device) {
  return inContext("cuDeviceGetDefaultMemPool", [&](Context&) {
    require(pool, "no place for the pool");
    *pool = contextOf(device, currentContext()).defaultPoolHandle;
  });
}

CUresult CUDAAPI cuDeviceGetMemPool(CUmemoryPool* pool, CUdevice device) {
  return inContext("cuDeviceGetMemPool", [&](Context&) {
    require(pool, "no place for the pool");
    *pool = contextOf(device, currentContext()).currentPool;
  });
}

CUresult CUDAAPI cuDeviceSetMemPool(CUdevice device, CUmemoryPool pool) {
  return inContext("cuDeviceSetMemPool", [&](Context& c) {
    poolOf(c, pool);
    contextOf(device, currentContext()).currentPool = pool;
  });
}

CUresult CUDAAPI cuMemPoolCreate(CUmemoryPool* handle, const CUmemPoolProps* props) {
  return creating("cuMemPoolCreate", [&](Context& c) {
    require(handle && props, "no pool or no properties");
    require(props->allocType == CU_MEM_ALLOCATION_TYPE_PINNED, "pools hold pinned memory");
    require(props->handleTypes == CU_MEM_HANDLE_TYPE_NONE, "pools that are shared between processes are not simulated");
    require(props->location.type == CU_MEM_LOCATION_TYPE_DEVICE && props->location.id == c.device.ordinal, "the pool must lie on the current device");
    for (const unsigned char byte : props->reserved) require(byte == 0, "reserved bytes must be 0");
    require(props->usage == 0 && !props->win32SecurityAttributes, "unknown properties");
    const auto pool = std::make_shared<Pool>(c);
    pool->maximum = props->maxSize;
    *handle = static_cast<CUmemoryPool>(Driver::get().pools.add(pool));
  });
}

CUresult CUDAAPI cuMemPoolDestroy(CUmemoryPool handle) {
  return inContext("cuMemPoolDestroy", [&](Context& c) {
    poolOf(c, handle);
    require(handle != c.defaultPoolHandle, "the default pool is never destroyed");
    if (c.currentPool == handle) c.currentPool = c.defaultPoolHandle;
    Driver::get().pools.remove(handle);
  }, true);
}

CUresult CUDAAPI cuMemPoolTrimTo(CUmemoryPool handle, size_t keep) {
  return inContext("cuMemPoolTrimTo", [&](Context& c) {
    const auto pool = poolOf(c, handle);
    std::lock_guard lock(pool->mutex);
    pool->trim(keep);
  });
}

CUresult CUDAAPI cuMemPoolGetAttribute(CUmemoryPool handle, CUmemPool_attribute attribute, void* value) {
  return inContext("cuMemPoolGetAttribute", [&](Context& c) {
    require(value, "no place for the value");
    const auto pool = poolOf(c, handle);
    std::lock_guard lock(pool->mutex);
    switch (attribute) {
      case CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES:
      case CU_MEMPOOL_ATTR_REUSE_ALLOW_OPPORTUNISTIC:
      case CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES: *static_cast<int*>(value) = pool->reuse[attribute]; return;
      case CU_MEMPOOL_ATTR_RELEASE_THRESHOLD: *static_cast<cuuint64_t*>(value) = pool->threshold; return;
      case CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT: *static_cast<cuuint64_t*>(value) = pool->reserved; return;
      case CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH: *static_cast<cuuint64_t*>(value) = pool->reservedHigh; return;
      case CU_MEMPOOL_ATTR_USED_MEM_CURRENT: *static_cast<cuuint64_t*>(value) = pool->used; return;
      case CU_MEMPOOL_ATTR_USED_MEM_HIGH: *static_cast<cuuint64_t*>(value) = pool->usedHigh; return;
      default: refuse(CUDA_ERROR_INVALID_VALUE, "unknown pool attribute");
    }
  });
}

CUresult CUDAAPI cuMemPoolSetAttribute(CUmemoryPool handle, CUmemPool_attribute attribute, void* value) {
  return inContext("cuMemPoolSetAttribute", [&](Context& c) {
    require(value, "no value");
    const auto pool = poolOf(c, handle);
    std::lock_guard lock(pool->mutex);
    const auto resetTo = [&](uint64_t current) {
      require(*static_cast<cuuint64_t*>(value) == 0, "a high watermark can only be set to 0");
      return current;
    };
    switch (attribute) {
      case CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES:
      case CU_MEMPOOL_ATTR_REUSE_ALLOW_OPPORTUNISTIC:
      case CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES: pool->reuse[attribute] = *static_cast<int*>(value); return;
      case CU_MEMPOOL_ATTR_RELEASE_THRESHOLD: pool->threshold = *static_cast<cuuint64_t*>(value); return;
      case CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH: pool->reservedHigh = resetTo(pool->reserved); return;
      case CU_MEMPOOL_ATTR_USED_MEM_HIGH: pool->usedHigh = resetTo(pool->used); return;
      default: refuse(CUDA_ERROR_INVALID_VALUE, "unknown pool attribute, or one that cannot be set");
    }
  });
}
