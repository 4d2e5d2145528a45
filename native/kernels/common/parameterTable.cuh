// Device side of common/parameterTable.h: a fixed grid walks the blocks of all tensors. How many there are only the table in device memory
// tells, so every block of the grid sums their counts for itself.
#pragma once
#include "packs.cuh"
#include "parameterTable.h"
#include "scan.cuh"

namespace lantern::cuda {

// fn(row, begin, end) for blocks blockIdx.x, blockIdx.x + gridDim.x, ... of the table, in order. All threads of the block call it.
template <class F>
LANTERN_DEVICE void eachParameterBlock(const ParameterRow* rows, int64_t tensors, F&& fn) {
  __shared__ int64_t scratch[kTableThreads / kWarp], starts[kTableThreads];
  int64_t next = blockIdx.x;  // of the blocks of the tensors from here on
  for (int64_t chunk = 0; chunk < tensors; chunk += kTableThreads) {
    const int64_t tensor = chunk + threadIdx.x;
    const int64_t mine = tensor < tensors ? (rows[tensor].count + kParameterBlock - 1) / kParameterBlock : 0;
    const Prefix<int64_t> prefix = blockPrefix(mine, scratch);
    starts[threadIdx.x] = prefix.before;
    __syncthreads();
    for (; next < prefix.all; next += gridDim.x) {
      int at = 0;  // the last tensor that starts at or before the block: those without elements come before it
#pragma unroll
      for (int step = kTableThreads / 2; step > 0; step /= 2)
        if (starts[at + step] <= next) at += step;
      const ParameterRow row = rows[chunk + at];
      const int64_t begin = (next - starts[at]) * kParameterBlock;
      fn(row, begin, min(row.count, begin + kParameterBlock));
    }
    next -= prefix.all;
    __syncthreads();  // before the next chunk's sums overwrite these
  }
}

// Four neighbours of a float array, of which `left` exist (the others read as 0 and are not written).
LANTERN_DEVICE Floats<4> loadFour(const float* p, bool aligned, int64_t left) {
  if (aligned && left >= 4) return load<4>(p);
  Floats<4> v;
#pragma unroll
  for (int i = 0; i < 4; ++i) v.x[i] = i < left ? p[i] : 0.f;
  return v;
}
template <class T>
LANTERN_DEVICE void storeFour(T* p, bool aligned, int64_t left, const Floats<4>& v) {
  if (aligned && left >= 4) return store(p, v);
#pragma unroll
  for (int i = 0; i < 4; ++i)
    if (i < left) p[i] = fromFloat<T>(v.x[i]);
}

}  // namespace lantern::cuda
