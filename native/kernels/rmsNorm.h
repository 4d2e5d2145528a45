// Root-mean-square normalisation, with the residual addition before it fused in (Zhang & Sennrich 2019, arXiv 1910.07467).
//
//   h = x + residual                          (h = x when residual is null; written to sum when sum is not null)
//   r = 1 / sqrt(mean(h^2) + eps)             one per row, kept for the backward
//   y = h * r * weight
//
// Backward, with g = dy * weight and n = cols:
//   dh = r * g - h * r^3 * (g . h) / n        (+ dsum, the gradient that reaches h through the residual stream)
//   dweight += sum over rows of dy * h * r
#pragma once
#include "common/kernel.h"

namespace lantern {

struct RmsNormParams {
  const void* x;         // [rows, cols], dtype
  const void* residual;  // [rows, cols], dtype; may be null
  const void* weight;    // [cols], weightDtype
  void* y;               // [rows, cols], dtype
  void* sum;             // [rows, cols], dtype; may be null
  float* rstd;           // [rows]; may be null
  int64_t rows, cols, dtype, weightDtype;
  double eps;
};
LANTERN_PARAMS(RmsNormParams, x, residual, weight, y, sum, rstd, rows, cols, dtype, weightDtype, eps)

struct RmsNormBackwardParams {
  const void* dy;      // [rows, cols], dtype
  const void* dsum;    // [rows, cols], dtype; may be null
  const void* h;       // [rows, cols], dtype: what was normalised
  const void* weight;  // [cols], weightDtype
  const float* rstd;   // [rows]
  void* dh;            // [rows, cols], dtype
  float* dweight;      // [cols], added to; may be null
  int64_t rows, cols, dtype, weightDtype;
};
LANTERN_PARAMS(RmsNormBackwardParams, dy, dsum, h, weight, rstd, dh, dweight, rows, cols, dtype, weightDtype)

}  // namespace lantern
