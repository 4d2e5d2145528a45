// From sums to results: bias, z, activation, residual, y. Device side of every matrix product.
#pragma once
#include "common/activation.cuh"
#include "common/mma.cuh"
#include "matmulShape.h"

namespace lantern::cuda {

// One store of four neighbours. It is spelt out because the compiler takes storePack apart when only some of the paths to it are aligned.
template <int width, class T>
LANTERN_DEVICE void storeGlobal(T* p, const float (&x)[width]) {
  static_assert(width == 1 || width == 4);
  if constexpr (width == 1) {
    *p = fromFloat<T>(x[0]);
  } else if constexpr (sizeof(T) == 4) {
    asm volatile("st.global.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(p)), "f"(x[0]), "f"(x[1]), "f"(x[2]), "f"(x[3]) : "memory");
  } else {
    const uint32_t low = packPair(x[0], x[1]), high = packPair(x[2], x[3]);
    asm volatile("st.global.v2.b32 [%0], {%1, %2};" ::"l"(__cvta_generic_to_global(p)), "r"(low), "r"(high) : "memory");
  }
}

// `count` packs of `width` neighbouring columns, rows row, row + step, ... as far as they exist. Loads of all packs are under way together.
template <class Y, int count, int width>
LANTERN_DEVICE void finishAs(const MatmulParams& p, int64_t row, int step, int64_t col, float (&v)[count][width]) {
  const auto each = [&](auto&& fn) {
#pragma unroll
    for (int i = 0; i < count; ++i)
      if (row + i * step < p.m) fn(row + i * step, v[i]);
  };
  if (p.bias) {
    float bias[width];
    if (p.biasDtype == kFloat32) loadPack(static_cast<const float*>(p.bias) + col, bias);
    else loadPack(static_cast<const bf16*>(p.bias) + col, bias);
#pragma unroll
    for (int i = 0; i < count; ++i)
#pragma unroll
      for (int j = 0; j < width; ++j) v[i][j] += bias[j];
  }
  if (p.z) each([&](int64_t r, const float(&x)[width]) { storeGlobal(static_cast<Y*>(p.z) + r * p.ldy + col, x); });
  if (p.activation != kNoActivation) {
#pragma unroll
    for (int i = 0; i < count; ++i)
#pragma unroll
      for (int j = 0; j < width; ++j) v[i][j] = p.activation == kSilu ? silu(v[i][j]) : gelu(v[i][j]);
  }
  if (p.residual) {
    float added[count][width] = {};
#pragma unroll
    for (int i = 0; i < count; ++i)
      if (row + i * step < p.m) loadPack(static_cast<const Y*>(p.residual) + (row + i * step) * p.ldResidual + col, added[i]);
#pragma unroll
    for (int i = 0; i < count; ++i)
#pragma unroll
      for (int j = 0; j < width; ++j) v[i][j] += added[i][j];
  }
  each([&](int64_t r, const float(&x)[width]) { storeGlobal(static_cast<Y*>(p.y) + r * p.ldy + col, x); });
}

template <int count, int width>
LANTERN_DEVICE void finishPacks(const MatmulParams& p, int64_t row, int step, int64_t col, float (&v)[count][width]) {
  if (p.yDtype == kFloat32) finishAs<float>(p, row, step, col, v);
  else finishAs<bf16>(p, row, step, col, v);
}

// Packs of four columns from the whole sum to y. v is spent.
template <int count>
LANTERN_DEVICE void finishSum(const MatmulTask& t, int64_t row, int step, int64_t col, float (&v)[count][4]) {
  if (t.packs && col + 4 <= t.p.n) return finishPacks(t.p, row, step, col, v);
#pragma unroll 1
  for (const int64_t end = min(col + 4, t.p.n); col < end; ++col) {
    float first[count][1];
#pragma unroll
    for (int i = 0; i < count; ++i) first[i][0] = v[i][0], v[i][0] = v[i][1], v[i][1] = v[i][2], v[i][2] = v[i][3];
    finishPacks(t.p, row, step, col, first);
  }
}

// From the sum of a part of the reduction to its place in workspace, or where it is the only part to y.
template <int count>
LANTERN_DEVICE void finishPart(const MatmulTask& t, int part, int64_t row, int step, int64_t col, float (&v)[count][4]) {
  if (col >= t.p.n) return;
  if (!t.partial) return finishSum(t, row, step, col, v);
  float* sums = t.partial + (part * t.p.m + row) * t.ldPartial + col;
#pragma unroll
  for (int i = 0; i < count; ++i)
    if (row + i * step < t.p.m) storeGlobal(sums + int64_t(i) * step * t.ldPartial, v[i]);
}

}  // namespace lantern::cuda
