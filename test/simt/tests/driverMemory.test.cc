// Device memory, memory pools, page-locked host memory: limits, misuse, accounting.
#include <cstring>

#include "driverSupport.h"

using namespace lantern::simt::test;

TEST("driver memory: a size of 0, and more than there is, are refused; what is freed can be had again") {
  Session s({{"MEMORY", "1M"}});
  CUdeviceptr p = 0, q = 0;
  CHECK_CU(CUDA_ERROR_INVALID_VALUE, cuMemAlloc(&p, 0));
  OK(cuMemAlloc(&p, 700 << 10));
  CHECK_CU(CUDA_ERROR_OUT_OF_MEMORY, cuMemAlloc(&q, 400 << 10));
  size_t free = 0, total = 0;
  OK(cuMemGetInfo(&free, &total));
  CHECK(total == 1 << 20 && free == (324 << 10));
  OK(cuMemFree(p));
  OK(cuMemAlloc(&q, 1 << 20));
  CHECK(q != p);  // addresses are never given out twice
  OK(cuMemFree(q));
}

TEST("driver memory: freeing twice, or what is no allocation, ends the context") {
  for (const int kind : {0, 1, 2, 3}) {
    Session s;
    CUdeviceptr p = 0;
    OK(cuMemAlloc(&p, 64));
    if (kind == 0) OK(cuMemFree(p));
    if (kind == 3) OK(cuMemFreeAsync(p, s.stream));
    CHECK_CU(CUDA_ERROR_INVALID_VALUE, cuMemFree(kind == 1 ? p + 16 : kind == 2 ? 12345 : p));
    CHECK(simtFindings() == 1 && reports("finding: free"));
    CHECK_CU(CUDA_ERROR_LAUNCH_FAILED, cuStreamSynchronize(s.stream));
    if (kind == 1 || kind == 2) cuMemFree(p);
  }
}

TEST("driver memory: in the mode that only records, a finding ends nothing") {
  Session s({{"FINDINGS", "record"}});
  CHECK_CU(CUDA_ERROR_INVALID_VALUE, cuMemFree(12345));
  CHECK(simtFindings() == 1);
  OK(cuStreamSynchronize(s.stream));
}

TEST("driver memory: copies and fills must lie inside one allocation, fills on their unit") {
  Session s;
  const CUdeviceptr p = s.buffer(64), q = s.buffer(64);
  std::vector<char> host(128, 1);
  CHECK_CU(CUDA_ERROR_INVALID_VALUE, cuMemcpyHtoD(p, host.data(), 65));
  CHECK_CU(CUDA_ERROR_INVALID_VALUE, cuMemcpyHtoD(p + 60, host.data(), 8));
  CHECK_CU(CUDA_ERROR_INVALID_VALUE, cuMemcpyHtoD(p, reinterpret_cast<void*>(q), 8));
  CHECK_CU(CUDA_ERROR_INVALID_VALUE, cuMemcpyDtoH(nullptr, p, 8));
  CHECK_CU(CUDA_ERROR_INVALID_VALUE, cuMemcpyDtoD(p + 8, p, 16));
  CHECK_CU(CUDA_ERROR_INVALID_VALUE, cuMemsetD32(p + 2, 0, 1));
  CHECK_CU(CUDA_ERROR_INVALID_VALUE, cuMemsetD32(p, 0, 17));
  CHECK_CU(CUDA_ERROR_INVALID_VALUE, cuMemsetD32(p, 0, ~size_t(0) / 2));
  CHECK_CU(CUDA_ERROR_INVALID_VALUE, cuMemsetD8(64, 0, 1));
  OK(cuMemsetD32(p, 0x01020304, 16));
  OK(cuMemsetD16(q, 0x0506, 32));
  OK(cuMemcpyDtoD(q + 32, p, 32));
  const auto read = s.read<unsigned>(q, 16);
  CHECK(read[0] == 0x05060506 && read[15] == 0x01020304);
  CHECK(simtFindings() == 0);
}

TEST("driver memory: bytes that were never written are not copied to the host unnoticed") {
  Session s;
  const CUdeviceptr p = s.buffer(64);
  OK(cuMemsetD8(p, 0, 60));
  std::vector<char> host(64);
  OK(cuMemcpyDtoH(host.data(), p, 60));
  CHECK_CU(CUDA_ERROR_LAUNCH_FAILED, cuMemcpyDtoH(host.data(), p, 64));
  CHECK(reports("4 of 64 bytes copied to the host were never written"));
}

