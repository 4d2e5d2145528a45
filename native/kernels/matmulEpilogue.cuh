// From sums to results: bias, z, activation, residual, y. Device side of every matrix product.
#pragma once
#include "common/activation.cuh"
#include "common/mma.cuh"
#include "matmulShape.h"

namespace lantern::cuda {

// Where a thread's sums belong: packs of four neighbouring columns, in rows row, row + step, ...
struct Place {
  int64_t row, col;
  int step;
  int rows, cols;  // that exist from (row, col) on
  bool whole;      // all four columns exist and can be accessed at once, in every matrix of the epilogue
};
LANTERN_DEVICE Place placeOf(const MatmulTask& t, int64_t row, int step, int64_t col) {
  const int64_t rows = t.p.m - row, cols = t.p.n - col;
  return {row, col, step, int(rows), int(cols), t.packs && cols >= 4};
}

// One store of four neighbours. It is spelt out because the compiler takes storePack apart when only some of the paths to it are aligned.
LANTERN_DEVICE void storeFour(float* p, const float (&x)[4]) {
  asm volatile("st.global.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(p)), "f"(x[0]), "f"(x[1]), "f"(x[2]), "f"(x[3]) : "memory");
}
LANTERN_DEVICE void storeFour(bf16* p, const float (&x)[4]) {
  const uint32_t low = packPair(x[0], x[1]), high = packPair(x[2], x[3]);
  asm volatile("st.global.v2.b32 [%0], {%1, %2};" ::"l"(__cvta_generic_to_global(p)), "r"(low), "r"(high) : "memory");
}

template <class T, int count>
LANTERN_DEVICE void storeAs(T* p, int64_t stride, const Place& at, const float (&v)[count][4]) {
  if (at.whole) {
#pragma unroll
    for (int i = 0; i < count; ++i)
      if (i * at.step < at.rows) storeFour(p + i * stride, v[i]);
    return;
  }
#pragma unroll
  for (int i = 0; i < count; ++i)
#pragma unroll
    for (int j = 0; j < 4; ++j)
      if (i * at.step < at.rows && j < at.cols) p[i * stride + j] = fromFloat<T>(v[i][j]);
}
// The loads of all packs are under way together.
template <class T, int count>
LANTERN_DEVICE void loadAs(const T* p, int64_t stride, const Place& at, float (&v)[count][4]) {
  if (at.whole) {
#pragma unroll
    for (int i = 0; i < count; ++i)
      if (i * at.step < at.rows) loadPack(p + i * stride, v[i]);
    return;
  }
#pragma unroll
  for (int i = 0; i < count; ++i)
#pragma unroll
    for (int j = 0; j < 4; ++j)
      if (i * at.step < at.rows && j < at.cols) v[i][j] = toFloat(p[i * stride + j]);
}

template <int count>
LANTERN_DEVICE void storeRows(void* p, int64_t dtype, int64_t ld, const Place& at, const float (&v)[count][4]) {
  const int64_t first = at.row * ld + at.col, stride = at.step * ld;
  if (dtype == kFloat32) storeAs(static_cast<float*>(p) + first, stride, at, v);
  else storeAs(static_cast<bf16*>(p) + first, stride, at, v);
}
// Zero where nothing exists. ld 0: every row is the same.
template <int count>
LANTERN_DEVICE void loadRows(const void* p, int64_t dtype, int64_t ld, const Place& at, float (&v)[count][4]) {
  const int64_t first = at.row * ld + at.col, stride = at.step * ld;
#pragma unroll
  for (int i = 0; i < count; ++i)
#pragma unroll
    for (int j = 0; j < 4; ++j) v[i][j] = 0.f;
  if (dtype == kFloat32) loadAs(static_cast<const float*>(p) + first, stride, at, v);
  else loadAs(static_cast<const bf16*>(p) + first, stride, at, v);
}

// From the whole sums to y. v is spent.
template <int count>
LANTERN_DEVICE void finishSum(const MatmulTask& t, int64_t row, int step, int64_t col, float (&v)[count][4]) {
  const MatmulParams& p = t.p;
  const Place at = placeOf(t, row, step, col);
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
  if (p.activation == kSilu) each([&](int i, int j) { v[i][j] = silu(v[i][j]); });
  if (p.activation == kGelu) each([&](int i, int j) { v[i][j] = gelu(v[i][j]); });
  if (p.residual) {
    float residual[count][4];
    loadRows(p.residual, p.yDtype, p.ldResidual, at, residual);
    each([&](int i, int j) { v[i][j] += residual[i][j]; });
  }
  storeRows(p.y, p.yDtype, p.ldy, at, v);
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
