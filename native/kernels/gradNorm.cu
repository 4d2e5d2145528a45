// Sums of squares of a fixed grid's blocks, then of the blocks in order.
#include "common/parameterTable.cuh"
#include "gradNorm.h"

using namespace lantern;
using namespace lantern::cuda;

extern "C" __global__ void __launch_bounds__(kTableThreads, kTableBlocks) gradNorm_squares(const __grid_constant__ GradNormParams p, double* partial) {
  __shared__ double scratch[kTableThreads / kWarp];
  double sum = 0;
  eachParameterBlock(static_cast<const ParameterRow*>(p.table), p.tensors, [&](const ParameterRow& row, int64_t begin, int64_t end) {
    const bool aligned = reinterpret_cast<uintptr_t>(row.grad) % 16 == 0;
#pragma unroll 4
    for (int64_t i = begin + 4 * threadIdx.x; i < end; i += 4 * kTableThreads)
      for (const float x : loadFour(row.grad + i, aligned, end - i).x) sum += double(x) * double(x);
  });
  sum = blockReduce(sum, Sum{}, scratch);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

extern "C" __global__ void __launch_bounds__(kTableThreads, kTableBlocks) gradNorm_total(const double* partial, int partials, float* norm) {
  __shared__ double scratch[kTableThreads / kWarp];
  double sum = 0;
  for (int i = threadIdx.x; i < partials; i += kTableThreads) sum += partial[i];
  sum = blockReduce(sum, Sum{}, scratch);
  if (threadIdx.x == 0) *norm = float(sqrt(sum));
}
