// Prefix sums over the threads of a block.
#pragma once
#include "cuda.cuh"

namespace lantern::cuda {

template <class T>
struct Prefix {
  T before, upTo, all;  // the sum over the threads before this one, with it, and over all
};

// `scratch` is shared memory of one T a warp; it may be used again after a __syncthreads. Whole warps only.
template <class T>
LANTERN_DEVICE Prefix<T> blockPrefix(T x, T* scratch) {
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp, warps = blockDim.x / kWarp;
  T upTo = x;
#pragma unroll
  for (int step = 1; step < kWarp; step *= 2) {
    const T below = __shfl_up_sync(kAllLanes, upTo, step);
    if (lane >= step) upTo += below;
  }
  if (lane == kWarp - 1) scratch[warp] = upTo;
  __syncthreads();
  T before = __shfl_up_sync(kAllLanes, upTo, 1), all = 0;
  if (lane == 0) before = 0;
  T first = 0;
#pragma unroll 1
  for (int w = 0; w < warps; ++w) {
    const T of = scratch[w];
    first += w < warp ? of : T(0);
    all += of;
  }
  return {first + before, first + upTo, all};
}

}  // namespace lantern::cuda
