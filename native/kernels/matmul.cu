// Products of bf16 matrices on tensor cores: common/tileMma.cuh between a block's place in the output and the epilogue.
#include "common/tileMma.cuh"
#include "matmulEpilogue.cuh"

namespace lantern::cuda {

template <MatmulTile t>
using ShapeOf = TileShape<t.m, t.n, t.k, t.warpsM, t.warpsN, t.stages>;

struct TileAt {
  int row, col;
};

// Blocks that run at the same time share operands in the second-level cache: they go down kGroup row tiles before they go on to the next column.
LANTERN_DEVICE TileAt tileAt(const MatmulTask& t) {
  constexpr int kGroup = 8;
  const int group = int(blockIdx.x) / (kGroup * t.colTiles), within = int(blockIdx.x) % (kGroup * t.colTiles);
  const int rows = min(kGroup, t.rowTiles - group * kGroup);
  return {group * kGroup + within % rows, within / rows};
}

// Each warp takes its part of the tile through shared memory, 16 rows at a time, so that neighbouring lanes have neighbouring columns.
template <class Product>
LANTERN_DEVICE void finishTile(const Product& product, unsigned char* memory, const MatmulTask& t, int64_t row0, int64_t col0) {
  constexpr int kCols = Product::kWarpN, kLd = kCols + 8;  // rows two banks times four apart: quads of a fragment's rows do not meet
  constexpr int kStep = 128 / kCols, kCount = 4;           // rows of a warp's access; accesses at a time
  float* stage = reinterpret_cast<float*>(memory) + threadIdx.x / kWarp * 16 * kLd;
  const int lane = threadIdx.x % kWarp, row = lane * 4 / kCols, col = lane * 4 % kCols;
#pragma unroll 1
  for (int tile = 0; tile < Product::kRowTiles; ++tile) {
    __syncwarp();
#pragma unroll
    for (int i = 0; i < Product::kRowTiles; ++i)
      if (i == tile) {  // registers have no index
#pragma unroll
        for (int j = 0; j < Product::kColTiles; ++j)
#pragma unroll
          for (int half = 0; half < 2; ++half)
            storeShared(sharedAddress(stage + (lane / 4 + half * 8) * kLd + j * 8 + lane % 4 * 2), product.sums[i][j][half * 2],
                        product.sums[i][j][half * 2 + 1]);
      }
    __syncwarp();
#pragma unroll 1
    for (int first = 0; first < 16; first += kStep * kCount) {
      float v[kCount][4];
#pragma unroll
      for (int i = 0; i < kCount; ++i) loadPack(stage + (first + row + i * kStep) * kLd + col, v[i]);
      finishPart(t, int(blockIdx.y), row0 + tile * 16 + first + row, kStep, col0 + col, v);
    }
  }
}

template <MatmulTile tile, bool kInnerA, bool kInnerB>
LANTERN_DEVICE void multiply(const MatmulTask& t) {
  using Product = TileProduct<ShapeOf<tile>, kInnerA, kInnerB>;
  extern __shared__ __align__(128) unsigned char memory[];
  const MatmulParams& p = t.p;
  const TileAt at = tileAt(t);
  const int64_t row = int64_t(at.row) * tile.m, col = int64_t(at.col) * tile.n, k = blockIdx.y * t.part;
  const bf16* a = static_cast<const bf16*>(p.a) + (kInnerA ? row * p.lda + k : k * p.lda + row);
  const bf16* b = static_cast<const bf16*>(p.b) + (kInnerB ? col * p.ldb + k : k * p.ldb + col);
  Product product;
  product.add(sharedAddress(memory), {a, p.lda, int(p.m - row)}, {b, p.ldb, int(p.n - col)}, int(min(t.part, p.k - k)));
  finishTile(product, memory, t, row + Product::warpRow(), col + Product::warpCol());
}

}  // namespace lantern::cuda

using namespace lantern;
using namespace lantern::cuda;

// x W^T, dy W, dy^T x.
#define LANTERN_MATMUL(name, tile, innerA, innerB)                                                                                \
  extern "C" __global__ void __launch_bounds__(tile.threads(), tile.blocks) matmul_##name(const __grid_constant__ MatmulTask t) { \
    multiply<tile, innerA, innerB>(t);                                                                                            \
  }
#define LANTERN_MATMUL_LAYER(name, tile)              \
  LANTERN_MATMUL(name##TransposeB, tile, true, true)  \
  LANTERN_MATMUL(name, tile, true, false)             \
  LANTERN_MATMUL(name##TransposeA, tile, false, false)

LANTERN_MATMUL_LAYER(large, kLargeTile)
LANTERN_MATMUL_LAYER(medium, kMediumTile)
LANTERN_MATMUL_LAYER(small, kSmallTile)

extern "C" __global__ void __launch_bounds__(kSumPartsLanes* kSumPartsRows) matmul_sumParts(const __grid_constant__ MatmulTask t, int parts) {
  const int64_t row = int64_t(blockIdx.y) * kSumPartsRows + threadIdx.x / kSumPartsLanes;
  const int64_t col = (int64_t(blockIdx.x) * kSumPartsLanes + threadIdx.x % kSumPartsLanes) * 4;
  if (row >= t.p.m || col >= t.p.n) return;
  const float* from = t.partial + row * t.ldPartial + col;
  float v[1][4];
  loadPack(from, v[0]);
#pragma unroll 4
  for (int part = 1; part < parts; ++part) {
    float more[4];
    loadPack(from + part * t.p.m * t.ldPartial, more);
#pragma unroll
    for (int j = 0; j < 4; ++j) v[0][j] += more[j];
  }
  finishSum(t, row, 1, col, v);
}
