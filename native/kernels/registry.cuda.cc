// The table of all CUDA kernels, in the order of LANTERN_KERNELS.
#include "../runtime/cuda/registry.h"

#include "kernels.h"

namespace lantern::cuda {

#define LANTERN_DECLARE(name, Params) Status name(const Params&, Context&);
LANTERN_KERNELS(LANTERN_DECLARE)

#define LANTERN_ENTRY(name, Params) {#name, [](const void* p, Context& c) { return name(*static_cast<const Params*>(p), c); }},
const KernelEntry kKernels[] = {LANTERN_KERNELS(LANTERN_ENTRY)};

}  // namespace lantern::cuda
