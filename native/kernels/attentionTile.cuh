// What the tensor-core attention kernels are made of: tiles of bf16 rows in shared memory and two products of a warp's own rows.
//
//   rowProducts:     S[row][col] = sum over d of a[row][d] * b[col][d]              a, b: tiles
//   columnProducts:  O[row][d]  += sum over cols of P[row][col] * b[col][d]         P: registers, as rowProducts left them
//
// Forward takes queries as rows and keys as columns; so does dq. For dk and dv it is the other way round. The weights between the two products
// never leave the registers: the layout of a product's result is that of the next one's first operand.
//
// The 16-byte chunks of a row change places by the row's number, so that eight neighbouring rows' chunks of one column, which is what
// ldmatrix reads, cover all banks. Rows have 128, 192 or 256 bytes; columns beyond the real headDim are zeros.
#pragma once
#include "common/mma.cuh"

namespace lantern::cuda {

template <int kHeadDim>
LANTERN_DEVICE uint32_t tileOffset(int row, int chunk) {
  const int turn = kHeadDim % 64 == 0 ? row & 7 : row >> 1 & 3;  // rows of 192 bytes: every second one begins in the middle of the banks
  return uint32_t(row * kHeadDim * 2 + ((chunk ^ turn) << 4));
}

// Starts the copies of `count` rows of `headDim` elements into a tile of kRows, zeros beyond; row(i) is the address of row i,
// or null for a row of zeros. The shape's threads take part.
template <class Shape, int kRows, class F>
LANTERN_DEVICE void loadTile(uint32_t tile, const bf16* anywhere, int count, int headDim, F&& row, int thread = threadIdx.x) {
  constexpr int kChunks = Shape::kHeadDim / 8, kCopies = kRows * kChunks;
#pragma unroll 1  // addresses of several copies at once would cost registers that the products need
  for (int i = 0; i < (kCopies + Shape::kThreads - 1) / Shape::kThreads; ++i) {
    const int copy = thread + i * Shape::kThreads, r = copy / kChunks, chunk = copy % kChunks;
    if (kCopies % Shape::kThreads != 0 && copy >= kCopies) break;
    const bf16* from = r < count && chunk * 8 < headDim ? row(r) : nullptr;
    copyAsync16(tile + tileOffset<Shape::kHeadDim>(r, chunk), from ? from + chunk * 8 : anywhere, from != nullptr);
  }
}

// The first of a warp's rows is a multiple of 16, its columns begin at 0.
template <class Shape>
LANTERN_DEVICE void rowProducts(float (&s)[Shape::kRowTiles][Shape::kStreamed / 8][4], uint32_t a, int firstRow, uint32_t b) {
  constexpr int kHeadDim = Shape::kHeadDim;
  const int lane = threadIdx.x % kWarp;
#pragma unroll
  for (int i = 0; i < Shape::kRowTiles; ++i)
#pragma unroll
    for (int j = 0; j < Shape::kStreamed / 8; ++j)
#pragma unroll
      for (int e = 0; e < 4; ++e) s[i][j][e] = 0;
#pragma unroll
  for (int step = 0; step < kHeadDim / 16; ++step) {
    uint32_t rows[Shape::kRowTiles][4];
#pragma unroll
    for (int i = 0; i < Shape::kRowTiles; ++i)
      loadMatrices(rows[i], a + tileOffset<kHeadDim>(firstRow + lane % 16, 2 * step + lane / 16) + i * 16 * kHeadDim * 2);
#pragma unroll
    for (int j = 0; j < Shape::kStreamed / 16; ++j) {
      uint32_t cols[4];
      loadMatrices(cols, b + tileOffset<kHeadDim>(lane % 8 + lane / 16 * 8, 2 * step + lane / 8 % 2) + j * 16 * kHeadDim * 2);
#pragma unroll
      for (int i = 0; i < Shape::kRowTiles; ++i) {
        multiplyAdd(s[i][2 * j], rows[i], cols[0], cols[1]);
        multiplyAdd(s[i][2 * j + 1], rows[i], cols[2], cols[3]);
      }
    }
  }
}

template <class Shape>
LANTERN_DEVICE void columnProducts(float (&o)[Shape::kRowTiles][Shape::kHeadDim / 8][4], const float (&p)[Shape::kRowTiles][Shape::kStreamed / 8][4],
                                   uint32_t b) {
  constexpr int kHeadDim = Shape::kHeadDim;
  const int lane = threadIdx.x % kWarp;
#pragma unroll
  for (int step = 0; step < Shape::kStreamed / 16; ++step) {
    uint32_t rows[Shape::kRowTiles][4];
#pragma unroll
    for (int i = 0; i < Shape::kRowTiles; ++i)
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const float(&x)[4] = p[i][2 * step + h];
        rows[i][2 * h] = packPair(x[0], x[1]), rows[i][2 * h + 1] = packPair(x[2], x[3]);
      }
#pragma unroll
    for (int j = 0; j < kHeadDim / 16; ++j) {
      uint32_t cols[4];
      loadMatricesTransposed(cols, b + tileOffset<kHeadDim>(lane % 16, 2 * j + lane / 16) + step * 16 * kHeadDim * 2);
#pragma unroll
      for (int i = 0; i < Shape::kRowTiles; ++i) {
        multiplyAdd(o[i][2 * j], rows[i], cols[0], cols[1]);
        multiplyAdd(o[i][2 * j + 1], rows[i], cols[2], cols[3]);
      }
    }
  }
}

