// Device memory, and page-locked host memory.
#include <sys/mman.h>

#include <cstring>

#include "driver.h"

namespace lantern::simt::driver {

namespace {

constexpr uint64_t kPage = 4096;
uint64_t pages(uint64_t bytes) { return (bytes + kPage - 1) / kPage * kPage; }
uint64_t addressOf(const void* p) { return reinterpret_cast<uint64_t>(p); }
bool onDevice(uint64_t address) { return address >= Memory::State::kBase && address < Memory::State::kBase + (uint64_t(1) << 40); }

}  // namespace

void retire(uint64_t address, uint64_t bytes) {
  void* p = reinterpret_cast<void*>(address);
  madvise(p, pages(bytes), MADV_DONTNEED);
  mprotect(p, pages(bytes), PROT_NONE);
}

std::string nameOfAllocation() { return "allocation " + std::to_string(Driver::get().counts.allocations); }

// ---- device memory ----

uint64_t Context::room(const Pool* pool) const {
  const uint64_t unused = unusedInPools(pool);
  std::lock_guard lock(mutex_);
  return taken_ + unused < environment.memory ? environment.memory - taken_ - unused : 0;
}

// The driver may wait for frees that are enqueued before it says that memory is short.
void Context::requireRoom(uint64_t bytes, const Pool* pool) {
  Driver& driver = Driver::get();
  const uint64_t n = ++driver.counts.allocations;
  if (environment.faults.allocation.hits(n)) refuse(CUDA_ERROR_OUT_OF_MEMORY, "fault: allocation " + std::to_string(n));
  if (room(pool) >= bytes) return;
  wait(queue.ends());
  if (failure() != CUDA_SUCCESS) refuseAsFailed();
  if (const uint64_t left = room(pool); left < bytes)
    refuse(CUDA_ERROR_OUT_OF_MEMORY, std::to_string(bytes) + " bytes asked for, " + std::to_string(left) + " left");
}

void Context::addBlock(uint64_t address, Block block) {
  std::lock_guard lock(mutex_);
  if (block.kind != Block::Kind::variable) taken_ += block.bytes;
  blocks_[address] = std::move(block);
}

void Context::removeVariable(uint64_t address) {
  std::lock_guard lock(mutex_);
  blocks_.erase(address);
}

Block Context::beginFree(uint64_t address) {
  std::string wrong;
  {
    std::lock_guard lock(mutex_);
    const auto found = blocks_.find(address);
    if (found != blocks_.end() && found->second.kind != Block::Kind::variable && !found->second.freed) {
      found->second.freed = true;
      return found->second;
    }
    if (found != blocks_.end()) wrong = found->second.freed ? "its free is enqueued already: " + found->second.label : "a variable of a module";
  }
  if (wrong.empty()) {
    std::lock_guard lock(machine);
    wrong = device.memory.state().describe(address);
  }
  finding("free", "what is freed is not the start of a live allocation, but " + wrong);
  refuse(CUDA_ERROR_INVALID_VALUE, wrong);
}

void Context::endFree(uint64_t address) {
  Block block;
  {
    std::lock_guard lock(mutex_);
    const auto found = blocks_.extract(address);
    if (found.empty()) return;
    block = std::move(found.mapped());
    taken_ -= block.bytes;
  }
  if (device.memory.state().find(address)) device.memory.free(address);
  if (!block.pool) return;
  std::lock_guard lock(block.pool->mutex);
  block.pool->used -= block.bytes;
}

void Context::requireDevice(uint64_t address, uint64_t bytes, const char* what) {
  std::string freed;
  {
    std::lock_guard lock(mutex_);
    auto found = blocks_.upper_bound(address);
    if (found != blocks_.begin() && address - (--found)->first <= found->second.bytes && bytes <= found->second.bytes - (address - found->first)) {
      if (!found->second.freed) return;
      freed = found->second.label;
    }
  }
  if (!freed.empty()) {
    finding("use after free", std::string(what) + " uses " + freed + " after its free was enqueued");
    refuse(CUDA_ERROR_INVALID_VALUE, freed);
  }
  std::lock_guard lock(machine);
  refuse(CUDA_ERROR_INVALID_VALUE, std::string(what) + " of " + std::to_string(bytes) + " bytes is not inside one allocation: it begins " +
                                       device.memory.state().describe(address));
}

// ---- page-locked host memory ----

Context::HostKind Context::hostKind(const void* p, uint64_t bytes) {
  const uint64_t from = addressOf(p), to = from + bytes;
  if (!p || onDevice(from)) refuse(CUDA_ERROR_INVALID_VALUE, "the host's side of the copy is no host memory");
  std::lock_guard lock(mutex_);
  auto next = host_.upper_bound(from);
  if (next != host_.begin()) {
    const auto& [start, block] = *std::prev(next);
    if (to <= start + block.bytes) return HostKind::pinned;
    if (from < start + block.bytes) refuse(CUDA_ERROR_INVALID_VALUE, "the host range ends beyond its page-locked block");
  }
  if (next != host_.end() && next->first < to) refuse(CUDA_ERROR_INVALID_VALUE, "the host range is page-locked only in part");
  return HostKind::pageable;
}

void Context::addHost(const void* p, HostBlock block) {
  std::lock_guard lock(mutex_);
  const uint64_t from = addressOf(p);
  const auto next = host_.lower_bound(from);
  const bool overlaps = (next != host_.end() && next->first < from + block.bytes) ||
                        (next != host_.begin() && std::prev(next)->first + std::prev(next)->second.bytes > from);
  if (overlaps) refuse(CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED, "the range is page-locked already");
  host_[from] = block;
}

void Context::removeHost(const void* p, bool registered) {
  uint64_t from = addressOf(p), bytes = 0;
  bool inUse = false;
  {
    std::lock_guard lock(mutex_);
    const auto found = host_.find(from);
    if (found != host_.end() && found->second.registered == registered) {
      bytes = found->second.bytes;
      for (const auto& [serial, range] : hostInUse_) inUse |= range.first < from + bytes && from < range.first + range.second;
      host_.erase(found);
    }
  }
  if (!bytes) {
    finding("free", registered ? "memory is unregistered that was not registered" : "host memory is freed that is no page-locked block (any more)");
    refuse(registered ? CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED : CUDA_ERROR_INVALID_VALUE, "not a page-locked block");
  }
  if (inUse) finding("unsynchronised free", "page-locked memory is given back while a copy that uses it is enqueued");
  if (!registered) retire(from, bytes);
}

std::shared_ptr<void> Context::useHost(const void* p, uint64_t bytes) {
  std::lock_guard lock(mutex_);
  const uint64_t serial = ++hostSerial_;
  hostInUse_[serial] = {addressOf(p), bytes};
  return {nullptr, [this, serial](void*) {
            std::lock_guard lock(mutex_);
            hostInUse_.erase(serial);
          }};
}

namespace {

// With an unreadable page behind it. Fresh memory is not zero.
void allocateHost(Context& c, void** p, size_t bytes) {
  require(p, "no place for the address");
  require(bytes > 0, "an allocation of 0 bytes");
  Driver& driver = Driver::get();
  const uint64_t n = ++driver.counts.hostAllocations;
  if (c.environment.faults.hostAllocation.hits(n)) refuse(CUDA_ERROR_OUT_OF_MEMORY, "fault: host allocation " + std::to_string(n));
  void* mapped = mmap(nullptr, pages(bytes) + kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) refuse(CUDA_ERROR_OUT_OF_MEMORY, "the host is out of memory");
  mprotect(static_cast<char*>(mapped) + pages(bytes), kPage, PROT_NONE);
  std::memset(mapped, 0xff, bytes);
  c.addHost(mapped, {bytes, false});
  *p = mapped;
}

}  // namespace

}  // namespace lantern::simt::driver

