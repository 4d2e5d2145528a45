// Layer normalisation, with the residual addition before it fused in (Ba et al. 2016, arXiv 1607.06450).
//
//   h = stream + x                            (h = stream when x is null; written to sum when sum is not null)
//   m = mean(h),  r = 1 / sqrt(mean((h - m)^2) + eps)        one of each per row, kept for the backward
//   y = (h - m) * r * weight + bias           (bias = 0 when it is null)
//
// Backward, with z = (h - m) * r, g = dy * weight:
//   dh = r * (g - mean(g) - z * mean(g * z))  (+ dsum, the gradient that reaches h through the residual stream)
//   dweight += sum over rows of dy * z,  dbias += sum over rows of dy
//
// Where the mean is thousands of standard deviations, half a unit in its last place is too much of one. So m is kept as two floats: c, the
// mean as the first pass finds it, and d, the mean of h - c, which the second pass finds beside the variance, mean((h - c)^2) - d^2.
//
// The residual stream is the one sum that runs through a whole model, so it may be of a wider dtype than what the branches read and write.
#pragma once
#include "common/kernel.h"

namespace lantern {

struct LayerNormParams {
  const void* stream;  // [rows, cols], streamDtype
  const void* x;       // [rows, cols], dtype; may be null
  const void* weight;  // [cols], weightDtype
  const void* bias;    // [cols], weightDtype; may be null
  void* y;             // [rows, cols], dtype
  void* sum;           // [rows, cols], streamDtype; may be null
  float* mean;         // [rows, 2]: c and d; may be null
  float* rstd;         // [rows]; may be null
  int64_t rows, cols, streamDtype, dtype, weightDtype;
  double eps;
};
LANTERN_PARAMS(LayerNormParams, stream, x, weight, bias, y, sum, mean, rstd, rows, cols, streamDtype, dtype, weightDtype, eps)

struct LayerNormBackwardParams {
  const void* dy;      // [rows, cols], dtype
  const void* dsum;    // [rows, cols], streamDtype; may be null
  const void* h;       // [rows, cols], streamDtype: what was normalised
  const void* weight;  // [cols], weightDtype
  const float* mean;   // [rows, 2]
  const float* rstd;   // [rows]
  void* dh;            // [rows, cols], streamDtype
  void* dx;            // [rows, cols], dtype: dh once more, where that is another dtype; may be null
  float* dweight;      // [cols], added to; may be null
  float* dbias;        // [cols], added to; may be null
  int64_t rows, cols, streamDtype, dtype, weightDtype;
};
LANTERN_PARAMS(LayerNormBackwardParams, dy, dsum, h, weight, mean, rstd, dh, dx, dweight, dbias, rows, cols, streamDtype, dtype, weightDtype)

}  // namespace lantern
