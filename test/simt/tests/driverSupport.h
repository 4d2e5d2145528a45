// What the driver's tests are written with: a session of the driver with settings of its own, device buffers, launches.
#pragma once
#include <cuda.h>

#include <cstdlib>
#include <fstream>
#include <initializer_list>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include "../../native/harness.h"

extern "C" {
const char* simtReportJson();
const char* simtReportTable();
const char* simtLastError();
uint64_t simtFindings();
void simtClearReport();
void simtWriteReport();
}

namespace lantern::simt::test {

inline std::string readFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline const std::string& kernelImage() {
  static const std::string image = readFile(DRIVER_KERNELS ".fatbin");
  return image;
}

// The context of one test. Settings are LANTERN_SIMT_<name>; they hold until its end, which checks that nothing was left behind.
class Session {
 public:
  using Setting = std::pair<const char*, const char*>;
  explicit Session(std::initializer_list<Setting> settings = {}) {
    set("LOG", "none");
    for (const Setting& s : settings) set(s.first, s.second);
    simtClearReport();
    if (cuInit(0) != CUDA_SUCCESS) return;
    cuDeviceGet(&device, 0);
    if (cuDevicePrimaryCtxRetain(&context, device) != CUDA_SUCCESS) return;
    open = true;
    cuCtxSetCurrent(context);
    cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING);
  }
  ~Session() {
    close();
    simtClearReport();
    for (const std::string& name : names_) unsetenv(name.c_str());
  }
  // Ends the context. Findings are left for the test to look at.
  void close() {
    if (!open) return;
    open = false;
    for (const CUdeviceptr p : buffers) cuMemFree(p);
    if (module) cuModuleUnload(module);
    cuStreamDestroy(stream);
    cuCtxSetCurrent(nullptr);
    cuDevicePrimaryCtxRelease(device);
  }

  CUfunction kernel(const char* name) {
    if (functions.count(name)) return functions[name];
    if (!module) cuModuleLoadData(&module, kernelImage().data());
    CUfunction f = nullptr;
    if (cuModuleGetFunction(&f, module, name) != CUDA_SUCCESS) lantern::test::failed(__FILE__, __LINE__, std::string("no kernel ") + name);
    return functions[name] = f;
  }
  CUdeviceptr buffer(size_t bytes) {
    CUdeviceptr p = 0;
    if (cuMemAlloc(&p, bytes) == CUDA_SUCCESS) buffers.push_back(p);
    return p;
  }
  template <class T>
  CUdeviceptr buffer(const std::vector<T>& x) {
    const CUdeviceptr p = buffer(x.size() * sizeof(T));
    cuMemcpyHtoD(p, x.data(), x.size() * sizeof(T));
    cuCtxSynchronize();
    return p;
  }
  template <class T>
  std::vector<T> read(CUdeviceptr p, size_t n) {
    std::vector<T> x(n);
    cuMemcpyDtoH(x.data(), p, n * sizeof(T));
    return x;
  }
  template <class... Args>
  CUresult launch(const char* name, unsigned grid, unsigned block, unsigned shared, const Args&... args) {
    const void* pointers[] = {static_cast<const void*>(&args)..., nullptr};
    return cuLaunchKernel(kernel(name), grid, 1, 1, block, 1, 1, shared, stream, const_cast<void**>(pointers), nullptr);
  }

  bool open = false;
  CUdevice device = 0;
  CUcontext context = nullptr;
  CUstream stream = nullptr;
  CUmodule module = nullptr;
  std::map<std::string, CUfunction> functions;
  std::vector<CUdeviceptr> buffers;

 private:
  void set(const char* name, const char* value) {
    names_.push_back(std::string("LANTERN_SIMT_") + name);
    setenv(names_.back().c_str(), value, 1);
  }
  std::vector<std::string> names_;
};

// Page-locked host memory.
template <class T>
struct Pinned {
  explicit Pinned(size_t n) : count(n) { cuMemAllocHost(reinterpret_cast<void**>(&data), n * sizeof(T)); }
  ~Pinned() { cuMemFreeHost(data); }
  T& operator[](size_t i) { return data[i]; }
  size_t bytes() const { return count * sizeof(T); }
  T* data = nullptr;
  size_t count;
};

inline std::vector<float> zerosOf(size_t n) { return std::vector<float>(n); }

inline bool reports(const std::string& text) { return std::string(simtReportTable()).find(text) != std::string::npos; }

}  // namespace lantern::simt::test

#define CHECK_CU(expected, call)                                                                                                          \
  do {                                                                                                                                    \
    const CUresult result_ = (call);                                                                                                      \
    if (result_ != (expected))                                                                                                            \
      lantern::test::failed(__FILE__, __LINE__, #call " gave " + std::to_string(int(result_)) + ", not " #expected " (" + simtLastError() + ")"); \
  } while (0)
#define OK(call) CHECK_CU(CUDA_SUCCESS, call)
