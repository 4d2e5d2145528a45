// What is done to every element alone: fill, copy and cast, sums of scaled tensors, products, and the count of non-finite values.
#pragma once
#include "common/kernel.h"

namespace lantern {

struct FillParams {  // y = value; an int32 tensor takes the value rounded towards zero
  void* y;           // [count], dtype (float32, bfloat16 or int32)
  int64_t count, dtype;
  double value;
};
LANTERN_PARAMS(FillParams, y, count, dtype, value)

struct CopyParams {  // y = x, converted when the dtypes differ; strides are elements from one row to the next
  const void* x;     // [rows, cols], xDtype (float32 or bfloat16; int32 only to int32)
  void* y;           // [rows, cols], dtype; does not overlap x
  int64_t rows, cols, xStride, yStride, xDtype, dtype;
};
LANTERN_PARAMS(CopyParams, x, y, rows, cols, xStride, yStride, xDtype, dtype)

struct AddScaledParams {  // y = alpha * a + beta * b; y may be a or b
  const void* a;          // [count], aDtype
  const void* b;          // [count], bDtype; null for y = alpha * a
  void* y;                // [count], dtype
  int64_t count, aDtype, bDtype, dtype;
  double alpha, beta;
};
LANTERN_PARAMS(AddScaledParams, a, b, y, count, aDtype, bDtype, dtype, alpha, beta)

struct MultiplyParams {  // y = a * b; y may be a or b
  const void* a;         // [count], dtype
  const void* b;         // [count], dtype
  void* y;               // [count], dtype
  int64_t count, dtype;
};
LANTERN_PARAMS(MultiplyParams, a, b, y, count, dtype)

struct CountNonFiniteParams {
  const void* x;   // [count], dtype
  int32_t* found;  // [1]: how many of x are NaN or infinite, at most 2^31 - 1
  int64_t count, dtype;
};
LANTERN_PARAMS(CountNonFiniteParams, x, found, count, dtype)

}  // namespace lantern
