// Kernels for the machine's own tests that are best written in CUDA: the generated expressions, and the functions of the mathematics library.
#include "expressions.h"

extern "C" __global__ void expressionsKernel(const uint32_t* a, const uint32_t* b, const uint64_t* c, const float* x, const float* y, const double* z, uint64_t* out, uint64_t count) {
  const uint64_t i = blockIdx.x * uint64_t(blockDim.x) + threadIdx.x;
  if (i < count) expressions::evaluate(out + i, count, a[i], b[i], c[i], x[i], y[i], z[i]);
}

// The functions of library.test.cc, in its order.
template <int kFunction>
__device__ float function(float x, float y) {
  if constexpr (kFunction == 0) return expf(x);
  if constexpr (kFunction == 1) return exp2f(x);
  if constexpr (kFunction == 2) return expm1f(x);
  if constexpr (kFunction == 3) return logf(x);
  if constexpr (kFunction == 4) return log2f(x);
  if constexpr (kFunction == 5) return log1pf(x);
  if constexpr (kFunction == 6) return tanhf(x);
  if constexpr (kFunction == 7) return erff(x);
  if constexpr (kFunction == 8) return erfcf(x);
  if constexpr (kFunction == 9) return sinf(x);
  if constexpr (kFunction == 10) return cosf(x);
  if constexpr (kFunction == 11) return powf(x, y);
  if constexpr (kFunction == 12) return rsqrtf(x);
  if constexpr (kFunction == 13) return cbrtf(x);
  if constexpr (kFunction == 14) return x / y;
  if constexpr (kFunction == 15) return sqrtf(x);
  if constexpr (kFunction == 16) return fmodf(x, y);
  if constexpr (kFunction == 17) return atanf(x);
  return 0;
}
template <int kFunction>
__device__ void functions(const float* x, const float* y, float* out, int i, int count) {
  out[kFunction * count + i] = function<kFunction>(x[kFunction * count + i], y[kFunction * count + i]);
  if constexpr (kFunction > 0) functions<kFunction - 1>(x, y, out, i, count);
}
constexpr int kFunctions = 18;
extern "C" __global__ void libraryKernel(const float* x, const float* y, float* out, int count) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < count) functions<kFunctions - 1>(x, y, out, i, count);
}
