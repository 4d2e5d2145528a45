// One pass of the row walk, forward and backward: common/gatedUnit.cuh with gelu.
#include "common/gatedUnit.cuh"
#include "geglu.h"

using namespace lantern;
using namespace lantern::cuda;

#define LANTERN_GEGLU(suffix, T)                                                                                                   \
  extern "C" __global__ void __launch_bounds__(kWalkThreads, kWalkBlocks)                                                        \
      geglu_forward##suffix(const __grid_constant__ GegluParams p, const __grid_constant__ RowWalk w) {                           \
    gatedForward<T>(p, w, [](float z) { return geluBoth(z); });                                                                \
  }                                                                                                                              \
  extern "C" __global__ void __launch_bounds__(kWalkThreads, kWalkBlocks)                                                        \
      geglu_backward##suffix(const __grid_constant__ GegluBackwardParams p, const __grid_constant__ RowWalk w) {                  \
    gatedBackward<T>(p, w, [](float z) { return geluBoth(z); });                                                               \
  }

LANTERN_GEGLU(F32, float)
LANTERN_GEGLU(Bf16, bf16)
