// Matrix product with everything around it fused in, in the three forms that a linear layer needs.
//
//   z = op(a) op(b) + bias                    op(a) is [m, k], op(b) is [k, n]; bias [n] is added to every row
//   y = activation(z) + residual              none; silu: z / (1 + e^-z); gelu: z Phi(z), Phi the normal distribution function (exact, by erf)
//
// Linear layer y = x W^T with x [m, k], W [n, k]:   forward         a = x, b = W, transposeB
//                                                   input gradient  a = dy, b = W:               dx = dy W
//                                                   weight gradient a = dy, transposeA, b = x:   dW += dy^T x  (residual = y = dW)
// Sums are float32 whatever the dtypes, in an order that depends on the sizes alone. Leading dimensions are elements from one stored row
// to the next, so that a, b, residual and y may be slices of wider matrices. With k = 0 the product is zero.
#pragma once
#include "common/kernel.h"

namespace lantern {

enum Activation : int64_t { kNoActivation = 0, kSilu = 1, kGelu = 2 };

struct MatmulParams {
  const void* a;         // [m, k], or [k, m] if transposeA; aDtype
  const void* b;         // [k, n], or [n, k] if transposeB; bDtype
  const void* bias;      // [n], biasDtype; may be null
  const void* residual;  // [m, n], yDtype; may be null, may be y itself
  void* z;               // [m, n], yDtype, rows ldy apart: what the activation was applied to, for its backward; may be null
  void* y;               // [m, n], yDtype; overlaps neither a nor b
  int64_t m, n, k, lda, ldb, ldResidual, ldy, transposeA, transposeB, aDtype, bDtype, biasDtype, yDtype, activation;
};
LANTERN_PARAMS(MatmulParams, a, b, bias, residual, z, y, m, n, k, lda, ldb, ldResidual, ldy, transposeA, transposeB, aDtype, bDtype, biasDtype,
               yDtype, activation)

struct ActivationBackwardParams {  // dz = dy * activation'(z)
  const void* dy;                  // [count], dtype
  const void* z;                   // [count], dtype
  void* dz;                        // [count], dtype; may be dy
  int64_t count, dtype, activation;
};
LANTERN_PARAMS(ActivationBackwardParams, dy, z, dz, count, dtype, activation)

struct ColumnSumParams {  // sum += column sums of x: the gradient of a bias
  const void* x;          // [rows, cols], dtype
  float* sum;             // [cols], added to
  int64_t rows, cols, ldx, dtype;
};
LANTERN_PARAMS(ColumnSumParams, x, sum, rows, cols, ldx, dtype)

}  // namespace lantern
