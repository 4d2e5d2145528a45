// Sums of partial gradients, in order.
#pragma once
#include "rowBlock.cuh"

namespace lantern::cuda {

// total[col] += sum over i of partial[i * cols + col]. A warp takes 32 columns of every 32nd partial, the block adds its warps' sums in order.
LANTERN_DEVICE void addPartials(const float* partial, float* total, int64_t partials, int64_t cols) {
  __shared__ float sums[kWarp][kWarp];
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  const int64_t col = int64_t(blockIdx.x) * kWarp + lane;
  float sum = 0;
  if (col < cols)
    for (int64_t i = warp; i < partials; i += kWarp) sum += partial[i * cols + col];
  sums[warp][lane] = sum;
  __syncthreads();
  if (warp || col >= cols) return;
  for (int w = 1; w < kWarp; ++w) sum += sums[w][lane];
  total[col] += sum;
}

}  // namespace lantern::cuda
