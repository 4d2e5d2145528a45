// Contexts, devices, entry points by version, faults that are asked for.
#include <dlfcn.h>

#include <thread>

#include "driverSupport.h"

using namespace lantern::simt::test;

namespace {

void* lookUp(const char* name, int version, CUdriverProcAddressQueryResult* status = nullptr) {
  void* p = nullptr;
  cuGetProcAddress(name, &p, version, 0, status);
  return p;
}

}  // namespace

TEST("driver context: nothing works without one, or with one that was released") {
  CUdeviceptr p = 0;
  {
    Session s;
    cuCtxSetCurrent(nullptr);
    CHECK_CU(CUDA_ERROR_INVALID_CONTEXT, cuMemAlloc(&p, 16));
    CUresult elsewhere = CUDA_SUCCESS;
    std::thread([&] { elsewhere = cuMemAlloc(&p, 16); }).join();
    CHECK(elsewhere == CUDA_ERROR_INVALID_CONTEXT);
    OK(cuCtxSetCurrent(s.context));
    OK(cuMemAlloc(&p, 16));
    OK(cuMemFree(p));
    cuStreamDestroy(s.stream);
    OK(cuDevicePrimaryCtxRelease(0));
    CHECK_CU(CUDA_ERROR_CONTEXT_IS_DESTROYED, cuMemAlloc(&p, 16));
    CHECK_CU(CUDA_ERROR_INVALID_CONTEXT, cuDevicePrimaryCtxRelease(0));
    CHECK_CU(CUDA_ERROR_INVALID_CONTEXT, cuCtxSetCurrent(s.context));
    OK(cuCtxSetCurrent(nullptr));
    s.open = false;
  }
}

TEST("driver context: the primary one is retained and released in pairs, the stack is a thread's own") {
  Session s;
  CUcontext again = nullptr, current = nullptr;
  OK(cuDevicePrimaryCtxRetain(&again, 0));
  CHECK(again == s.context);
  OK(cuDevicePrimaryCtxRelease(0));
  OK(cuCtxPushCurrent(s.context));
  OK(cuCtxPopCurrent(&again));
  OK(cuCtxGetCurrent(&current));
  CHECK(again == s.context && current == s.context);
  unsigned flags = 1;
  int active = 0;
  OK(cuDevicePrimaryCtxGetState(0, &flags, &active));
  CHECK(flags == 0 && active == 1);
  CHECK_CU(CUDA_ERROR_PRIMARY_CONTEXT_ACTIVE, cuDevicePrimaryCtxSetFlags(0, CU_CTX_SCHED_BLOCKING_SYNC));
}

TEST("driver context: what is left in it when it ends is a leak") {
  Session s;
  CUdeviceptr p = 0;
  OK(cuMemAlloc(&p, 100));
  void* host = nullptr;
  OK(cuMemAllocHost(&host, 100));
  CUstream stream = nullptr;
  OK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
  CUevent event = nullptr;
  OK(cuEventCreate(&event, CU_EVENT_DEFAULT));
  CUmodule module = nullptr;
  OK(cuModuleLoadData(&module, kernelImage().data()));
  CUmemPoolProps props = {};
  props.allocType = CU_MEM_ALLOCATION_TYPE_PINNED;
  props.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  CUmemoryPool pool = nullptr;
  OK(cuMemPoolCreate(&pool, &props));
  s.close();
  CHECK(simtFindings() == 1 && reports("leak") && reports("1 device allocation of 100 bytes") && reports("1 page-locked host block"));
  CHECK(reports("1 stream, 1 event, 1 module, 1 memory pool"));
}

TEST("driver context: work that nobody waits for is found when it ends") {
  for (const bool waits : {true, false}) {
    Session s;
    OK(cuMemsetD8Async(s.buffer(100), 0, 100, s.stream));
    if (waits) OK(cuCtxSynchronize());
    s.close();
    CHECK(reports("unfinished work") == !waits);
  }
}

