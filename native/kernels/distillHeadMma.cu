// The distillation head's products of bfloat16 matrices, on tensor cores (common/tileMma.cuh).
#include "common/tileMma.cuh"
#include "distillHeadStats.cuh"

namespace lantern::cuda {

using Shape = TileShape<kMmaRows, kTileCols, kMmaDepth, 2, 2, kMmaStages>;
static_assert(Shape::kThreads == kMmaThreads && TileProduct<Shape, true, true>::kSharedBytes == kMmaShared);

extern __shared__ __align__(128) unsigned char memory[];

// The statistics of all rows of a tile. A row's columns lie in the lanes of a quad, in each of the warps along the columns.
template <class Product>
LANTERN_DEVICE void storeStats(const HeadTask& t, const Product& product, int which, int columns, float invT, int row0, int rows, int tile) {
  TileStat* parts = reinterpret_cast<TileStat*>(memory);  // [kM][kWarpsN]
  const int lane = threadIdx.x % kWarp, col0 = tile * kTileCols + Product::warpCol() + lane % 4 * 2;
  const int part = int(threadIdx.x) / kWarp / Shape::kWarpsM;
#pragma unroll
  for (int i = 0; i < Product::kRowTiles; ++i)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float x[2 * Product::kColTiles];
#pragma unroll
      for (int j = 0; j < 2 * Product::kColTiles; ++j)
        x[j] = floored(product.sums[i][j / 2][half * 2 + j % 2], col0 + j / 2 * 8 + j % 2 < columns);
      const TileStat stat = laneStat<4>(x, invT);
      if (lane % 4 == 0) parts[(Product::warpRow() + lane / 4 + i * 16 + half * 8) * Shape::kWarpsN + part] = stat;
    }
  __syncthreads();
  for (int r = threadIdx.x; r < rows; r += kMmaThreads) {
    TileStat stat = parts[r * Shape::kWarpsN];
    for (int k = 1; k < Shape::kWarpsN; ++k) stat = merge(stat, parts[r * Shape::kWarpsN + k], invT);
    t.stats[which][int64_t(row0 + r) * t.tiles + tile] = stat;
  }
  __syncthreads();
}

// Blocks of the same rows of the weight run side by side.
LANTERN_DEVICE void logits(const HeadTask& t, int first, bool teacher, int rowTiles) {
  const int row0 = int(blockIdx.x) % rowTiles * kMmaRows, tile = int(blockIdx.x) / rowTiles, col0 = tile * kTileCols;
  const int rows = min(kMmaRows, chunkCount(t, first) - row0);
  if (rows <= 0) return;
  const DistillHeadParams& p = t.p;
  const int64_t size = teacher ? p.teacherHiddenSize : p.hiddenSize;
  const bf16* x = static_cast<const bf16*>(teacher ? t.xt : t.x);
  const bf16* w = static_cast<const bf16*>(teacher ? p.teacherWeight : p.weight);
  const int own = teacher ? t.teacherColumns : int(p.vocab);
  TileProduct<Shape, true, true> product;
  if (col0 < own) product.add(sharedAddress(memory), {x + row0 * size, size, rows}, {w + col0 * size, size, own - col0}, int(size));
  float* plane = (teacher ? t.t : t.s) + row0 * t.ld + col0;
  const int width = int(t.ld) - col0;
  product.eachPair([&](int row, int col, float& x0, float& x1) {
    if (row < rows && col < width) *reinterpret_cast<float2*>(plane + row * t.ld + col) = make_float2(x0, x1);
  });
  eachSoftmax(t, teacher, [&](int which, int columns, float invT) { storeStats(t, product, which, columns, invT, row0, rows, tile); });
}

LANTERN_DEVICE const bf16* dlogitsOf(const HeadTask& t) { return reinterpret_cast<const bf16*>(t.s); }

LANTERN_DEVICE void weightGradient(const HeadTask& t, int first, int colTiles) {
  const int rows = chunkCount(t, first);
  if (rows == 0) return;
  const int64_t size = t.p.hiddenSize;
  const int row0 = int(blockIdx.x) / colTiles * kMmaRows, col0 = int(blockIdx.x) % colTiles * kTileCols;
  TileProduct<Shape, false, false> product;
  product.add(sharedAddress(memory), {dlogitsOf(t) + row0, 2 * t.ld, int(t.p.vocab - row0)},
              {static_cast<const bf16*>(t.x) + col0, size, int(size - col0)}, rows);
  float* dweight = t.p.dweight + row0 * size + col0;
  const int height = int(t.p.vocab - row0), width = int(size - col0);
  product.eachPair([&](int row, int col, float& x0, float& x1) {
    if (row >= height) return;
    float* at = dweight + row * size + col;
    if (size % 2 == 0 && reinterpret_cast<uintptr_t>(at) % 8 == 0 && col < width) {
      float2 sum = *reinterpret_cast<float2*>(at);
      sum.x += x0, sum.y += x1;
      *reinterpret_cast<float2*>(at) = sum;
      return;
    }
    if (col < width) at[0] += x0;
    if (col + 1 < width) at[1] += x1;
  });
}

// blockIdx.y: the slice of the vocabulary.
LANTERN_DEVICE void hiddenGradient(const HeadTask& t, int first, int colTiles) {
  const int64_t size = t.p.hiddenSize;
  const int row0 = int(blockIdx.x) / colTiles * kMmaRows, col0 = int(blockIdx.x) % colTiles * kTileCols;
  const int rows = min(kMmaRows, chunkCount(t, first) - row0);
  if (rows <= 0) return;
  const int64_t begin = int64_t(blockIdx.y) * t.sliceRows;
  const int depth = int(min(int64_t(t.sliceRows), t.p.vocab - begin));
  TileProduct<Shape, true, false> product;
  product.add(sharedAddress(memory), {dlogitsOf(t) + row0 * (2 * t.ld) + begin, 2 * t.ld, rows},
              {static_cast<const bf16*>(t.p.weight) + begin * size + col0, size, int(size - col0)}, depth);
  float* partial = t.partial + (int64_t(blockIdx.y) * t.chunkRows + row0) * size + col0;
  const int width = int(size - col0);
  product.eachPair([&](int row, int col, float& x0, float& x1) {
    if (row >= rows) return;
    float* at = partial + row * size + col;
    if (size % 2 == 0 && col < width) *reinterpret_cast<float2*>(at) = make_float2(x0, x1);
    else if (col < width) {
      at[0] = x0;
      if (col + 1 < width) at[1] = x1;
    }
  });
}

}  // namespace lantern::cuda

using namespace lantern;
using namespace lantern::cuda;

extern "C" __global__ void __launch_bounds__(kMmaThreads, 2)
    distillHeadMma_logits(const __grid_constant__ HeadTask t, int first, int teacher, int rowTiles) {
  logits(t, first, teacher, rowTiles);
}
extern "C" __global__ void __launch_bounds__(kMmaThreads, 2)
    distillHeadMma_weightGradient(const __grid_constant__ HeadTask t, int first, int colTiles) {
  weightGradient(t, first, colTiles);
}
extern "C" __global__ void __launch_bounds__(kMmaThreads, 2)
    distillHeadMma_hiddenGradient(const __grid_constant__ HeadTask t, int first, int colTiles) {
  hiddenGradient(t, first, colTiles);
}
