// Every kernel of the package. LANTERN_KERNELS(X) lists X(name, ParameterStruct); each instruction set builds its table from it
// (registry.cpu.cc) and TypeScript reads names and fields through the addon.
#pragma once
#include "rmsNorm.h"

#define LANTERN_KERNELS(X)              \
  X(rmsNorm, RmsNormParams)             \
  X(rmsNormBackward, RmsNormBackwardParams)
