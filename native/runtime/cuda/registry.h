// The table of all CUDA kernels, in the order of LANTERN_KERNELS: native/kernels/registry.cuda.cc.
#pragma once
#include "context.h"

namespace lantern::cuda {

struct KernelEntry {
  const char* name;
  Status (*run)(const void* params, Context&);
};
extern const KernelEntry kKernels[];

}  // namespace lantern::cuda
