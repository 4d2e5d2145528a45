// One pass of the row walk, forward and backward: common/gatedUnit.cuh with silu.
#include "common/gatedUnit.cuh"
#include "swiglu.h"

using namespace lantern;
using namespace lantern::cuda;

#define LANTERN_SWIGLU(suffix, T)                                                                                                   \
  extern "C" __global__ void __launch_bounds__(kWalkThreads, kWalkBlocks)                                                        \
      swiglu_forward##suffix(const __grid_constant__ SwigluParams p, const __grid_constant__ RowWalk w) {                           \
    gatedForward<T>(p, w, [](float z) { return siluBoth(z); });                                                                \
  }                                                                                                                              \
  extern "C" __global__ void __launch_bounds__(kWalkThreads, kWalkBlocks)                                                        \
      swiglu_backward##suffix(const __grid_constant__ SwigluBackwardParams p, const __grid_constant__ RowWalk w) {                  \
    gatedBackward<T>(p, w, [](float z) { return siluBoth(z); });                                                               \
  }

LANTERN_SWIGLU(F32, float)
LANTERN_SWIGLU(Bf16, bf16)
