// Attention without tensor cores: float32 throughout, any headDim up to the shape's, any alignment, elements of either dtype.
//
// The 256 threads form a square of 16 x 16: thread (x, y) has the rows y * M .. y * M + M - 1 of the block and the streamed rows x, x + 16, ...
// (M = kRows / 16), and of the results those rows' columns 4 x .. 4 x + 3 of every 64. Rows in shared memory are padded by 16 bytes, so that
// eight neighbouring rows' pieces cover all banks. A thread's weights pass to the other threads of its rows, all in its own warp, through
// shared memory.
#pragma once
#include "attentionRows.cuh"
#include "attentionShape.h"

namespace lantern::cuda {

// A matrix in global memory of either dtype. Vectors: base and all row offsets are multiples of 4 elements.
struct Elements {
  const void* base;
  int dtype;
  bool vectors;

  LANTERN_DEVICE void load(float (&x)[4], int64_t at, int count) const {
    if (dtype == kFloat32) loadAs(static_cast<const float*>(base) + at, x, count);
    else loadAs(static_cast<const bf16*>(base) + at, x, count);
  }
  LANTERN_DEVICE void store(const float (&x)[4], int64_t at, int count) const {
    if (dtype == kFloat32) storeAs(static_cast<float*>(const_cast<void*>(base)) + at, x, count);
    else storeAs(static_cast<bf16*>(const_cast<void*>(base)) + at, x, count);
  }

