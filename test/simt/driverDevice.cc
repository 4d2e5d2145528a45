// Devices and what they say of themselves.
#include <algorithm>
#include <cstring>

#include "driver.h"

namespace lantern::simt::driver {

namespace {

// Each device has its own part of the machine's addresses: a quarter for memory that is allocated at once, the rest for memory in stream order.
constexpr uint64_t kAddresses = uint64_t(1) << 40;
uint64_t partOf(int devices) { return kAddresses / uint64_t(std::max(devices, 1)) / 4096 * 4096; }

}  // namespace

Device::Device(int ordinal, int devices, const Gpu& gpu, uint64_t bytes)
    : ordinal(ordinal),
      gpu(gpu),
      name(std::string("Simulated ") + gpu.model + " (PTX machine)"),
      nextOrdered(Memory::State::kBase + uint64_t(ordinal) * partOf(devices) + partOf(devices) / 4),
      endOrdered(Memory::State::kBase + uint64_t(ordinal + 1) * partOf(devices)) {
  memory.state().next += uint64_t(ordinal) * partOf(devices);
  memory.limit(std::max(bytes, uint64_t(1) << 40));  // the driver counts; this must not refuse what it has granted
}

namespace {

int attributeOf(const Device& d, CUdevice_attribute attribute) {
  const Gpu& gpu = d.gpu;
  switch (attribute) {
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK: return kThreadsPerBlock;
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X: return kMaxBlock[0];
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y: return kMaxBlock[1];
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z: return kMaxBlock[2];
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X: return kMaxGrid[0];
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y: return kMaxGrid[1];
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z: return kMaxGrid[2];
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK: return kSharedWithoutOptIn;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN: return gpu.sharedPerBlock;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR: return gpu.sharedPerMultiprocessor;
    case CU_DEVICE_ATTRIBUTE_RESERVED_SHARED_MEMORY_PER_BLOCK: return kReservedShared;
    case CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY: return 65536;
    case CU_DEVICE_ATTRIBUTE_WARP_SIZE: return 32;
    case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK: return kRegisters;
    case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR: return kRegisters;
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR: return gpu.threadsPerMultiprocessor;
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR: return gpu.blocksPerMultiprocessor;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: return gpu.multiprocessors;
    case CU_DEVICE_ATTRIBUTE_CLOCK_RATE: return gpu.clockKHz;
    case CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE: return gpu.memoryClockKHz;
    case CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH: return gpu.memoryBusBits;
    case CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE: return gpu.l2Bytes;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: return gpu.capability / 10;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: return gpu.capability % 10;
    case CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT: return 2;
    case CU_DEVICE_ATTRIBUTE_CONCURRENT_KERNELS: return 1;
    case CU_DEVICE_ATTRIBUTE_STREAM_PRIORITIES_SUPPORTED: return 1;
    case CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING: return 1;
    case CU_DEVICE_ATTRIBUTE_HOST_REGISTER_SUPPORTED: return 1;
    case CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED: return Driver::get().environment.memoryPools;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_MODE: return CU_COMPUTEMODE_DEFAULT;
    case CU_DEVICE_ATTRIBUTE_PCI_BUS_ID: return d.ordinal + 1;
    case CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID: return 0;
    case CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID: return 0;
    case CU_DEVICE_ATTRIBUTE_ECC_ENABLED: return 1;
    // What cannot be simulated is not there.
    case CU_DEVICE_ATTRIBUTE_INTEGRATED:
    case CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY:
    case CU_DEVICE_ATTRIBUTE_KERNEL_EXEC_TIMEOUT:
    case CU_DEVICE_ATTRIBUTE_MANAGED_MEMORY:
    case CU_DEVICE_ATTRIBUTE_PAGEABLE_MEMORY_ACCESS:
    case CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH:
    case CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED:
    case CU_DEVICE_ATTRIBUTE_CLUSTER_LAUNCH:
    case CU_DEVICE_ATTRIBUTE_TENSOR_MAP_ACCESS_SUPPORTED: return 0;
    default: refuse(CUDA_ERROR_INVALID_VALUE, "device attribute " + std::to_string(int(attribute)) + " is unknown here");
  }
}

}  // namespace

}  // namespace lantern::simt::driver

using namespace lantern::simt::driver;

CUresult CUDAAPI cuInit(unsigned int flags) {
  return enter("cuInit", Driver::Stage::anytime, [&] {
    require(flags == 0, "flags must be 0");
    Driver& driver = Driver::get();
    driver.configure(true);
    if (driver.devices.empty()) refuse(CUDA_ERROR_NO_DEVICE, "there is no device");
    driver.initialised = true;
  });
}

CUresult CUDAAPI cuDriverGetVersion(int* version) {
  return enter("cuDriverGetVersion", Driver::Stage::anytime, [&] {
    require(version, "no place for the version");
    *version = Driver::get().environment.driverVersion;
  });
}

CUresult CUDAAPI cuDeviceGetCount(int* count) {
  return enter("cuDeviceGetCount", Driver::Stage::initialised, [&] {
    require(count, "no place for the count");
    *count = int(Driver::get().devices.size());
  });
}

CUresult CUDAAPI cuDeviceGet(CUdevice* device, int ordinal) {
  return enter("cuDeviceGet", Driver::Stage::initialised, [&] {
    require(device, "no place for the device");
    *device = Driver::get().device(ordinal).ordinal;
  });
}

CUresult CUDAAPI cuDeviceGetName(char* name, int length, CUdevice device) {
  return enter("cuDeviceGetName", Driver::Stage::initialised, [&] {
    require(name && length > 0, "no place for the name");
    std::snprintf(name, size_t(length), "%s", Driver::get().device(device).name.c_str());
  });
}

CUresult CUDAAPI cuDeviceTotalMem(size_t* bytes, CUdevice device) {
  return enter("cuDeviceTotalMem", Driver::Stage::initialised, [&] {
    require(bytes, "no place for the size");
    Driver::get().device(device);
    *bytes = Driver::get().environment.memory;
  });
}

CUresult CUDAAPI cuDeviceGetAttribute(int* value, CUdevice_attribute attribute, CUdevice device) {
  return enter("cuDeviceGetAttribute", Driver::Stage::initialised, [&] {
    require(value, "no place for the value");
    *value = attributeOf(Driver::get().device(device), attribute);
  });
}

static void uuidOf(CUuuid* uuid, CUdevice device) {
  require(uuid, "no place for the identifier");
  std::memcpy(uuid->bytes, "PTX machine     ", 16);
  uuid->bytes[15] = char('0' + Driver::get().device(device).ordinal);
}
CUresult CUDAAPI cuDeviceGetUuid(CUuuid* uuid, CUdevice device) {
  return enter("cuDeviceGetUuid", Driver::Stage::initialised, [&] { uuidOf(uuid, device); });
}
#undef cuDeviceGetUuid  // the name before 11.4
extern "C" __attribute__((visibility("default"))) CUresult CUDAAPI cuDeviceGetUuid(CUuuid* uuid, CUdevice device) {
  return enter("cuDeviceGetUuid", Driver::Stage::initialised, [&] { uuidOf(uuid, device); });
}

CUresult CUDAAPI cuDeviceGetPCIBusId(char* id, int length, CUdevice device) {
  return enter("cuDeviceGetPCIBusId", Driver::Stage::initialised, [&] {
    require(id && length >= 13, "the identifier takes 13 characters");
    std::snprintf(id, size_t(length), "0000:%02x:00.0", Driver::get().device(device).ordinal + 1);
  });
}