TEST("driver memory in stream order: it is there when its stream has got there, and gone when its free has run") {
  Session s;
  CUstream other = nullptr;
  OK(cuStreamCreate(&other, CU_STREAM_NON_BLOCKING));
  CUdeviceptr p = 0;
  OK(cuMemAllocAsync(&p, 1024, s.stream));
  OK(cuMemsetD8Async(p, 1, 1024, s.stream));
  OK(cuStreamSynchronize(s.stream));
  CHECK(s.read<char>(p, 1024)[1023] == 1);
  OK(cuMemFreeAsync(p, s.stream));
  OK(cuStreamSynchronize(s.stream));
  // In another stream, without an event between them.
  OK(cuMemAllocAsync(&p, 1024, s.stream));
  OK(cuMemsetD8Async(p, 1, 1024, other));
  CHECK_CU(CUDA_ERROR_ILLEGAL_ADDRESS, cuStreamSynchronize(other));
  cuMemFreeAsync(p, s.stream);
  cuStreamDestroy(other);
}

TEST("driver memory in stream order: use after an enqueued free is found at the call") {
  Session s;
  CUdeviceptr p = 0;
  OK(cuMemAllocAsync(&p, 1024, s.stream));
  OK(cuMemFreeAsync(p, s.stream));
  CHECK_CU(CUDA_ERROR_INVALID_VALUE, cuMemsetD8Async(p, 1, 1024, s.stream));
  CHECK(simtFindings() == 1 && reports("use after free"));
}

TEST("driver memory: a free that does not wait for the work that uses the memory fails that work") {
  Session s;
  CUdeviceptr x = 0;
  OK(cuMemAlloc(&x, 1024));
  OK(cuMemsetD32Async(x, 0, 256, s.stream));
  OK(s.launch("addOne", 1, 256, 0, x, 256));
  OK(cuMemFree(x));
  CHECK_CU(CUDA_ERROR_ILLEGAL_ADDRESS, cuStreamSynchronize(s.stream));
}

TEST("driver pools: memory whose free is enqueued is had again by the same stream at once, by another when the free has run") {
  Session s;
  CUmemoryPool pool = nullptr;
  OK(cuDeviceGetDefaultMemPool(&pool, 0));
  CUstream other = nullptr;
  OK(cuStreamCreate(&other, CU_STREAM_NON_BLOCKING));
  const auto reserved = [&] {
    cuuint64_t bytes = 0;
    OK(cuMemPoolGetAttribute(pool, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT, &bytes));
    return bytes;
  };
  CUdeviceptr p = 0;
  for (int i = 0; i < 3; ++i) {
    OK(cuMemAllocAsync(&p, 4096, s.stream));
    OK(cuMemFreeAsync(p, s.stream));
    CHECK(reserved() == 4096);
  }
  OK(cuMemAllocAsync(&p, 4096, other));
  CHECK(reserved() > 4096);
  OK(cuMemFreeAsync(p, other));
  OK(cuStreamDestroy(other));
}

TEST("driver pools: what is freed stays with the pool up to its threshold, and is given back by a trim") {
  Session s({{"MEMORY", "1M"}});
  CUmemPoolProps props = {};
  props.allocType = CU_MEM_ALLOCATION_TYPE_PINNED;
  props.location = {CU_MEM_LOCATION_TYPE_DEVICE, {0}};
  CUmemoryPool pool = nullptr;
  OK(cuMemPoolCreate(&pool, &props));
  cuuint64_t threshold = ~cuuint64_t(0), reserved = 1;
  OK(cuMemPoolSetAttribute(pool, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &threshold));
  CUdeviceptr p = 0, q = 0;
  OK(cuMemAllocFromPoolAsync(&p, 600 << 10, pool, s.stream));
  OK(cuMemFreeAsync(p, s.stream));
  OK(cuStreamSynchronize(s.stream));
  OK(cuMemPoolGetAttribute(pool, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT, &reserved));
  CHECK(reserved == 600 << 10);
  CHECK_CU(CUDA_ERROR_OUT_OF_MEMORY, cuMemAlloc(&q, 600 << 10));
  OK(cuMemAllocFromPoolAsync(&p, 500 << 10, pool, s.stream));  // what the pool has
  OK(cuMemFreeAsync(p, s.stream));
  OK(cuMemPoolTrimTo(pool, 0));  // the free has not run
  CHECK_CU(CUDA_ERROR_OUT_OF_MEMORY, cuMemAllocFromPoolAsync(&q, 2 << 20, pool, s.stream));
  OK(cuMemPoolTrimTo(pool, 0));
  OK(cuMemPoolGetAttribute(pool, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT, &reserved));
  CHECK(reserved == 0);
  OK(cuMemAlloc(&q, 600 << 10));
  OK(cuMemFree(q));
  CHECK_CU(CUDA_ERROR_INVALID_VALUE, cuMemPoolSetAttribute(pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT, &reserved));
  OK(cuMemPoolDestroy(pool));
  CHECK_CU(CUDA_ERROR_INVALID_VALUE, cuMemPoolTrimTo(pool, 0));
  props.reserved[3] = 1;
  CHECK_CU(CUDA_ERROR_INVALID_VALUE, cuMemPoolCreate(&pool, &props));
  s.close();
  CHECK(simtFindings() == 0);
}

