// What the backward of a linear layer needs besides products: the slope of its activation, and the column sums that are a bias's gradient.
#include "common/activation.cuh"
#include "common/rowWalk.cuh"
#include "matmulShape.h"

namespace lantern::cuda {

template <int n>
struct SlopeInputs {
  Floats<n> dy, z;
};

template <class T>
LANTERN_DEVICE void activationBackward(const ActivationBackwardParams& p, const RowWalk& w) {
  walk<T>(
      w,
      [&](int64_t, int64_t i, auto width) {
        constexpr int n = width.value;
        return SlopeInputs<n>{load<n>(static_cast<const T*>(p.dy) + i), load<n>(static_cast<const T*>(p.z) + i)};
      },
      [&](int64_t, int64_t i, auto, auto in) {
        if (p.activation == kSilu)
          for (int j = 0; float& x : in.dy.x) x *= siluGradient(in.z.x[j++]);
        else if (p.activation == kGelu)
          for (int j = 0; float& x : in.dy.x) x *= geluGradient(in.z.x[j++]);
        store(static_cast<T*>(p.dz) + i, in.dy);
      });
}

// A block sums rows [blockIdx.y * rows, + rows) of a strip of columns: to partial [parts, cols], or where there is one part to sum itself.
template <class T, int width>
LANTERN_DEVICE void columnSumPart(const ColumnSumParams& p, int64_t rows, float* partial) {
  constexpr int kStrip = kWarp * width, kPlane = kWarp + kWarp / width;  // planes of one element of each pack, so apart that columns do not meet
  __shared__ float scratch[kColumnSumWarps][width][kPlane];
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  const int64_t strip = int64_t(blockIdx.x) * kStrip, col = strip + lane * width;
  const int64_t first = blockIdx.y * rows, end = min(first + rows, p.rows);
  const T* x = static_cast<const T*>(p.x) + col;
  float sums[width] = {};
  if (col + width <= p.cols) {
#pragma unroll 4
    for (int64_t r = first + warp; r < end; r += kColumnSumWarps) {
      float v[width];
      loadPack(x + r * p.ldx, v);
#pragma unroll
      for (int j = 0; j < width; ++j) sums[j] += v[j];
    }
  } else {
    for (int64_t r = first + warp; r < end; r += kColumnSumWarps)
#pragma unroll
      for (int j = 0; j < width; ++j)
        if (col + j < p.cols) sums[j] += toFloat(x[r * p.ldx + j]);
  }
#pragma unroll
  for (int j = 0; j < width; ++j) scratch[warp][j][lane] = sums[j];
  __syncthreads();
  const int i = threadIdx.x;
  if (i >= kStrip || strip + i >= p.cols) return;
  float sum = 0.f;
#pragma unroll
  for (int w = 0; w < kColumnSumWarps; ++w) sum += scratch[w][i % width][i / width];
  if (partial) partial[blockIdx.y * p.cols + strip + i] = sum;
  else p.sum[strip + i] += sum;
}

}  // namespace lantern::cuda

using namespace lantern;
using namespace lantern::cuda;

#define LANTERN_MATMUL_BACKWARD(suffix, T)                                                                                                   \
  extern "C" __global__ void __launch_bounds__(kWalkThreads)                                                                                 \
      matmulBackward_activation##suffix(const __grid_constant__ ActivationBackwardParams p, const __grid_constant__ RowWalk w) {             \
    activationBackward<T>(p, w);                                                                                                             \
  }                                                                                                                                          \
  extern "C" __global__ void __launch_bounds__(kColumnSumWarps* kWarp)                                                                       \
      matmulBackward_columnSum##suffix(const __grid_constant__ ColumnSumParams p, int64_t rows, float* partial) {                            \
    columnSumPart<T, 16 / sizeof(T)>(p, rows, partial);                                                                                      \
  }                                                                                                                                          \
  extern "C" __global__ void __launch_bounds__(kColumnSumWarps* kWarp)                                                                       \
      matmulBackward_columnSumUnaligned##suffix(const __grid_constant__ ColumnSumParams p, int64_t rows, float* partial) {                   \
    columnSumPart<T, 1>(p, rows, partial);                                                                                                   \
  }

LANTERN_MATMUL_BACKWARD(F32, float)
LANTERN_MATMUL_BACKWARD(Bf16, bf16)

extern "C" __global__ void __launch_bounds__(kColumnSumWarps* kWarp)
    matmulBackward_columnSumParts(const __grid_constant__ ColumnSumParams p, int parts, const float* partial) {
  const int64_t col = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (col >= p.cols) return;
  float sum = 0.f;
#pragma unroll 4
  for (int i = 0; i < parts; ++i) sum += partial[i * p.cols + col];
  p.sum[col] += sum;
}
