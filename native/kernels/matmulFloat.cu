// Products of operands of any dtype and layout: full float32 multiply-adds. Tiles of both operands lie in shared memory as [k][rows] whatever
// they are in global memory; a thread multiplies blocks of four rows and four columns. The next tile is on its way in registers meanwhile.
#include "matmulEpilogue.cuh"

namespace lantern::cuda {

// Tiles of kRows rows (of a; columns of b) by k of the reduction, from global memory through registers to shared memory.
template <int kRows, int kThreads>
class FloatTileCopier {
  static constexpr int kDepth = FloatTile::k, kHeld = kRows * kDepth / kThreads;
  static constexpr int kRowStep = kThreads / 8;         // inner: a warp reads four rows by eight of the reduction, whole sectors of float32
  static constexpr int kDepthStep = kThreads / kRows;   // else: it reads neighbouring rows
  static_assert(kRows % kRowStep == 0 && kThreads % kRows == 0);

 public:
  static constexpr int kLd = kRows + 4;  // eight lines times four rows cover all banks
  static constexpr int kFloats = kDepth * kLd;

  // data: the matrix, `at`: where in it the tile begins.
  LANTERN_DEVICE FloatTileCopier(const void* data, int64_t dtype, int64_t at, int64_t ld, bool inner, int rows, int depth)
      : data_(data), half_(dtype == kBfloat16), inner_(inner), depth_(depth) {
    const int thread = threadIdx.x;
    row_ = inner ? thread / 8 : thread % kRows, line_ = inner ? thread % 8 : thread / kRows;
    rowStep_ = inner ? ld : 1, lineStep_ = inner ? 1 : ld, rows_ = rows - row_;
    at_ = at + row_ * rowStep_ + line_ * lineStep_;
  }

  LANTERN_DEVICE void fetchNext() {
    if (half_) fetchAs<bf16>();
    else fetchAs<float>();
    at_ += kDepth * lineStep_, depth_ -= kDepth;
  }
  LANTERN_DEVICE void put(float* tile) const {
    float* to = tile + line_ * kLd + row_;
#pragma unroll
    for (int i = 0; i < kHeld; ++i) to[inner_ ? i % 2 * 8 * kLd + i / 2 * kRowStep : i * kDepthStep * kLd] = held_[i];
  }

 private:
  template <class T>
  LANTERN_DEVICE void fetchAs() {
    if (inner_) fetch<T>([](int i) { return i / 2 * kRowStep; }, [](int i) { return i % 2 * 8; });
    else fetch<T>([](int) { return 0; }, [](int i) { return i * kDepthStep; });
  }
  template <class T, class Row, class Line>
  LANTERN_DEVICE void fetch(Row rowOf, Line lineOf) {
    const T* from = static_cast<const T*>(data_) + at_;
#pragma unroll
    for (int i = 0; i < kHeld; ++i) {
      const bool inside = rowOf(i) < rows_ && line_ + lineOf(i) < depth_;
      held_[i] = inside ? toFloat(from[rowOf(i) * rowStep_ + lineOf(i) * lineStep_]) : 0.f;
    }
  }

  const void* data_;
  int64_t at_, rowStep_, lineStep_;
  bool half_, inner_;
  int row_, line_, rows_, depth_;
  float held_[kHeld];
};

template <int count>
LANTERN_DEVICE void loadBlocks(const float* line, int step, float (&x)[count]) {
#pragma unroll
  for (int i = 0; i < count; i += 4) {
    const float4 v = *reinterpret_cast<const float4*>(line + i / 4 * step);
    x[i] = v.x, x[i + 1] = v.y, x[i + 2] = v.z, x[i + 3] = v.w;
  }
}

template <FloatTile tile>
LANTERN_DEVICE void multiplyFloat(const MatmulTask& t) {
  using CopierA = FloatTileCopier<tile.m, tile.threads()>;
  using CopierB = FloatTileCopier<tile.n, tile.threads()>;
  constexpr int kStage = CopierA::kFloats + CopierB::kFloats;
  constexpr int kBlocksM = tile.threadM / 4, kBlocksN = tile.threadN / 4, kStepM = tile.m / kBlocksM, kStepN = tile.n / kBlocksN;
  __shared__ __align__(16) float stages[2][kStage];
  const MatmulParams& p = t.p;
  const int64_t row0 = int64_t(int(blockIdx.x) / t.colTiles) * tile.m, col0 = int64_t(int(blockIdx.x) % t.colTiles) * tile.n, k = blockIdx.y * t.part;
  const int depth = int(min(t.part, p.k - k));
  CopierA a(p.a, p.aDtype, p.transposeA ? k * p.lda + row0 : row0 * p.lda + k, p.lda, !p.transposeA, int(p.m - row0), depth);
  CopierB b(p.b, p.bDtype, p.transposeB ? col0 * p.ldb + k : k * p.ldb + col0, p.ldb, p.transposeB, int(p.n - col0), depth);

  // A warp's lanes are four rows of eight threads, so that its reads of shared memory are of few lines.
  constexpr int kWarpsN = tile.n / tile.threadN / 8;
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  const int row = (warp / kWarpsN * 4 + lane / 8) * 4, col = (warp % kWarpsN * 8 + lane % 8) * 4;
  float sums[tile.threadM][tile.threadN] = {};
  const auto fetchNext = [&] { a.fetchNext(), b.fetchNext(); };
  const auto put = [&](float* stage) { a.put(stage), b.put(stage + CopierA::kFloats); };
  fetchNext(), put(stages[0]);
  __syncthreads();
  const int tiles = (depth + tile.k - 1) / tile.k;
#pragma unroll 1
  for (int i = 0; i < tiles; ++i) {
    if (i + 1 < tiles) fetchNext();
    const float* stage = stages[i % 2];
#pragma unroll
    for (int l = 0; l < tile.k; ++l) {
      float x[tile.threadM], y[tile.threadN];
      loadBlocks(stage + l * CopierA::kLd + row, kStepM, x);
      loadBlocks(stage + CopierA::kFloats + l * CopierB::kLd + col, kStepN, y);
#pragma unroll
      for (int r = 0; r < tile.threadM; ++r)
#pragma unroll
        for (int c = 0; c < tile.threadN; ++c) sums[r][c] = fmaf(x[r], y[c], sums[r][c]);
    }
    if (i + 1 < tiles) put(stages[(i + 1) % 2]);
    __syncthreads();
  }
#pragma unroll 1
  for (int block = 0; block < kBlocksM * kBlocksN; ++block) {
    float v[4][4];
#pragma unroll
    for (int r = 0; r < tile.threadM; ++r)  // registers have no index
#pragma unroll
      for (int c = 0; c < tile.threadN; ++c)
        if (r / 4 * kBlocksN + c / 4 == block) v[r % 4][c % 4] = sums[r][c];
    finishPart(t, int(blockIdx.y), row0 + row + block / kBlocksN * kStepM, 1, col0 + col + block % kBlocksN * kStepN, v);
  }
}

}  // namespace lantern::cuda

using namespace lantern;
using namespace lantern::cuda;

// With two blocks on a multiprocessor, one multiplies while the other waits.
#define LANTERN_MATMUL_FLOAT(name, tile)                                                  \
  extern "C" __global__ void __launch_bounds__(tile.threads(), 512 / tile.threads())      \
      matmulFloat_##name(const __grid_constant__ MatmulTask t) { multiplyFloat<tile>(t); }

LANTERN_MATMUL_FLOAT(large, kLargeFloatTile)
LANTERN_MATMUL_FLOAT(small, kSmallFloatTile)