TEST("driver pools: memory whose free is enqueued is waited for before it is said to be short") {
  Session s({{"MEMORY", "1M"}});
  for (int i = 0; i < 8; ++i) {
    CUdeviceptr p = 0;
    OK(cuMemAllocAsync(&p, 700 << 10, s.stream));
    OK(cuMemsetD8Async(p, 1, 700 << 10, s.stream));
    OK(cuMemFreeAsync(p, s.stream));
  }
  OK(cuStreamSynchronize(s.stream));
}

TEST("driver host memory: page-locked blocks are known to their end, and registered ones") {
  Session s;
  const CUdeviceptr p = s.buffer(8192);
  Pinned<char> pinned(100);
  std::memset(pinned.data, 3, 100);
  CHECK_CU(CUDA_ERROR_INVALID_VALUE, cuMemcpyHtoDAsync(p, pinned.data, 101, s.stream));
  OK(cuMemcpyHtoDAsync(p, pinned.data, 100, s.stream));
  OK(cuStreamSynchronize(s.stream));
  std::vector<char> own(4096, 5);
  OK(cuMemHostRegister(own.data(), own.size(), 0));
  CHECK_CU(CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED, cuMemHostRegister(own.data() + 100, 10, 0));
  OK(cuMemcpyHtoDAsync(p, own.data(), own.size(), s.stream));
  own[0] = 6;  // read when the copy runs
  OK(cuStreamSynchronize(s.stream));
  CHECK(s.read<char>(p, 1)[0] == 6);
  OK(cuMemHostUnregister(own.data()));
  OK(cuMemHostRegister(own.data() + 1000, 1000, 0));
  CHECK_CU(CUDA_ERROR_INVALID_VALUE, cuMemcpyHtoDAsync(p, own.data(), 1500, s.stream));  // page-locked in part
  CHECK_CU(CUDA_ERROR_INVALID_VALUE, cuMemcpyHtoDAsync(p, own.data() + 1500, 1000, s.stream));
  OK(cuMemcpyHtoDAsync(p, own.data(), 1000, s.stream));
  OK(cuMemHostUnregister(own.data() + 1000));
  void* mapped = nullptr;
  CHECK_CU(CUDA_ERROR_NOT_SUPPORTED, cuMemHostAlloc(&mapped, 64, CU_MEMHOSTALLOC_DEVICEMAP));
  CHECK(simtFindings() == 0);
}

TEST("driver host memory: giving it back while a copy is enqueued, or twice, is found") {
  {
    Session s;
    const CUdeviceptr p = s.buffer(64);
    void* host = nullptr;
    OK(cuMemAllocHost(&host, 64));
    OK(cuMemcpyHtoDAsync(p, host, 64, s.stream));
    cuMemFreeHost(host);
    CHECK(simtFindings() == 1 && reports("unsynchronised free"));
  }
  Session s;
  void* host = nullptr;
  OK(cuMemAllocHost(&host, 64));
  OK(cuMemFreeHost(host));
  CHECK_CU(CUDA_ERROR_INVALID_VALUE, cuMemFreeHost(host));
  CHECK(simtFindings() == 1);
}

TEST("driver memory in stream order: a free that does not wait for its allocation") {
  for (const bool waits : {true, false}) {
    Session s;
    CUdeviceptr p = 0;
    OK(cuMemAllocAsync(&p, 100, s.stream));
    if (waits) OK(cuStreamSynchronize(s.stream));
    cuMemFree(p);
    CHECK(reports("unsynchronised free") == !waits);
  }
}