// This thread's rows within its warp's: row(i, h) holds s[i][..][2 h] and [2 h + 1], in the columns col(j) and col(j) + 1.
LANTERN_DEVICE int fragmentRow(int i, int h) { return i * 16 + h * 8 + int(threadIdx.x) % kWarp / 4; }
LANTERN_DEVICE int fragmentCol(int j) { return j * 8 + int(threadIdx.x) % 4 * 2; }

// Columns base .. base + kStreamed that row i does not see become `masked`. low and high ascend with the row.
template <class Shape, class Sees>
LANTERN_DEVICE void maskTile(float (&s)[Shape::kRowTiles][Shape::kStreamed / 8][4], int firstRow, int lastRow, int base, const Sees& sees,
                             float masked) {
  if (base >= sees.low(lastRow) && base + Shape::kStreamed <= sees.high(firstRow)) return;
#pragma unroll
  for (int i = 0; i < Shape::kRowTiles; ++i)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int row = firstRow + fragmentRow(i, h), low = sees.low(row) - base, high = sees.high(row) - base;
#pragma unroll
      for (int j = 0; j < Shape::kStreamed / 8; ++j)
#pragma unroll
        for (int e = 0; e < 2; ++e)
          if (fragmentCol(j) + e < low || fragmentCol(j) + e >= high) s[i][j][2 * h + e] = masked;
    }
}

// Writes the warp's rows of a result, times factor(i, h), to row(r) for r < count, in pieces of 16 bytes. `tile` holds rows of the warp's
// own in shared memory, which nobody reads any more.
template <class Shape, class F, class R>
LANTERN_DEVICE void storeRows(uint32_t tile, const float (&o)[Shape::kRowTiles][Shape::kHeadDim / 8][4], int firstRow, int count, int headDim,
                              F&& factor, R&& row) {
  constexpr int kHeadDim = Shape::kHeadDim, kChunks = kHeadDim / 8, kRows = Shape::kRowTiles * 16;
  const int lane = threadIdx.x % kWarp;
  __syncwarp();
#pragma unroll
  for (int i = 0; i < Shape::kRowTiles; ++i)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const float f = factor(i, h);
#pragma unroll
      for (int j = 0; j < kChunks; ++j) {
        const uint32_t pair = packPair(o[i][j][2 * h] * f, o[i][j][2 * h + 1] * f);
        const uint32_t to = tile + tileOffset<kHeadDim>(firstRow + fragmentRow(i, h), j) + lane % 4 * 4;
        asm volatile("st.shared.b32 [%0], %1;" ::"r"(to), "r"(pair) : "memory");
      }
    }
  __syncwarp();
#pragma unroll 4
  for (int i = lane; i < kRows * kChunks; i += kWarp) {
    const int r = firstRow + i / kChunks, chunk = i % kChunks;
    if (r >= count || chunk * 8 >= headDim) continue;
    uint4 x;
    asm volatile("ld.shared.v4.b32 {%0,%1,%2,%3}, [%4];"
                 : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w) : "r"(tile + tileOffset<kHeadDim>(r, chunk)) : "memory");
    *reinterpret_cast<uint4*>(row(r) + chunk * 8) = x;
  }
}

}  // namespace lantern::cuda
