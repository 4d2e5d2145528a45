#include "gpu.h"

#include <cuda_runtime_api.h>  // the calculator uses its enums; nothing of it is called

#include <cuda_occupancy.h>

namespace lantern::simt {

namespace {

// From NVIDIA's data sheets and the tables of the CUDA programming guide. 7.5 is there to be refused: nothing is compiled for it.
constexpr Gpu kGpus[] = {
    {75, "T4", 40, 1024, 16, 65536, 65536, 4 << 20, 1590000, 5001000, 256},
    {80, "A100", 108, 2048, 32, 167936, 166912, 40 << 20, 1410000, 1215000, 5120},
    {86, "A10", 72, 1536, 16, 102400, 101376, 6 << 20, 1695000, 6251000, 384},
    {89, "RTX 4090", 128, 1536, 24, 102400, 101376, 72 << 20, 2520000, 10501000, 384},
    {90, "H100", 132, 2048, 32, 233472, 232448, 50 << 20, 1980000, 2619000, 5120},
    {100, "B200", 148, 2048, 32, 233472, 232448, 126 << 20, 1965000, 3996000, 8192},
    {120, "RTX 5090", 170, 1536, 24, 102400, 101376, 96 << 20, 2407000, 14001000, 512},
};
constexpr int kRegisterUnit = 256;  // registers of a warp come in multiples of it

}  // namespace

const Gpu* gpuOf(int capability) {
  for (const Gpu& gpu : kGpus)
    if (gpu.capability == capability) return &gpu;
  return nullptr;
}

int registersOf(const Resources& kernel, int threads) {
  const int warps = (threads + 31) / 32, warp = (int(kernel.registers) * 32 + kRegisterUnit - 1) / kRegisterUnit * kRegisterUnit;
  return warps * warp;
}

Occupancy occupancy(const Gpu& gpu, const Resources& kernel, int threads, int dynamicShared) {
  cudaOccDeviceProp device;
  device.computeMajor = gpu.capability / 10;
  device.computeMinor = gpu.capability % 10;
  device.maxThreadsPerBlock = kThreadsPerBlock;
  device.maxThreadsPerMultiprocessor = gpu.threadsPerMultiprocessor;
  device.regsPerBlock = device.regsPerMultiprocessor = kRegisters;
  device.warpSize = 32;
  device.sharedMemPerBlock = kSharedWithoutOptIn;
  device.sharedMemPerMultiprocessor = size_t(gpu.sharedPerMultiprocessor);
  device.numSms = gpu.multiprocessors;
  device.sharedMemPerBlockOptin = size_t(gpu.sharedPerBlock);
  device.reservedSharedMemPerBlock = kReservedShared;

  cudaOccFuncAttributes function;
  function.maxThreadsPerBlock = kernel.maxThreads ? int(kernel.maxThreads) : kThreadsPerBlock;
  function.numRegs = int(kernel.registers);
  function.sharedSizeBytes = kernel.staticShared;
  function.partitionedGCConfig = PARTITIONED_GC_OFF;
  function.shmemLimitConfig = FUNC_SHMEM_LIMIT_OPTIN;
  function.maxDynamicSharedSizeBytes = size_t(gpu.sharedPerBlock) - kernel.staticShared;
  function.numBlockBarriers = 1;

  cudaOccResult result;
  const cudaOccDeviceState state;
  if (threads <= 0 || dynamicShared < 0 || int(kernel.staticShared) + dynamicShared > gpu.sharedPerBlock) return {};
  if (cudaOccMaxActiveBlocksPerMultiprocessor(&result, &device, &function, &state, threads, size_t(dynamicShared)) != CUDA_OCC_SUCCESS) return {};
  return {result.activeBlocksPerMultiprocessor, double(result.activeBlocksPerMultiprocessor) * threads / gpu.threadsPerMultiprocessor};
}

}  // namespace lantern::simt
