// y = x W^T for up to kFewRows rows of x, as in decoding: W streams past once, in 16-byte loads straight into registers, and each element of
// x is read once a block, beside the elements of W that it meets. A block has a few rows of W; its warps take turns along the reduction, and
// their sums are added in order at the end. Both operands start at multiples of a load's size, row by row.
#include "common/mma.cuh"
#include "matmulEpilogue.cuh"

namespace lantern::cuda {

// sums[row][col] of every warp, to finished outputs of columns col0... kCols is a multiple of eight.
template <int kRows, int kCols>
struct WarpSums {
  static constexpr int kLd = (kCols + 23) / 32 * 32 + 8;  // four fragment rows cover all banks
  float sums[kFewRowsWarps][kRows][kLd];

  LANTERN_DEVICE void finish(const MatmulTask& t, int64_t col0) const {
    constexpr int kPacks = kCols / 4;
    for (int i = threadIdx.x; i < kRows * kPacks; i += kFewRowsWarps * kWarp) {
      const int at = i / kPacks, col = i % kPacks * 4;
      const int row = kCols == 16 ? at / 4 * 4 + at % 2 * 2 + at / 2 % 2 : at;  // eight lanes cover all banks: of 16 columns, rows two apart
      if (row >= t.p.m || col0 + col >= t.p.n) continue;
      float v[1][4] = {};
#pragma unroll
      for (int w = 0; w < kFewRowsWarps; ++w) {
        float more[4];
        loadPack(&sums[w][row][col], more);
#pragma unroll
        for (int j = 0; j < 4; ++j) v[0][j] += more[j];
      }
      finishSum(t, row, 1, col0 + col, v);
    }
  }
};

// ---- bf16 times bf16 ----
// Eight neighbouring elements; zeros where fewer are `left`.
LANTERN_DEVICE uint4 loadEight(const bf16* p, int left) {
  return left >= 8 ? *reinterpret_cast<const uint4*>(p) : make_uint4(0, 0, 0, 0);
}
LANTERN_DEVICE uint4 loadLast(const bf16* p, int left) {
  uint32_t word[4];
#pragma unroll
  for (int i = 0; i < 4; ++i)
    word[i] = packPair(2 * i < left ? toFloat(p[2 * i]) : 0.f, 2 * i + 1 < left ? toFloat(p[2 * i + 1]) : 0.f);
  return make_uint4(word[0], word[1], word[2], word[3]);
}

// Tensor cores do the arithmetic: x is their a, W their b. Both index the reduction alike but not in its order: lane t of a quad holds eight
// neighbours, of which four go into each of two products, where the fragment layout would want pairs eight apart.
template <int kRows, int kGroups>  // of x; of eight rows of W
LANTERN_DEVICE void fewRows(const MatmulTask& t) {
  constexpr int kSpan = 32, kStride = kSpan * kFewRowsWarps, kDepth = kGroups == 4 ? 2 : 4;  // loads of each row under way
  __shared__ __align__(16) WarpSums<kRows, kGroups * 8> shared;
  const MatmulParams& p = t.p;
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp, k = int(p.k);
  const int64_t col0 = int64_t(blockIdx.x) * kGroups * 8;
  const bf16 *x[kRows / 8], *w[kGroups];  // rows beyond the last repeat it: their products are not stored
#pragma unroll
  for (int i = 0; i < kRows / 8; ++i) x[i] = static_cast<const bf16*>(p.a) + min(i * 8 + lane / 4, int(p.m) - 1) * p.lda;
#pragma unroll
  for (int j = 0; j < kGroups; ++j) w[j] = static_cast<const bf16*>(p.b) + min(col0 + j * 8 + lane / 4, p.n - 1) * p.ldb;

  float sums[kGroups][4] = {};
  const auto multiply = [&](const uint4(&a)[kRows / 8], const uint4(&b)[kGroups]) {
    const uint4 upper = kRows > 8 ? a[kRows / 8 - 1] : make_uint4(0, 0, 0, 0);
#pragma unroll
    for (int j = 0; j < kGroups; ++j) {
      multiplyAdd(sums[j], {a[0].x, upper.x, a[0].y, upper.y}, b[j].x, b[j].y);
      multiplyAdd(sums[j], {a[0].z, upper.z, a[0].w, upper.w}, b[j].z, b[j].w);
    }
  };
#pragma unroll 1
  for (int k0 = warp * kSpan; k0 < k; k0 += kDepth * kStride) {
    uint4 a[kDepth][kRows / 8], b[kDepth][kGroups];
#pragma unroll
    for (int d = 0; d < kDepth; ++d) {
      const int at = k0 + d * kStride + lane % 4 * 8;
#pragma unroll
      for (int j = 0; j < kGroups; ++j) b[d][j] = loadEight(w[j] + at, k - at);
#pragma unroll
      for (int i = 0; i < kRows / 8; ++i) a[d][i] = loadEight(x[i] + at, k - at);
    }
#pragma unroll
    for (int d = 0; d < kDepth; ++d) multiply(a[d], b[d]);
  }
  if (k % 8 != 0 && warp == 0) {  // what no whole load holds
    uint4 a[kRows / 8], b[kGroups];
    const int at = k / 8 * 8 + lane % 4 * 8;
#pragma unroll
    for (int j = 0; j < kGroups; ++j) b[j] = loadLast(w[j] + at, k - at);
#pragma unroll
    for (int i = 0; i < kRows / 8; ++i) a[i] = loadLast(x[i] + at, k - at);
    multiply(a, b);
  }
#pragma unroll
  for (int j = 0; j < kGroups; ++j)
#pragma unroll
    for (int i = 0; i < kRows / 8; ++i)
      *reinterpret_cast<float2*>(&shared.sums[warp][i * 8 + lane / 4][j * 8 + lane % 4 * 2]) = make_float2(sums[j][i * 2], sums[j][i * 2 + 1]);
  __syncthreads();
  shared.finish(t, col0);
}

// ---- with a float32 operand ----
// Eight lanes side by side along the reduction, four elements each; four such groups have two rows of W each.
template <int kRows, class X, class W>
LANTERN_DEVICE void fewRowsFloat(const MatmulTask& t) {
  constexpr int kSpan = 32, kStride = kSpan * kFewRowsWarps;
  __shared__ __align__(16) WarpSums<kRows, 8> shared;
  const MatmulParams& p = t.p;
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp, k = int(p.k), group = lane / 8, quarter = lane % 8;
  const int64_t col0 = int64_t(blockIdx.x) * 8;
  const X* x = static_cast<const X*>(p.a);
  const W* w[2];
#pragma unroll
  for (int j = 0; j < 2; ++j) w[j] = static_cast<const W*>(p.b) + min(col0 + j * 4 + group, p.n - 1) * p.ldb;
  float sums[kRows][2] = {};
#pragma unroll 2
  for (int at = warp * kSpan + quarter * 4; at + 4 <= k; at += kStride) {
    float b[2][4];
#pragma unroll
    for (int j = 0; j < 2; ++j) loadPack(w[j] + at, b[j]);
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      float a[4];
      loadPack(x + min(r, int(p.m) - 1) * p.lda + at, a);
#pragma unroll
      for (int j = 0; j < 2; ++j)
#pragma unroll
        for (int i = 0; i < 4; ++i) sums[r][j] = fmaf(a[i], b[j][i], sums[r][j]);
    }
  }
  if (const int at = k / 4 * 4 + quarter; warp == 0 && at < k)
#pragma unroll
    for (int r = 0; r < kRows; ++r)
#pragma unroll
      for (int j = 0; j < 2; ++j) sums[r][j] = fmaf(toFloat(x[min(r, int(p.m) - 1) * p.lda + at]), toFloat(w[j][at]), sums[r][j]);
#pragma unroll
  for (int r = 0; r < kRows; ++r)
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      sums[r][j] = warpReduce<8>(sums[r][j], Sum{});
      if (quarter == 0) shared.sums[warp][r][j * 4 + group] = sums[r][j];
    }
  __syncthreads();
  shared.finish(t, col0);
}

}  // namespace lantern::cuda

