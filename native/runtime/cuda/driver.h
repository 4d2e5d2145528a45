// The CUDA driver, opened at run time: no link to it, and no header of the toolkit. The few types and entry points that we use are declared
// here under their own names; cuGetProcAddress gives each in the version that is named, so that its signature is what we say it is.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

#include "../status.h"

namespace lantern::cuda {

using CUdevice = int;
using CUdeviceptr = unsigned long long;
using CUcontext = struct CUctx*;
using CUstream = struct CUstr*;
using CUevent = struct CUevt*;
using CUmodule = struct CUmod*;
using CUfunction = struct CUfunc*;
using CUmemoryPool = struct CUpool*;

enum CUresult : int {
  CUDA_SUCCESS = 0,
  CUDA_ERROR_OUT_OF_MEMORY = 2,
  CUDA_ERROR_NO_DEVICE = 100,
  CUDA_ERROR_NOT_FOUND = 500,
  CUDA_ERROR_NOT_READY = 600,
};

enum CUdevice_attribute : int {
  CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT = 16,
  CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR = 75,
  CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR = 76,
  CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN = 97,
  CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED = 115,
};
enum CUfunction_attribute : int { CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES = 8 };
enum CUmemPool_attribute : int { CU_MEMPOOL_ATTR_RELEASE_THRESHOLD = 4, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT = 5 };
constexpr unsigned CU_STREAM_NON_BLOCKING = 1, CU_EVENT_DEFAULT = 0, CU_EVENT_BLOCKING_SYNC = 1, CU_EVENT_DISABLE_TIMING = 2;

struct CUmemPoolProps {
  int allocType = 1;  // CU_MEM_ALLOCATION_TYPE_PINNED: the only one there is
  int handleTypes = 0;
  struct {
    int type = 1;  // CU_MEM_LOCATION_TYPE_DEVICE
    int id = 0;
  } location;
  void* win32SecurityAttributes = nullptr;
  size_t maxSize = 0;
  unsigned char reserved[56] = {};
};
static_assert(sizeof(CUmemPoolProps) == 88, "the driver's layout");

// X(entry point, CUDA version of its signature, parameters...)
#define LANTERN_CUDA_DRIVER(X)                                                                                                  \
  X(cuInit, 2000, unsigned)                                                                                                     \
  X(cuGetErrorName, 6000, CUresult, const char**)                                                                               \
  X(cuGetErrorString, 6000, CUresult, const char**)                                                                             \
  X(cuDeviceGetCount, 2000, int*)                                                                                               \
  X(cuDeviceGet, 2000, CUdevice*, int)                                                                                          \
  X(cuDeviceGetName, 2000, char*, int, CUdevice)                                                                                \
  X(cuDeviceTotalMem, 3020, size_t*, CUdevice)                                                                                  \
  X(cuDeviceGetAttribute, 2000, int*, CUdevice_attribute, CUdevice)                                                             \
  X(cuDevicePrimaryCtxRetain, 7000, CUcontext*, CUdevice)                                                                       \
  X(cuDevicePrimaryCtxRelease, 11000, CUdevice)                                                                                 \
  X(cuCtxSetCurrent, 4000, CUcontext)                                                                                           \
  X(cuStreamCreate, 2000, CUstream*, unsigned)                                                                                  \
  X(cuStreamDestroy, 4000, CUstream)                                                                                            \
  X(cuStreamQuery, 2000, CUstream)                                                                                              \
  X(cuStreamSynchronize, 2000, CUstream)                                                                                        \
  X(cuEventCreate, 2000, CUevent*, unsigned)                                                                                    \
  X(cuEventDestroy, 4000, CUevent)                                                                                              \
  X(cuEventRecord, 2000, CUevent, CUstream)                                                                                     \
  X(cuEventQuery, 2000, CUevent)                                                                                                \
  X(cuEventSynchronize, 2000, CUevent)                                                                                          \
  X(cuEventElapsedTime, 2000, float*, CUevent, CUevent)                                                                         \
  X(cuMemAlloc, 3020, CUdeviceptr*, size_t)                                                                                     \
  X(cuMemFree, 3020, CUdeviceptr)                                                                                               \
  X(cuMemHostAlloc, 2020, void**, size_t, unsigned)                                                                             \
  X(cuMemFreeHost, 2000, void*)                                                                                                 \
  X(cuMemPoolCreate, 11020, CUmemoryPool*, const CUmemPoolProps*)                                                               \
  X(cuMemPoolDestroy, 11020, CUmemoryPool)                                                                                      \
  X(cuMemPoolTrimTo, 11020, CUmemoryPool, size_t)                                                                               \
  X(cuMemPoolSetAttribute, 11020, CUmemoryPool, CUmemPool_attribute, void*)                                                     \
  X(cuMemPoolGetAttribute, 11020, CUmemoryPool, CUmemPool_attribute, void*)                                                     \
  X(cuMemAllocFromPoolAsync, 11020, CUdeviceptr*, size_t, CUmemoryPool, CUstream)                                               \
  X(cuMemFreeAsync, 11020, CUdeviceptr, CUstream)                                                                               \
  X(cuMemcpyHtoDAsync, 3020, CUdeviceptr, const void*, size_t, CUstream)                                                        \
  X(cuMemcpyDtoHAsync, 3020, void*, CUdeviceptr, size_t, CUstream)                                                              \
  X(cuMemsetD8Async, 3020, CUdeviceptr, unsigned char, size_t, CUstream)                                                        \
  X(cuModuleLoadData, 2000, CUmodule*, const void*)                                                                             \
  X(cuModuleUnload, 2000, CUmodule)                                                                                             \
  X(cuModuleGetFunction, 2000, CUfunction*, CUmodule, const char*)                                                              \
  X(cuFuncGetAttribute, 2020, int*, CUfunction_attribute, CUfunction)                                                           \
  X(cuFuncSetAttribute, 9000, CUfunction, CUfunction_attribute, int)                                                            \
  X(cuLaunchKernel, 4000, CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, CUstream, void**, void**)

struct Driver {
#define LANTERN_CUDA_ENTRY(name, version, ...) CUresult (*name)(__VA_ARGS__) = nullptr;
  LANTERN_CUDA_DRIVER(LANTERN_CUDA_ENTRY)
#undef LANTERN_CUDA_ENTRY
  int version = 0;     // the newest CUDA it knows, as 13000
  std::string reason;  // why it cannot be used; empty: it can
};

// Opened and initialised at the first call; `required` is the CUDA version that the kernels were built with.
const Driver& openDriver(int required);
inline const Driver* theDriver = nullptr;  // once it is open and can be used
inline const Driver& driver() { return *theDriver; }

std::string versionText(int version);  // 13000: "13.0"
std::string errorText(CUresult result);  // "CUDA_ERROR_INVALID_VALUE (invalid argument)"

inline void* toPointer(CUdeviceptr p) { return reinterpret_cast<void*>(uintptr_t(p)); }
inline CUdeviceptr toDevice(const void* p) { return CUdeviceptr(reinterpret_cast<uintptr_t>(p)); }

}  // namespace lantern::cuda
