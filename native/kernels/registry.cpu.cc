// The table of all kernels for one instruction set.
#include "kernels.h"

#include "common/simd.h"

namespace lantern::LANTERN_ISA {

#define LANTERN_DECLARE(name, Params) Status name(const Params&, Context&);
LANTERN_KERNELS(LANTERN_DECLARE)

#define LANTERN_ENTRY(name, Params)                                                                       \
  {#name, [](const void* p, Context& c) { return name(*static_cast<const Params*>(p), c); }, Describe<Params>::fields, \
   Describe<Params>::count, int(sizeof(Params))},
extern const Kernel kKernels[] = {LANTERN_KERNELS(LANTERN_ENTRY)};
extern const int kKernelCount = int(sizeof(kKernels) / sizeof(Kernel));

}  // namespace lantern::LANTERN_ISA