TEST("driver device: attributes of an A100, and no others") {
  Session s;
  const auto attribute = [](CUdevice_attribute a) {
    int value = -1;
    OK(cuDeviceGetAttribute(&value, a, 0));
    return value;
  };
  CHECK(attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR) == 8 && attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR) == 0);
  CHECK(attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT) == 108 && attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN) == 166912);
  int value = 0;
  CHECK_CU(CUDA_ERROR_INVALID_VALUE, cuDeviceGetAttribute(&value, CUdevice_attribute(200), 0));
  CHECK_CU(CUDA_ERROR_INVALID_VALUE, cuDeviceGetAttribute(&value, CU_DEVICE_ATTRIBUTE_MAX, 0));
  CHECK_CU(CUDA_ERROR_INVALID_DEVICE, cuDeviceGetAttribute(&value, CU_DEVICE_ATTRIBUTE_WARP_SIZE, 1));
  char name[64];
  OK(cuDeviceGetName(name, sizeof name, 0));
  CHECK(std::string(name) == "Simulated A100 (PTX machine)");
}

TEST("driver device: settings choose capability, memory, number of devices, pools") {
  Session s({{"CAPABILITY", "90"}, {"MEMORY", "64M"}, {"DEVICES", "2"}, {"FAULT", "noPools"}});
  int value = 0;
  size_t bytes = 0;
  OK(cuDeviceGetCount(&value));
  CHECK(value == 2);
  OK(cuDeviceGetAttribute(&value, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 1));
  CHECK(value == 9);
  OK(cuDeviceGetAttribute(&value, CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED, 1));
  CHECK(value == 0);
  OK(cuDeviceTotalMem(&bytes, 1));
  CHECK(bytes == size_t(64) << 20);
  const CUfunction f = s.kernel("reversed");
  OK(cuFuncGetAttribute(&value, CU_FUNC_ATTRIBUTE_BINARY_VERSION, f));
  CHECK(value == 90);
}

