// Root-mean-square normalisation, with the residual addition before it fused in (Zhang & Sennrich 2019, arXiv 1910.07467).
//
//   h = stream + x                            (h = stream when x is null; written to sum when sum is not null)
//   r = 1 / sqrt(mean(h^2) + eps)             one per row, kept for the backward
//   y = h * r * weight
//
// Backward, with g = dy * weight and n = cols:
//   dh = r * g - h * r^3 * (g . h) / n        (+ dsum, the gradient that reaches h through the residual stream)
//   dweight += sum over rows of dy * h * r
//
// The residual stream is the one sum that runs through a whole model, so it may be of a wider dtype than what the branches read and write.
#pragma once
#include "common/kernel.h"

namespace lantern {

struct RmsNormParams {
  const void* stream;  // [rows, cols], streamDtype
  const void* x;       // [rows, cols], dtype; may be null
  const void* weight;  // [cols], weightDtype
  void* y;             // [rows, cols], dtype
  void* sum;           // [rows, cols], streamDtype; may be null
  float* rstd;         // [rows]; may be null
  int64_t rows, cols, streamDtype, dtype, weightDtype;
  double eps;
};
LANTERN_PARAMS(RmsNormParams, stream, x, weight, y, sum, rstd, rows, cols, streamDtype, dtype, weightDtype, eps)

struct RmsNormBackwardParams {
  const void* dy;      // [rows, cols], dtype
  const void* dsum;    // [rows, cols], streamDtype; may be null
  const void* h;       // [rows, cols], streamDtype: what was normalised
  const void* weight;  // [cols], weightDtype
  const float* rstd;   // [rows]
  void* dh;            // [rows, cols], streamDtype
  void* dx;            // [rows, cols], dtype: dh once more, where that is another dtype; may be null
  float* dweight;      // [cols], added to; may be null
  int64_t rows, cols, streamDtype, dtype, weightDtype;
};
LANTERN_PARAMS(RmsNormBackwardParams, dy, dsum, h, weight, rstd, dh, dx, dweight, rows, cols, streamDtype, dtype, weightDtype)

}  // namespace lantern