 private:
  template <class T>
  LANTERN_DEVICE void loadAs(const T* from, float (&x)[4], int count) const {
    if (vectors && count >= 4) return loadPack<4>(from, x);
#pragma unroll
    for (int i = 0; i < 4; ++i) x[i] = i < count ? toFloat(from[i]) : 0.f;
  }
  template <class T>
  LANTERN_DEVICE void storeAs(T* to, const float (&x)[4], int count) const {
    if (vectors && count >= 4) return storePack<4>(to, x);
#pragma unroll
    for (int i = 0; i < 4; ++i)
      if (i < count) to[i] = fromFloat<T>(x[i]);
  }
};

LANTERN_DEVICE int simtX() { return threadIdx.x % kSimtSide; }
LANTERN_DEVICE int simtY() { return threadIdx.x / kSimtSide; }

// `count` rows into shared memory, zeros beyond; row(i): element offset of row i, negative for a row of zeros.
// At least eight lanes share a row: their pieces of 16 bytes cover all banks.
template <int kWidth, class Shape, int kRows, class T, class F>
LANTERN_DEVICE void loadRowsAs(float* to, const T* from, int count, int headDim, F&& row) {
  constexpr int kLanes = kRows < kSimtThreads / 8 ? kSimtThreads / kRows : 8, kPieces = Shape::kHeadDim / kWidth / kLanes;
  constexpr int kHeld = kWidth == 1 ? 1 : kPieces;  // under way at a time
  const int lane = threadIdx.x % kLanes;
#pragma unroll 1
  for (int r = threadIdx.x / kLanes; r < kRows; r += kSimtThreads / kLanes) {
    const int64_t at = r < count ? row(r) : -1;
#pragma unroll 1
    for (int first = 0; first < kPieces; first += kHeld) {
      float x[kHeld][kWidth] = {};
#pragma unroll
      for (int i = 0; i < kHeld; ++i)
        if (const int d = ((first + i) * kLanes + lane) * kWidth; at >= 0 && d < headDim) loadPack(from + at + d, x[i]);
#pragma unroll
      for (int i = 0; i < kHeld; ++i) storePack(to + r * Shape::kRowFloats + ((first + i) * kLanes + lane) * kWidth, x[i]);
    }
  }
}
template <class Shape, int kRows, class F>
LANTERN_DEVICE void loadRows(float* to, const Elements& from, int count, int headDim, F&& row) {
  const auto load = [&](auto* base) {
    if (from.vectors) loadRowsAs<4, Shape, kRows>(to, base, count, headDim, row);
    else loadRowsAs<1, Shape, kRows>(to, base, count, headDim, row);
  };
  if (from.dtype == kFloat32) load(static_cast<const float*>(from.base));
  else load(static_cast<const bf16*>(from.base));
}

// s[i][j] = sum over d of a[row i][d] * b[streamed row j][d], of this thread's rows.
template <class Shape>
LANTERN_DEVICE void simtRowProducts(float (&s)[Shape::kRows / 16][Shape::kStreamed / 16], const float* a, const float* b) {
  constexpr int M = Shape::kRows / 16, N = Shape::kStreamed / 16;
#pragma unroll
  for (int i = 0; i < M; ++i)
#pragma unroll
    for (int j = 0; j < N; ++j) s[i][j] = 0;
#pragma unroll 2
  for (int d = 0; d < Shape::kHeadDim; d += 4) {
    float x[M][4], y[4];
#pragma unroll
    for (int i = 0; i < M; ++i) loadPack<4>(a + (simtY() * M + i) * Shape::kRowFloats + d, x[i]);
#pragma unroll
    for (int j = 0; j < N; ++j) {
      loadPack<4>(b + (simtX() + 16 * j) * Shape::kRowFloats + d, y);
#pragma unroll
      for (int i = 0; i < M; ++i)
#pragma unroll
        for (int e = 0; e < 4; ++e) s[i][j] = fmaf(x[i][e], y[e], s[i][j]);
    }
  }
}

// o[i][c][e] += sum over streamed rows j of p[row i][j] * b[j][64 c + 4 x + e]. The weights go through `memory`, the warp's own rows of it.
template <class Shape>
LANTERN_DEVICE void simtColumnProducts(float (&o)[Shape::kRows / 16][Shape::kHeadDim / 64][4],
                                       const float (&p)[Shape::kRows / 16][Shape::kStreamed / 16], const float* b, float* memory) {
  constexpr int M = Shape::kRows / 16, N = Shape::kStreamed / 16;
  float* mine = memory + simtY() * M * Shape::kWeightFloats;
  __syncwarp();
#pragma unroll
  for (int i = 0; i < M; ++i)
#pragma unroll
    for (int j = 0; j < N; ++j) mine[i * Shape::kWeightFloats + simtX() + 16 * j] = p[i][j];
  __syncwarp();
#pragma unroll 1
  for (int j = 0; j < Shape::kStreamed; j += 4) {
    float w[M][4];
#pragma unroll
    for (int i = 0; i < M; ++i) loadPack<4>(mine + i * Shape::kWeightFloats + j, w[i]);
#pragma unroll
    for (int k = 0; k < 4; ++k)
#pragma unroll
      for (int c = 0; c < Shape::kHeadDim / 64; ++c) {
        float y[4];
        loadPack<4>(b + (j + k) * Shape::kRowFloats + 64 * c + 4 * simtX(), y);
#pragma unroll
        for (int i = 0; i < M; ++i)
#pragma unroll
          for (int e = 0; e < 4; ++e) o[i][c][e] = fmaf(w[i][k], y[e], o[i][c][e]);
      }
  }
}

// Stores this thread's part of row i's result, times `factor`, at element offset `at`.
template <class Shape>
LANTERN_DEVICE void storeSimtRow(const float (&o)[Shape::kHeadDim / 64][4], float factor, const Elements& to, int64_t at, int headDim) {
#pragma unroll
  for (int c = 0; c < Shape::kHeadDim / 64; ++c) {
    const int d = 64 * c + 4 * simtX();
    const float x[4] = {o[c][0] * factor, o[c][1] * factor, o[c][2] * factor, o[c][3] * factor};
    if (d < headDim) to.store(x, at + d, headDim - d);
  }
}

// Problem: `rows` rows; q, k, v: Elements; query(r), key(j), value(j): element offsets; low(r), high(r): the keys that row r sees;
// from, to: the keys to go through; finish(r, o, top, total): takes row r's sums, called by the 16 threads of the row.
template <class Shape, class Problem>
LANTERN_DEVICE void attendSimt(const Problem& p, int headDim, float scale, float* memory) {
  constexpr int M = Shape::kRows / 16, N = Shape::kStreamed / 16;
  float *queries = memory, *keys = queries + Shape::kRows * Shape::kRowFloats, *values = keys + Shape::kStreamed * Shape::kRowFloats;
  float* weights = values + Shape::kStreamed * Shape::kRowFloats;
  float out[M][Shape::kHeadDim / 64][4] = {}, top[M], total[M];
#pragma unroll
  for (int i = 0; i < M; ++i) top[i] = -INFINITY, total[i] = 0;
  const float c = scale * kLog2e;
  loadRows<Shape, Shape::kRows>(queries, p.q, p.rows, headDim, [&](int r) { return p.query(r); });
  for (int base = p.from; base < p.to; base += Shape::kStreamed) {
    __syncthreads();
    loadRows<Shape, Shape::kStreamed>(keys, p.k, p.to - base, headDim, [&](int j) { return p.key(base + j); });
    loadRows<Shape, Shape::kStreamed>(values, p.v, p.to - base, headDim, [&](int j) { return p.value(base + j); });
    __syncthreads();
    float s[M][N];
    simtRowProducts<Shape>(s, queries, keys);
#pragma unroll
    for (int i = 0; i < M; ++i) {
      const int low = max(p.low(simtY() * M + i), p.from) - base, high = min(p.high(simtY() * M + i), p.to) - base;
      float m = top[i];
#pragma unroll
      for (int j = 0; j < N; ++j) {
        if (const int key = simtX() + 16 * j; key < low || key >= high) s[i][j] = -INFINITY;
        m = fmaxf(m, s[i][j]);
      }
      m = warpReduce<16>(m, Max());
      const float shift = m == -INFINITY ? 0.f : m, alpha = exp2Approx((top[i] - shift) * c);  // (s - m) c: exact where it matters
      top[i] = m, total[i] *= alpha;
#pragma unroll
      for (int j = 0; j < N; ++j) total[i] += s[i][j] = exp2Approx((s[i][j] - shift) * c);
#pragma unroll
      for (int k = 0; k < Shape::kHeadDim / 64; ++k)
#pragma unroll
        for (int e = 0; e < 4; ++e) out[i][k][e] *= alpha;
    }
    simtColumnProducts<Shape>(out, s, values, weights);
  }
#pragma unroll
  for (int i = 0; i < M; ++i) {
    const float sum = warpReduce<16>(total[i], Sum());
    if (const int r = simtY() * M + i; r < p.rows) p.finish(r, out[i], top[i], sum);
  }
}

}  // namespace lantern::cuda
