// Which GPUs there are, which of them can be used, and if none, why.
#pragma once
#include <string>
#include <vector>

namespace lantern::cuda {

struct GpuInfo {
  int ordinal = 0;
  std::string name;
  int computeCapability = 0;  // 80 for 8.0
  int multiprocessors = 0;
  size_t sharedBytesPerBlock = 0;  // the most a block may opt in to
  size_t memory = 0;               // bytes
  bool memoryPools = false;
  std::string why;  // it cannot be used; empty: it can
};

struct Discovery {
  int toolkit = 0;          // CUDA version of the nvcc that built the kernels; 0: built without
  int driver = 0;           // CUDA version of the driver; 0: there is none
  std::vector<GpuInfo> gpus;  // by ordinal
  std::string reason;       // why there is no GPU to use; empty: there is one

  const GpuInfo* find(int ordinal) const;
};

// Decided once, at the first call, which starts the driver.
const Discovery& discover();

}  // namespace lantern::cuda