TEST("driver entry points: a name is found in the version that is asked for") {
  Session s;
  CUdriverProcAddressQueryResult status;
  CHECK(lookUp("cuMemAlloc", 3020) == reinterpret_cast<void*>(&cuMemAlloc_v2));
  CHECK(!lookUp("cuMemAlloc", 2000, &status) && status == CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT);
  CHECK(!lookUp("cuNoSuchThing", 12000, &status) && status == CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
  CHECK(lookUp("cuCtxGetDevice", 12000) == reinterpret_cast<void*>(&cuCtxGetDevice));
  CHECK(lookUp("cuCtxGetDevice", 13000) == reinterpret_cast<void*>(&cuCtxGetDevice_v2));
  CHECK(lookUp("cuEventElapsedTime", 12000) && lookUp("cuEventElapsedTime", 12000) != lookUp("cuEventElapsedTime", 12080));
  void* p = &status;
  CHECK_CU(CUDA_ERROR_INVALID_VALUE, cuGetProcAddress("cuInit", &p, 13010, 0, nullptr));
  CHECK_CU(CUDA_ERROR_INVALID_VALUE, cuGetProcAddress("cuInit", &p, 12000, CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM, nullptr));
  CHECK(p == nullptr || p == &status);
}

TEST("driver entry points: the library exports CUDA and a few functions for tests, with the old signatures under the old names absent") {
  void* library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
  CHECK(library && dlsym(library, "cuMemAlloc_v2") && dlsym(library, "cuGetProcAddress") && dlsym(library, "cuGetProcAddress_v2"));
  CHECK(library && !dlsym(library, "cuMemAlloc") && !dlsym(library, "cuMemcpyHtoD"));
}

TEST("driver faults: an old driver lacks what came later, a hidden entry point is not there") {
  Session s({{"FAULT", "driver=11020,hide=cuMemFreeAsync"}});
  int version = 0;
  OK(cuDriverGetVersion(&version));
  CHECK(version == 11020);
  CHECK(lookUp("cuMemAllocAsync", 11020) && !lookUp("cuMemFreeAsync", 11020) && !lookUp("cuLaunchKernelEx", 11020));
  CHECK_CU(CUDA_ERROR_UNSUPPORTED_PTX_VERSION, cuModuleLoadData(&s.module, kernelImage().data()));
}

TEST("driver faults: no device; a capability for which nothing was compiled") {
  {
    Session s({{"DEVICES", "0"}});
    CHECK(!s.open);
    CHECK_CU(CUDA_ERROR_NO_DEVICE, cuInit(0));
  }
  Session s({{"CAPABILITY", "75"}});
  CHECK_CU(CUDA_ERROR_NO_BINARY_FOR_GPU, cuModuleLoadData(&s.module, kernelImage().data()));
}

TEST("driver faults: the n-th allocation fails, once or from then on, and not the others") {
  for (const bool onwards : {false, true}) {
    Session s({{"FAULT", onwards ? "allocation=2+,hostAllocation=1" : "allocation=2"}});
    CUdeviceptr p[3] = {};
    OK(cuMemAlloc(&p[0], 16));
    CHECK_CU(CUDA_ERROR_OUT_OF_MEMORY, cuMemAllocAsync(&p[1], 16, s.stream));
    CHECK_CU(onwards ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_SUCCESS, cuMemAlloc(&p[2], 16));
    OK(cuMemFree(p[0]));
    if (!onwards) OK(cuMemFree(p[2]));
    void* host = nullptr;
    CHECK_CU(onwards ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_SUCCESS, cuMemAllocHost(&host, 16));
    if (!onwards) OK(cuMemFreeHost(host));
    s.close();
    CHECK(simtFindings() == 0);
  }
}

TEST("driver faults: a run of allocations fails") {
  Session s({{"FAULT", "allocation=2-3"}});
  CUdeviceptr p[4] = {};
  OK(cuMemAlloc(&p[0], 16));
  CHECK_CU(CUDA_ERROR_OUT_OF_MEMORY, cuMemAlloc(&p[1], 16));
  CHECK_CU(CUDA_ERROR_OUT_OF_MEMORY, cuMemAlloc(&p[2], 16));
  OK(cuMemAlloc(&p[3], 16));
  OK(cuMemFree(p[0]));
  OK(cuMemFree(p[3]));
}

TEST("driver faults: a launch is refused and the context lives on; an execution fails and the context with it") {
  {
    Session s({{"FAULT", "launch=2"}});
    const CUdeviceptr x = s.buffer(std::vector<float>(256));
    OK(s.launch("addOne", 1, 256, 0, x, 256));
    CHECK_CU(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, s.launch("addOne", 1, 256, 0, x, 256));
    OK(s.launch("addOne", 1, 256, 0, x, 256));
    OK(cuStreamSynchronize(s.stream));
    CHECK(s.read<float>(x, 256)[7] == 2);
  }
  Session s({{"FAULT", "execution=2"}});
  const CUdeviceptr x = s.buffer(std::vector<float>(256));
  for (int i = 0; i < 3; ++i) OK(s.launch("addOne", 1, 256, 0, x, 256));
  CHECK_CU(CUDA_ERROR_LAUNCH_FAILED, cuStreamSynchronize(s.stream));
  CUdeviceptr more = 0;
  CHECK_CU(CUDA_ERROR_LAUNCH_FAILED, cuMemAlloc(&more, 16));
  CHECK_CU(CUDA_ERROR_LAUNCH_FAILED, cuMemFree(x));  // and yet it counts as freed
  s.buffers.clear();
  s.close();
  CHECK(simtFindings() == 0);
}

TEST("driver faults: a lost device fails every call from then on, until the settings are read again") {
  {
    Session s({{"FAULT", "lose=6"}});  // counted since the context was made
    CUdeviceptr p = 0;
    CUresult result = CUDA_SUCCESS;
    int calls = 0;
    for (; calls < 10 && result == CUDA_SUCCESS; ++calls) result = cuMemAlloc(&p, 16);
    CHECK(result == CUDA_ERROR_UNKNOWN && calls > 1 && calls < 7);
    CHECK_CU(CUDA_ERROR_UNKNOWN, cuStreamSynchronize(s.stream));
    CUcontext another = nullptr;
    CHECK_CU(CUDA_ERROR_UNKNOWN, cuDevicePrimaryCtxRetain(&another, 0));
  }
  Session s;
  OK(cuStreamSynchronize(s.stream));
}

TEST("driver errors: names and texts are the driver's") {
  const char* text = nullptr;
  OK(cuGetErrorName(CUDA_ERROR_ILLEGAL_ADDRESS, &text));
  CHECK(std::string(text) == "CUDA_ERROR_ILLEGAL_ADDRESS");
  OK(cuGetErrorString(CUDA_ERROR_OUT_OF_MEMORY, &text));
  CHECK(std::string(text) == "out of memory");
  CHECK_CU(CUDA_ERROR_INVALID_VALUE, cuGetErrorName(CUresult(1000), &text));
}