using namespace lantern::simt;
using namespace lantern::simt::driver;

// ---- device memory ----

CUresult CUDAAPI cuMemAlloc(CUdeviceptr* p, size_t bytes) {
  return creating("cuMemAlloc", [&](Context& c) {
    require(p, "no place for the address");
    require(bytes > 0, "an allocation of 0 bytes");
    c.requireRoom(bytes, nullptr);
    {
      std::lock_guard lock(c.machine);
      *p = c.device.memory.allocate(bytes, nameOfAllocation());
    }
    c.addBlock(*p, {Block::Kind::plain, bytes, nameOfAllocation(), nullptr});
  });
}

// Frees at once. Whether the driver waits for work that uses the memory is not promised, so it does not: such work fails when it runs.
CUresult CUDAAPI cuMemFree(CUdeviceptr p) {
  return inContext("cuMemFree", [&](Context& c) {
    c.beginFree(p);
    std::unique_lock lock(c.machine);
    if (!c.device.memory.state().find(p)) {
      lock.unlock();
      c.finding("unsynchronised free", "memory is freed before its cuMemAllocAsync has run");
      c.wait(c.queue.ends());
      lock.lock();
    }
    c.endFree(p);
  }, true);
}

CUresult CUDAAPI cuMemGetInfo(size_t* free, size_t* total) {
  return inContext("cuMemGetInfo", [&](Context& c) {
    require(free && total, "no place for the sizes");
    *total = c.environment.memory;
    *free = c.room(nullptr);
  });
}

// ---- page-locked host memory ----

CUresult CUDAAPI cuMemAllocHost(void** p, size_t bytes) {
  return creating("cuMemAllocHost", [&](Context& c) { allocateHost(c, p, bytes); });
}

CUresult CUDAAPI cuMemHostAlloc(void** p, size_t bytes, unsigned int flags) {
  return creating("cuMemHostAlloc", [&](Context& c) {
    require(!(flags & ~unsigned(CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP | CU_MEMHOSTALLOC_WRITECOMBINED)), "unknown flags");
    if (flags & CU_MEMHOSTALLOC_DEVICEMAP) refuse(CUDA_ERROR_NOT_SUPPORTED, "kernels cannot read host memory here");
    allocateHost(c, p, bytes);
  });
}

CUresult CUDAAPI cuMemFreeHost(void* p) {
  return inContext("cuMemFreeHost", [&](Context& c) { c.removeHost(p, false); }, true);
}

CUresult CUDAAPI cuMemHostRegister(void* p, size_t bytes, unsigned int flags) {
  return inContext("cuMemHostRegister", [&](Context& c) {
    require(p && bytes, "no memory");
    require(!(flags & ~unsigned(CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_READ_ONLY)), "unknown flags, or mapped memory");
    c.addHost(p, {bytes, true});
  });
}

CUresult CUDAAPI cuMemHostUnregister(void* p) {
  return inContext("cuMemHostUnregister", [&](Context& c) { c.removeHost(p, true); }, true);
}
