// Fill, copy, sums of scaled tensors, products: one pass of the row walk. countNonFinite: counts of fixed parts, added by a second launch.
#include "common/rowWalk.cuh"
#include "elementwise.h"

namespace lantern::cuda {

template <class T>
LANTERN_DEVICE T fillValue(double value) {
  if constexpr (std::is_integral_v<T>) return T(value);
  else return fromFloat<T>(float(value));
}

template <class T>
LANTERN_DEVICE void fill(const FillParams& p, const RowWalk& w) {
  const T value = fillValue<T>(p.value);
  walk<T>(
      w, [&](int64_t, int64_t, auto) { return 0; },
      [&](int64_t, int64_t col, auto width, int) {
        Pack<width.value, T> pack;
        for (T& x : pack.x) x = value;
        put(static_cast<T*>(p.y) + col, pack);
      });
}

template <class X, class Y>
LANTERN_DEVICE void copy(const CopyParams& p, const RowWalk& w) {
  walk<X, Y>(
      w, [&](int64_t row, int64_t col, auto width) { return fetch<width.value>(static_cast<const X*>(p.x) + row * p.xStride + col); },
      [&](int64_t row, int64_t col, auto, const auto& v) { put(static_cast<Y*>(p.y) + row * p.yStride + col, convert<Y>(v)); });
}

template <class A, class B, class Y>
LANTERN_DEVICE void addScaled(const AddScaledParams& p, const RowWalk& w) {
  const A* a = static_cast<const A*>(p.a);
  const B* b = static_cast<const B*>(p.b);
  const float alpha = float(p.alpha), beta = float(p.beta);
  walk<A, B, Y>(
      w,
      [&](int64_t, int64_t i, auto width) {
        auto v = load<width.value>(a + i);
        if (b) {
          const auto added = load<width.value>(b + i);
          for (int k = 0; k < width.value; ++k) v.x[k] = v.x[k] * alpha + added.x[k] * beta;
        } else
          for (float& x : v.x) x *= alpha;
        return v;
      },
      [&](int64_t, int64_t i, auto, const auto& v) { store(static_cast<Y*>(p.y) + i, v); });
}

template <class T>
LANTERN_DEVICE void multiply(const MultiplyParams& p, const RowWalk& w) {
  walk<T>(
      w,
      [&](int64_t, int64_t i, auto width) {
        auto v = load<width.value>(static_cast<const T*>(p.a) + i);
        const auto factor = load<width.value>(static_cast<const T*>(p.b) + i);
        for (int k = 0; k < width.value; ++k) v.x[k] *= factor.x[k];
        return v;
      },
      [&](int64_t, int64_t i, auto, const auto& v) { store(static_cast<T*>(p.y) + i, v); });
}

// Blocks count in strides of all of them; their counts are added by elementwise_countTotal.
template <class T>
LANTERN_DEVICE void countPart(const CountNonFiniteParams& p, int width, int64_t* partial) {
  __shared__ int64_t scratch[kWalkThreads / kWarp];
  constexpr int kWide = 16 / sizeof(T);
  const T* x = static_cast<const T*>(p.x);
  const int64_t thread = int64_t(blockIdx.x) * kWalkThreads + threadIdx.x, threads = int64_t(gridDim.x) * kWalkThreads;
  const auto bad = [](float v) { return int((__float_as_uint(v) & 0x7f800000u) == 0x7f800000u); };
  const int64_t packs = width == kWide ? p.count / kWide : 0;
  int64_t found = 0;
#pragma unroll 4
  for (int64_t i = thread; i < packs; i += threads)
    for (const float v : load<kWide>(x + i * kWide).x) found += bad(v);
  for (int64_t i = packs * kWide + thread; i < p.count; i += threads) found += bad(toFloat(x[i]));
  found = blockReduce(found, Sum{}, scratch);
  if (threadIdx.x == 0) partial[blockIdx.x] = found;
}

}  // namespace lantern::cuda

using namespace lantern;
using namespace lantern::cuda;

#define LANTERN_WALK(name, Params, body)                                                                                  \
  extern "C" __global__ void __launch_bounds__(kWalkThreads, kWalkBlocks) name(const __grid_constant__ Params p, const __grid_constant__ RowWalk w) { body(p, w); }

LANTERN_WALK(elementwise_fillF32, FillParams, fill<float>)
LANTERN_WALK(elementwise_fillBf16, FillParams, fill<bf16>)
LANTERN_WALK(elementwise_fillI32, FillParams, fill<int32_t>)
LANTERN_WALK(elementwise_copy32, CopyParams, (copy<uint32_t, uint32_t>))
LANTERN_WALK(elementwise_copy16, CopyParams, (copy<uint16_t, uint16_t>))
LANTERN_WALK(elementwise_copyF32Bf16, CopyParams, (copy<float, bf16>))
LANTERN_WALK(elementwise_copyBf16F32, CopyParams, (copy<bf16, float>))
LANTERN_WALK(elementwise_addScaledF32F32F32, AddScaledParams, (addScaled<float, float, float>))
LANTERN_WALK(elementwise_addScaledF32F32Bf16, AddScaledParams, (addScaled<float, float, bf16>))
LANTERN_WALK(elementwise_addScaledF32Bf16F32, AddScaledParams, (addScaled<float, bf16, float>))
LANTERN_WALK(elementwise_addScaledF32Bf16Bf16, AddScaledParams, (addScaled<float, bf16, bf16>))
LANTERN_WALK(elementwise_addScaledBf16F32F32, AddScaledParams, (addScaled<bf16, float, float>))
LANTERN_WALK(elementwise_addScaledBf16F32Bf16, AddScaledParams, (addScaled<bf16, float, bf16>))
LANTERN_WALK(elementwise_addScaledBf16Bf16F32, AddScaledParams, (addScaled<bf16, bf16, float>))
LANTERN_WALK(elementwise_addScaledBf16Bf16Bf16, AddScaledParams, (addScaled<bf16, bf16, bf16>))
LANTERN_WALK(elementwise_multiplyF32, MultiplyParams, multiply<float>)
LANTERN_WALK(elementwise_multiplyBf16, MultiplyParams, multiply<bf16>)

extern "C" __global__ void __launch_bounds__(kWalkThreads, kWalkBlocks)
    elementwise_countF32(const __grid_constant__ CountNonFiniteParams p, int width, int64_t* partial) { countPart<float>(p, width, partial); }
extern "C" __global__ void __launch_bounds__(kWalkThreads, kWalkBlocks)
    elementwise_countBf16(const __grid_constant__ CountNonFiniteParams p, int width, int64_t* partial) { countPart<bf16>(p, width, partial); }

extern "C" __global__ void __launch_bounds__(kWalkThreads, kWalkBlocks) elementwise_countTotal(int32_t* found, const int64_t* partial, int count) {
  __shared__ int64_t scratch[kWalkThreads / kWarp];
  int64_t total = 0;
  for (int i = threadIdx.x; i < count; i += kWalkThreads) total += partial[i];
  total = blockReduce(total, Sum{}, scratch);
  if (threadIdx.x == 0) *found = int32_t(total < INT32_MAX ? total : INT32_MAX);
}
