// The global norm of all gradients:  norm = sqrt(sum over tensors and elements of grad^2)
//
// Squares are summed in double (a float32 square cannot overflow there), per block of a tensor and then over the blocks in order: the same
// bits whatever the number of threads. The norm is not finite exactly when a gradient is not, or when the norm itself exceeds float32.
#pragma once
#include "common/kernel.h"

namespace lantern {

struct GradNormParams {
  const void* table;  // [tensors] rows of common/parameterTable.h, of which grad and count are read
  float* norm;        // [1]
  int64_t tensors;
};
LANTERN_PARAMS(GradNormParams, table, norm, tensors)

}  // namespace lantern
