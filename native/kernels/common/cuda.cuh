// What every CUDA kernel is made of: types, loads and stores by dtype, reductions of a warp and of a block, faults.
#pragma once
#include <cuda_bf16.h>

#include <cstdint>

#include "../../runtime/cuda/fault.h"
#include "kernel.h"

namespace lantern::cuda {

using bf16 = __nv_bfloat16;
constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;

#define LANTERN_DEVICE __device__ __forceinline__

// ---- numbers ----
LANTERN_DEVICE float toFloat(float x) { return x; }
LANTERN_DEVICE float toFloat(bf16 x) { return __bfloat162float(x); }
template <class T>
LANTERN_DEVICE T fromFloat(float x) {
  if constexpr (sizeof(T) == 4) return x;
  else return __float2bfloat16_rn(x);
}

// kWidth neighbours as floats. The address is a multiple of their size, at most 16 bytes are moved at a time.
template <int kWidth, class T>
struct alignas(sizeof(T) * kWidth > 16 ? 16 : sizeof(T) * kWidth) Pack {
  T x[kWidth];
};
template <int kWidth, class T>
LANTERN_DEVICE void loadPack(const T* p, float (&x)[kWidth]) {
  const Pack<kWidth, T> pack = *reinterpret_cast<const Pack<kWidth, T>*>(p);
#pragma unroll
  for (int i = 0; i < kWidth; ++i) x[i] = toFloat(pack.x[i]);
}
template <int kWidth, class T>
LANTERN_DEVICE void storePack(T* p, const float (&x)[kWidth]) {
  Pack<kWidth, T> pack;
#pragma unroll
  for (int i = 0; i < kWidth; ++i) pack.x[i] = fromFloat<T>(x[i]);
  *reinterpret_cast<Pack<kWidth, T>*>(p) = pack;
}

// ---- reductions ----
struct Sum {
  template <class T>
  LANTERN_DEVICE T operator()(T a, T b) const { return a + b; }
};
struct Max {
  LANTERN_DEVICE float operator()(float a, float b) const { return fmaxf(a, b); }
};

// Of `width` neighbouring lanes, a power of two; every lane gets it, and always from the same order of additions.
template <int width = kWarp, class T, class F>
LANTERN_DEVICE T warpReduce(T x, F f) {
#pragma unroll
  for (int step = width / 2; step > 0; step /= 2) x = f(x, __shfl_xor_sync(kAllLanes, x, step));
  return x;
}

// Of all threads of a block, to every thread. `scratch` is shared memory of one T a warp; it may be used again after a __syncthreads.
template <class T, class F>
LANTERN_DEVICE T blockReduce(T x, F f, T* scratch) {
  x = warpReduce(x, f);
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp, warps = (blockDim.x + kWarp - 1) / kWarp;
  if (lane == 0) scratch[warp] = x;
  __syncthreads();
  x = scratch[0];
  for (int w = 1; w < warps; ++w) x = f(x, scratch[w]);
  return x;
}

// ---- faults ----
LANTERN_DEVICE void report(Fault* fault, FaultKind kind, const char* what, int64_t a, int64_t b = 0, int64_t limit = 0) {
  if (atomicCAS(&fault->taken, 0, 1) != 0) return;
  fault->kind = kind, fault->a = a, fault->b = b, fault->limit = limit;
  int i = 0;
#pragma unroll 1
  for (; i < 63 && what[i]; ++i) fault->what[i] = what[i];
  fault->what[i] = 0;
}

}  // namespace lantern::cuda
