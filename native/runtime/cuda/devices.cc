#include "devices.h"

#include "driver.h"
#include "modules.h"

namespace lantern::cuda {

namespace {

constexpr int kLowestCapability = 80;  // of the PTX that everything is compiled from: mma.sync on bfloat16, cp.async

std::string capabilityText(int capability) { return std::to_string(capability / 10) + "." + std::to_string(capability % 10); }

int attribute(CUdevice device, CUdevice_attribute what) {
  int value = 0;
  return driver().cuDeviceGetAttribute(&value, what, device) == CUDA_SUCCESS ? value : 0;
}

GpuInfo inspect(int ordinal) {
  GpuInfo gpu;
  gpu.ordinal = ordinal;
  CUdevice device = 0;
  if (const CUresult result = driver().cuDeviceGet(&device, ordinal); result != CUDA_SUCCESS) {
    gpu.why = errorText(result);
    return gpu;
  }
  char name[256] = "";
  driver().cuDeviceGetName(name, sizeof name, device);
  gpu.name = name;
  gpu.computeCapability =
      10 * attribute(device, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR) + attribute(device, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
  gpu.multiprocessors = attribute(device, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
  gpu.sharedBytesPerBlock = size_t(attribute(device, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN));
  gpu.memoryPools = attribute(device, CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED) != 0;
  driver().cuDeviceTotalMem(&gpu.memory, device);
  if (gpu.computeCapability < kLowestCapability)
    gpu.why = "compute capability " + capabilityText(gpu.computeCapability) + " is below " + capabilityText(kLowestCapability);
  return gpu;
}

std::string whyNone(const Discovery& d) {
  if (d.gpus.empty()) return "there is no NVIDIA GPU";
  std::string all;
  for (const GpuInfo& gpu : d.gpus) {
    if (gpu.why.empty()) return "";
    all += (all.empty() ? "" : ", ") + (gpu.name.empty() ? "GPU " + std::to_string(gpu.ordinal) : gpu.name) + ": " + gpu.why;
  }
  return "no GPU can be used (" + all + ")";
}

Discovery look() {
  Discovery d;
  d.toolkit = toolkitVersion();
  if (!d.toolkit) {
    d.reason = "the addon was built without kernels for GPUs; install the CUDA toolkit and build it again: npm rebuild lantern-node, "
               "or npm run install in a checkout";
    return d;
  }
  // Kernels run on every driver of the toolkit's major version or a later one.
  const Driver& opened = openDriver(d.toolkit / 1000 * 1000);
  d.driver = opened.version;
  d.reason = opened.reason;
  int count = 0;
  if (!d.reason.empty()) return d;
  if (const CUresult result = driver().cuDeviceGetCount(&count); result != CUDA_SUCCESS) {
    d.reason = "the NVIDIA driver tells of no GPU: " + errorText(result);
    return d;
  }
  for (int i = 0; i < count; ++i) d.gpus.push_back(inspect(i));
  d.reason = whyNone(d);
  return d;
}

}  // namespace

const GpuInfo* Discovery::find(int ordinal) const { return ordinal >= 0 && size_t(ordinal) < gpus.size() ? &gpus[size_t(ordinal)] : nullptr; }

const Discovery& discover() {
  static const Discovery d = look();
  return d;
}

}  // namespace lantern::cuda
