// cuGetProcAddress: which entry points there are, and since which CUDA version each has the signature it has here.
#include <cstring>

#include "driver.h"

using namespace lantern::simt::driver;

#undef cuDeviceGetUuid
#undef cuEventElapsedTime
#undef cuGetProcAddress
extern "C" {
__attribute__((visibility("default"))) CUresult CUDAAPI cuDeviceGetUuid(CUuuid*, CUdevice);
__attribute__((visibility("default"))) CUresult CUDAAPI cuEventElapsedTime(float*, CUevent, CUevent);
__attribute__((visibility("default"))) CUresult CUDAAPI cuGetProcAddress(const char*, void**, int, cuuint64_t);
}

namespace {

struct EntryPoint {
  const char* name;
  int since;  // CUDA version, as 11020
  void* function;
};

// A name may come several times: what is asked for is the latest version that is not later than the caller's.
#define ENTRY(name, since) {#name, since, reinterpret_cast<void*>(name)}
#define VERSIONED(name, since, function) {#name, since, reinterpret_cast<void*>(function)}
const EntryPoint kEntryPoints[] = {
    ENTRY(cuInit, 2000), ENTRY(cuDriverGetVersion, 2020), ENTRY(cuGetErrorName, 6000), ENTRY(cuGetErrorString, 6000),
    ENTRY(cuGetProcAddress, 11030), VERSIONED(cuGetProcAddress, 12000, cuGetProcAddress_v2),
    // devices
    ENTRY(cuDeviceGetCount, 2000), ENTRY(cuDeviceGet, 2000), ENTRY(cuDeviceGetName, 2000), ENTRY(cuDeviceTotalMem, 3020),
    ENTRY(cuDeviceGetAttribute, 2000), ENTRY(cuDeviceGetUuid, 9020), VERSIONED(cuDeviceGetUuid, 11040, cuDeviceGetUuid_v2),
    ENTRY(cuDeviceGetPCIBusId, 4010), ENTRY(cuDeviceGetDefaultMemPool, 11020), ENTRY(cuDeviceGetMemPool, 11020),
    ENTRY(cuDeviceSetMemPool, 11020),
    // contexts
    ENTRY(cuDevicePrimaryCtxRetain, 7000), ENTRY(cuDevicePrimaryCtxRelease, 11000), ENTRY(cuDevicePrimaryCtxReset, 11000),
    ENTRY(cuDevicePrimaryCtxSetFlags, 11000), ENTRY(cuDevicePrimaryCtxGetState, 7000), ENTRY(cuCtxSetCurrent, 4000),
    ENTRY(cuCtxGetCurrent, 4000), ENTRY(cuCtxPushCurrent, 4000), ENTRY(cuCtxPopCurrent, 4000), ENTRY(cuCtxGetDevice, 2000),
    VERSIONED(cuCtxGetDevice, 13000, cuCtxGetDevice_v2), ENTRY(cuCtxSynchronize, 2000),
    VERSIONED(cuCtxSynchronize, 13000, cuCtxSynchronize_v2), ENTRY(cuCtxGetFlags, 7000), ENTRY(cuCtxGetApiVersion, 3020),
    ENTRY(cuCtxGetStreamPriorityRange, 5050),
    // memory
    ENTRY(cuMemAlloc, 3020), ENTRY(cuMemFree, 3020), ENTRY(cuMemGetInfo, 3020), ENTRY(cuMemAllocHost, 3020), ENTRY(cuMemHostAlloc, 2020),
    ENTRY(cuMemFreeHost, 2000), ENTRY(cuMemHostRegister, 6050), ENTRY(cuMemHostUnregister, 4000), ENTRY(cuMemAllocAsync, 11020),
    ENTRY(cuMemFreeAsync, 11020), ENTRY(cuMemAllocFromPoolAsync, 11020), ENTRY(cuMemPoolCreate, 11020), ENTRY(cuMemPoolDestroy, 11020),
    ENTRY(cuMemPoolTrimTo, 11020), ENTRY(cuMemPoolGetAttribute, 11020), ENTRY(cuMemPoolSetAttribute, 11020),
    // copies and fills
    ENTRY(cuMemcpyHtoD, 3020), ENTRY(cuMemcpyDtoH, 3020), ENTRY(cuMemcpyDtoD, 3020), ENTRY(cuMemcpyHtoDAsync, 3020),
    ENTRY(cuMemcpyDtoHAsync, 3020), ENTRY(cuMemcpyDtoDAsync, 3020), ENTRY(cuMemsetD8, 3020), ENTRY(cuMemsetD16, 3020),
    ENTRY(cuMemsetD32, 3020), ENTRY(cuMemsetD8Async, 3020), ENTRY(cuMemsetD16Async, 3020), ENTRY(cuMemsetD32Async, 3020),
    // streams and events
    ENTRY(cuStreamCreate, 2000), ENTRY(cuStreamCreateWithPriority, 5050), ENTRY(cuStreamDestroy, 4000), ENTRY(cuStreamQuery, 2000),
    ENTRY(cuStreamSynchronize, 2000), ENTRY(cuStreamWaitEvent, 3020), ENTRY(cuStreamGetPriority, 5050), ENTRY(cuStreamGetFlags, 5050),
    ENTRY(cuLaunchHostFunc, 10000), ENTRY(cuEventCreate, 2000), ENTRY(cuEventDestroy, 4000), ENTRY(cuEventRecord, 2000),
    ENTRY(cuEventRecordWithFlags, 11010), ENTRY(cuEventQuery, 2000), ENTRY(cuEventSynchronize, 2000), ENTRY(cuEventElapsedTime, 2000),
    VERSIONED(cuEventElapsedTime, 12080, cuEventElapsedTime_v2),
    // modules and launches
    ENTRY(cuModuleLoad, 2000), ENTRY(cuModuleLoadData, 2000), ENTRY(cuModuleLoadDataEx, 2010), ENTRY(cuModuleLoadFatBinary, 2000),
    ENTRY(cuModuleUnload, 2000), ENTRY(cuModuleGetFunction, 2000), ENTRY(cuModuleGetGlobal, 3020), ENTRY(cuModuleGetLoadingMode, 11070),
    ENTRY(cuFuncGetAttribute, 2020), ENTRY(cuFuncSetAttribute, 9000), ENTRY(cuFuncGetName, 12030), ENTRY(cuFuncGetModule, 11000),
    ENTRY(cuFuncLoad, 12040), ENTRY(cuFuncIsLoaded, 12040), ENTRY(cuLaunchKernel, 4000), ENTRY(cuLaunchKernelEx, 11060),
    ENTRY(cuOccupancyMaxActiveBlocksPerMultiprocessor, 6050), ENTRY(cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags, 7000),
};
#undef ENTRY
#undef VERSIONED

void find(const char* symbol, void** function, int version, cuuint64_t flags, CUdriverProcAddressQueryResult* status) {
  require(symbol && function, "no name, or no place for the address");
  *function = nullptr;
  const auto& environment = Driver::get().environment;
  require(version <= environment.driverVersion, "a version later than the driver's");
  require(!(flags & ~cuuint64_t(CU_GET_PROC_ADDRESS_LEGACY_STREAM)), "unknown flags, or per-thread default streams, which are not simulated");
  CUdriverProcAddressQueryResult found = CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
  int best = 0;
  for (const EntryPoint& e : kEntryPoints) {
    if (std::strcmp(e.name, symbol) != 0 || e.since > environment.driverVersion || environment.faults.hidden.count(symbol)) continue;
    if (e.since > version) {
      if (!*function) found = CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT;
    } else if (e.since > best) {
      best = e.since, *function = e.function, found = CU_GET_PROC_ADDRESS_SUCCESS;
    }
  }
  if (status) *status = found;
}

}  // namespace

// A name that is not found is no error, but a null pointer.
CUresult CUDAAPI cuGetProcAddress_v2(const char* symbol, void** function, int version, cuuint64_t flags, CUdriverProcAddressQueryResult* status) {
  return enter("cuGetProcAddress", Driver::Stage::anytime, [&] { find(symbol, function, version, flags, status); });
}
CUresult CUDAAPI cuGetProcAddress(const char* symbol, void** function, int version, cuuint64_t flags) {
  return enter("cuGetProcAddress", Driver::Stage::anytime, [&] { find(symbol, function, version, flags, nullptr); });
}
