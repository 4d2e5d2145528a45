// From sums to results: bias, z, activation, residual, y. Device side of every matrix product.
#pragma once
#include "common/activation.cuh"
#include "common/mma.cuh"
#include "matmulShape.h"

namespace lantern::cuda {

// Where a thread's sums belong: packs of four neighbouring columns, in rows row, row + step, ... kWhole: all four columns exist and can be
// accessed at once, in every matrix of the epilogue.
template <bool kWhole>
struct Place {
  int64_t row, col;
  int step;
  int rows, cols;  // that exist from (row, col) on
};

// One store of four neighbours. It is spelt out because the compiler takes storePack apart when only some of the paths to it are aligned.
LANTERN_DEVICE void storeFour(float* p, const float (&x)[4]) {
  asm volatile("st.global.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(p)), "f"(x[0]), "f"(x[1]), "f"(x[2]), "f"(x[3]) : "memory");
}
LANTERN_DEVICE void storeFour(bf16* p, const float (&x)[4]) {
  const uint32_t low = packPair(x[0], x[1]), high = packPair(x[2], x[3]);
  asm volatile("st.global.v2.b32 [%0], {%1, %2};" ::"l"(__cvta_generic_to_global(p)), "r"(low), "r"(high) : "memory");
}

template <class T, int count, bool kWhole>
LANTERN_DEVICE void storeAs(T* p, int64_t stride, const Place<kWhole>& at, const float (&v)[count][4]) {
#pragma unroll
  for (int i = 0; i < count; ++i) {
    if (i * at.step >= at.rows) continue;
    if constexpr (kWhole) storeFour(p + i * stride, v[i]);
    else
#pragma unroll
      for (int j = 0; j < 4; ++j)
        if (j < at.cols) p[i * stride + j] = fromFloat<T>(v[i][j]);
  }
}
// The loads of all packs are under way together.
template <class T, int count, bool kWhole>
LANTERN_DEVICE void loadAs(const T* p, int64_t stride, const Place<kWhole>& at, float (&v)[count][4]) {
#pragma unroll
  for (int i = 0; i < count; ++i) {
    if (i * at.step >= at.rows) continue;
    if constexpr (kWhole) loadPack(p + i * stride, v[i]);
    else
#pragma unroll
      for (int j = 0; j < 4; ++j)
        if (j < at.cols) v[i][j] = toFloat(p[i * stride + j]);
  }
}

template <int count, bool kWhole>
LANTERN_DEVICE void storeRows(void* p, int64_t dtype, int64_t ld, const Place<kWhole>& at, const float (&v)[count][4]) {
  const int64_t first = at.row * ld + at.col, stride = at.step * ld;
  if (dtype == kFloat32) storeAs(static_cast<float*>(p) + first, stride, at, v);
  else storeAs(static_cast<bf16*>(p) + first, stride, at, v);
}
// Zero where nothing exists. ld 0: every row is the same.
template <int count, bool kWhole>
LANTERN_DEVICE void loadRows(const void* p, int64_t dtype, int64_t ld, const Place<kWhole>& at, float (&v)[count][4]) {
  const int64_t first = at.row * ld + at.col, stride = at.step * ld;
#pragma unroll
  for (int i = 0; i < count; ++i)
#pragma unroll
    for (int j = 0; j < 4; ++j) v[i][j] = 0.f;
  if (dtype == kFloat32) loadAs(static_cast<const float*>(p) + first, stride, at, v);
  else loadAs(static_cast<const bf16*>(p) + first, stride, at, v);
}

// fn(i, v[i]) in a loop that is not unrolled, for what would be most of a kernel's code: registers have no index, so they are selected.
template <int count, class F>
LANTERN_DEVICE void eachPack(float (&v)[count][4], F&& fn) {
#pragma unroll 1
  for (int i = 0; i < count; ++i) {
    float pack[1][4];
#pragma unroll
    for (int k = 0; k < count; ++k)
#pragma unroll
      for (int j = 0; j < 4; ++j) pack[0][j] = k == 0 || k == i ? v[k][j] : pack[0][j];
    fn(i, pack);
#pragma unroll
    for (int k = 0; k < count; ++k)
#pragma unroll
      for (int j = 0; j < 4; ++j) v[k][j] = k == i ? pack[0][j] : v[k][j];
  }
}

// Bias, z, activation, residual, y.
template <int count, bool kWhole>
LANTERN_DEVICE void finishPacks(const MatmulParams& p, const Place<kWhole>& at, float (&v)[count][4]) {
  const auto each = [&](auto&& fn) {
#pragma unroll
    for (int i = 0; i < count; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j) fn(i, j);
  };
  if (p.bias) {
    float bias[1][4];
    loadRows(p.bias, p.biasDtype, 0, at, bias);
    each([&](int i, int j) { v[i][j] += bias[0][j]; });
  }
  if (p.z) storeRows(p.z, p.yDtype, p.ldy, at, v);
  if (p.activation)
    eachPack(v, [&](int, float (&pack)[1][4]) {
#pragma unroll
      for (int j = 0; j < 4; ++j) pack[0][j] = p.activation == kSilu ? silu(pack[0][j]) : gelu(pack[0][j]);
    });
  if (p.residual) {
    float residual[count][4];
    loadRows(p.residual, p.yDtype, p.ldResidual, at, residual);
    each([&](int i, int j) { v[i][j] += residual[i][j]; });
  }
  storeRows(p.y, p.yDtype, p.ldy, at, v);
}

// From the whole sums to y. v is spent.
template <int count>
LANTERN_DEVICE void finishSum(const MatmulTask& t, int64_t row, int step, int64_t col, float (&v)[count][4]) {
  const int rows = int(t.p.m - row), cols = int(t.p.n - col);
  if (t.packs && cols >= 4) return finishPacks(t.p, Place<true>{row, col, step, rows, cols}, v);
  eachPack(v, [&](int i, float (&pack)[1][4]) {
    if (i * step < rows) finishPacks(t.p, Place<false>{row + i * step, col, 1, 1, cols}, pack);
  });
}

// From the sums of a part of the reduction to their place in workspace, or where it is the only part to y. v is spent.
template <int count>
LANTERN_DEVICE void finishPart(const MatmulTask& t, int part, int64_t row, int step, int64_t col, float (&v)[count][4]) {
  if (col >= t.p.n) return;
  if (!t.partial) return finishSum(t, row, step, col, v);
  float* sums = t.partial + (part * t.p.m + row) * t.ldPartial + col;
#pragma unroll
  for (int i = 0; i < count; ++i)
    if (row + i * step < t.p.m) storeFour(sums + int64_t(i) * step * t.ldPartial, v[i]);
}

}  // namespace lantern::cuda
