// The GPUs the machine can pose as, one for each architecture the kernels are compiled for, and occupancy on them.
#pragma once
#include <cstdint>

#include "fatbin.h"

namespace lantern::simt {

struct Gpu {
  int capability;  // 80: compute capability 8.0
  const char* model;
  int multiprocessors, threadsPerMultiprocessor, blocksPerMultiprocessor;
  int sharedPerMultiprocessor, sharedPerBlock;  // bytes; per block: the most it may opt in to
  int l2Bytes, clockKHz, memoryClockKHz, memoryBusBits;
};

constexpr int kRegisters = 65536;           // per multiprocessor and per block, on all of them
constexpr int kThreadsPerBlock = 1024;
constexpr int kSharedWithoutOptIn = 49152;  // bytes per block
constexpr int kMaxBlock[] = {1024, 1024, 64};
constexpr int kMaxGrid[] = {2147483647, 65535, 65535};
constexpr int kReservedShared = 1024;       // bytes of every block that the system takes

// nullptr: not one of them.
const Gpu* gpuOf(int capability);

struct Occupancy {
  int blocks = 0;         // per multiprocessor; 0: it cannot run
  double threads = 0;     // share of the multiprocessor's threads
};
Occupancy occupancy(const Gpu& gpu, const Resources& kernel, int threads, int dynamicShared);

// Registers that a block takes: they are given out to warps in units.
int registersOf(const Resources& kernel, int threads);

}  // namespace lantern::simt
