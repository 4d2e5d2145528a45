// From token states to one row per sequence, and rows picked and normalised on the way to a head.
//
// cuSeqlens [sequences + 1] marks packed sequences: sequence s is the rows cuSeqlens[s] .. cuSeqlens[s + 1] - 1. A sequence without tokens
// has no last token and no mean: it fails, named, before anything is written; so does an index out of range.
//
//   lastTokenPooling   y[s] = x[cuSeqlens[s + 1] - 1]         dx = dy in the last rows, 0 elsewhere
//   meanPooling        y[s] = mean of the rows of s           dx[t] = dy[s] / length of s
//   gatherRows         y[i] = x[rows[i]]                      dx[r] = sum of dy[i] over all i with rows[i] = r, in the order of i
//   l2Normalize        n = max(|x|, eps), y = x / n           dx = (dy - y (y . dy)) / n   (dy / n where |x| <= eps: n is constant there)
//
// Backward kernels write all of dx. Sums are float32 and rounded once.
#pragma once
#include "common/kernel.h"

namespace lantern {

struct LastTokenPoolingParams {
  const void* x;             // [tokens, cols], dtype
  const int32_t* cuSeqlens;  // [sequences + 1]
  void* y;                   // [sequences, cols], dtype
  int64_t tokens, sequences, cols, dtype;
};
LANTERN_PARAMS(LastTokenPoolingParams, x, cuSeqlens, y, tokens, sequences, cols, dtype)

struct LastTokenPoolingBackwardParams {
  const void* dy;            // [sequences, cols], dtype
  const int32_t* cuSeqlens;  // [sequences + 1]
  void* dx;                  // [tokens, cols], dtype
  int64_t tokens, sequences, cols, dtype;
};
LANTERN_PARAMS(LastTokenPoolingBackwardParams, dy, cuSeqlens, dx, tokens, sequences, cols, dtype)

struct MeanPoolingParams {
  const void* x;             // [tokens, cols], dtype
  const int32_t* cuSeqlens;  // [sequences + 1]
  void* y;                   // [sequences, cols], dtype
  int64_t tokens, sequences, cols, dtype;
};
LANTERN_PARAMS(MeanPoolingParams, x, cuSeqlens, y, tokens, sequences, cols, dtype)

struct MeanPoolingBackwardParams {
  const void* dy;            // [sequences, cols], dtype
  const int32_t* cuSeqlens;  // [sequences + 1]
  void* dx;                  // [tokens, cols], dtype
  int64_t tokens, sequences, cols, dtype;
};
LANTERN_PARAMS(MeanPoolingBackwardParams, dy, cuSeqlens, dx, tokens, sequences, cols, dtype)

struct GatherRowsParams {
  const void* x;        // [xRows, cols], dtype
  const int32_t* rows;  // [count], repeats allowed
  void* y;              // [count, cols], dtype
  int64_t xRows, count, cols, dtype;
};
LANTERN_PARAMS(GatherRowsParams, x, rows, y, xRows, count, cols, dtype)

struct GatherRowsBackwardParams {
  const void* dy;       // [count, cols], dtype
  const int32_t* rows;  // [count]
  void* dx;             // [xRows, cols], dtype
  int64_t xRows, count, cols, dtype;
};
LANTERN_PARAMS(GatherRowsBackwardParams, dy, rows, dx, xRows, count, cols, dtype)

struct L2NormalizeParams {
  const void* x;  // [rows, cols], dtype
  void* y;        // [rows, cols], dtype
  float* norm;    // [rows]: n, kept for the backward; may be null
  int64_t rows, cols, dtype;
  double eps;
};
LANTERN_PARAMS(L2NormalizeParams, x, y, norm, rows, cols, dtype, eps)

struct L2NormalizeBackwardParams {
  const void* dy;     // [rows, cols], dtype
  const void* x;      // [rows, cols], dtype
  const float* norm;  // [rows]
  void* dx;           // [rows, cols], dtype
  int64_t rows, cols, dtype;
  double eps;
};
LANTERN_PARAMS(L2NormalizeBackwardParams, dy, x, norm, dx, rows, cols, dtype, eps)

}  // namespace lantern
