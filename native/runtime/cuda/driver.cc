#include "driver.h"

#include <dlfcn.h>

namespace lantern::cuda {

namespace {

constexpr const char* kLibrary = "libcuda.so.1";

// cuGetProcAddress in the signature before 12.0, which has no place for the reason of a failure, or since then.
struct Lookup {
  CUresult (*old)(const char*, void**, int, uint64_t) = nullptr;
  CUresult (*since12)(const char*, void**, int, uint64_t, int*) = nullptr;

  explicit Lookup(void* library) {
    since12 = reinterpret_cast<decltype(since12)>(dlsym(library, "cuGetProcAddress_v2"));
    old = reinterpret_cast<decltype(old)>(dlsym(library, "cuGetProcAddress"));
  }
  void* find(const char* name, int version) const {
    void* p = nullptr;
    const CUresult result = since12 ? since12(name, &p, version, 0, nullptr) : old ? old(name, &p, version, 0) : CUDA_ERROR_NOT_FOUND;
    return result == CUDA_SUCCESS ? p : nullptr;
  }
};

std::string open(Driver& d, int required) {
  void* library = dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);  // stays open: the driver does not survive being unloaded
  if (!library) return std::string("there is no NVIDIA driver that loads (") + dlerror() + "); install one";
  const auto getVersion = reinterpret_cast<CUresult (*)(int*)>(dlsym(library, "cuDriverGetVersion"));
  if (!getVersion || getVersion(&d.version) != CUDA_SUCCESS) return std::string(kLibrary) + " does not tell its version; install the NVIDIA driver again";
  if (d.version < required)
    return "the NVIDIA driver is too old: it supports CUDA " + versionText(d.version) + ", the kernels need " + versionText(required) + "; update it";
  const Lookup lookup(library);
#define LANTERN_CUDA_FIND(name, since, ...)                                                    \
  d.name = reinterpret_cast<decltype(d.name)>(lookup.find(#name, since));                      \
  if (!d.name) return "the NVIDIA driver (CUDA " + versionText(d.version) + ") has no " #name "; update it";
  LANTERN_CUDA_DRIVER(LANTERN_CUDA_FIND)
#undef LANTERN_CUDA_FIND
  theDriver = &d;
  if (const CUresult result = d.cuInit(0); result == CUDA_ERROR_NO_DEVICE) return "there is no NVIDIA GPU";
  else if (result != CUDA_SUCCESS) return "the NVIDIA driver does not start: " + errorText(result) + "; nvidia-smi may tell more";
  return "";
}

}  // namespace

const Driver& openDriver(int required) {
  static Driver d;
  static const bool opened = (d.reason = open(d, required), true);
  (void)opened;
  return d;
}

std::string versionText(int version) { return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10); }

std::string errorText(CUresult result) {
  const char *name = nullptr, *text = nullptr;
  if (driver().cuGetErrorName(result, &name) != CUDA_SUCCESS || !name) return "CUDA error " + std::to_string(int(result));
  if (driver().cuGetErrorString(result, &text) != CUDA_SUCCESS || !text) return name;
  return std::string(name) + " (" + text + ")";
}

}  // namespace lantern::cuda