using namespace lantern;
using namespace lantern::cuda;

// Without a number of blocks ptxas spills registers for more of them.
#define LANTERN_FEW_ROWS(name, ...)                                                            \
  extern "C" __global__ void __launch_bounds__(kFewRowsWarps* kWarp, 2)                        \
      matmulFewRows_##name(const __grid_constant__ MatmulTask t) { __VA_ARGS__(t); }

LANTERN_FEW_ROWS(bf16Rows8Cols8, fewRows<8, 1>)
LANTERN_FEW_ROWS(bf16Rows8Cols16, fewRows<8, 2>)
LANTERN_FEW_ROWS(bf16Rows8Cols32, fewRows<8, 4>)
LANTERN_FEW_ROWS(bf16Rows16Cols16, fewRows<16, 2>)
LANTERN_FEW_ROWS(bf16Rows16Cols32, fewRows<16, 4>)

#define LANTERN_FEW_ROWS_FLOAT(suffix, X, W)                          \
  LANTERN_FEW_ROWS(rows1##suffix, fewRowsFloat<1, X, W>)              \
  LANTERN_FEW_ROWS(rows4##suffix, fewRowsFloat<4, X, W>)              \
  LANTERN_FEW_ROWS(rows16##suffix, fewRowsFloat<16, X, W>)

LANTERN_FEW_ROWS_FLOAT(F32F32, float, float)
LANTERN_FEW_ROWS_FLOAT(F32Bf16, float, bf16)
LANTERN_FEW_ROWS_FLOAT(Bf16F32, bf16, float)
