// The distillation head's products where an operand is float32: full float32 multiply-adds. A warp has eight rows and all columns of a tile,
// so that a row's statistics are a warp's. Products are summed in runs, and the runs then: one long float32 sum would cost a confident
// softmax its digits.
#include "distillHeadStats.cuh"

namespace lantern::cuda {

constexpr int kDepth = 16, kRun = 4;                  // of the reduction in a stage; stages in a run
constexpr int kThreadRows = kFloatRows * kWarp / kFloatThreads, kThreadCols = kTileCols / kWarp;
static_assert(kThreadRows == 8 && kThreadCols == 4);

// kRows rows by kDepth of the reduction, from global memory through registers to shared memory, where they lie [depth][row].
// element(row, l) = data[row * ld + l] if kInner, else data[l * ld + row].
template <class T, int kRows, bool kInner>
class FloatCopier {
  static constexpr int kHeld = kRows * kDepth / kFloatThreads;
  static constexpr int kStepRows = kInner ? kFloatThreads / 8 : 0, kStepLines = kInner ? 8 : kFloatThreads / kRows;

 public:
  static constexpr int kLine = kRows + 4;  // eight lines times four rows cover all banks

  LANTERN_DEVICE FloatCopier(const T* data, int64_t ld, int rows, int depth) : ld_(ld) {
    const int thread = threadIdx.x;
    row_ = kInner ? thread / 8 : thread % kRows, line_ = kInner ? thread % 8 : thread / kRows;
    rows_ = rows - row_, depth_ = depth - line_;
    from_ = data + (kInner ? row_ * ld + line_ : line_ * ld + row_);
  }
  LANTERN_DEVICE void fetchNext() {
#pragma unroll
    for (int i = 0; i < kHeld; ++i)
      held_[i] = rowOf(i) < rows_ && lineOf(i) < depth_ ? toFloat(from_[kInner ? rowOf(i) * ld_ + lineOf(i) : lineOf(i) * ld_ + rowOf(i)]) : 0.f;
    from_ += kInner ? int64_t(kDepth) : kDepth * ld_;
    depth_ -= kDepth;
  }
  LANTERN_DEVICE void put(float* stage) const {
#pragma unroll
    for (int i = 0; i < kHeld; ++i) stage[(line_ + lineOf(i)) * kLine + row_ + rowOf(i)] = held_[i];
  }

 private:
  static LANTERN_DEVICE constexpr int rowOf(int i) { return kInner ? i / 2 * kStepRows : 0; }
  static LANTERN_DEVICE constexpr int lineOf(int i) { return kInner ? i % 2 * kStepLines : i * kStepLines; }

  const T* from_;
  int64_t ld_;
  int row_, line_, rows_, depth_;  // rows and depth that exist from this thread's first element on
  float held_[kHeld];
};

template <class A, class B>
struct FloatProduct {
  float sums[kThreadRows][kThreadCols] = {};

  static LANTERN_DEVICE int row() { return int(threadIdx.x) / kWarp * kThreadRows; }
  static LANTERN_DEVICE int col() { return int(threadIdx.x) % kWarp * kThreadCols; }

  LANTERN_DEVICE void add(A a, B b, int depth) {
    __shared__ __align__(16) float stageA[2][kDepth * A::kLine], stageB[2][kDepth * B::kLine];
    float run[kThreadRows][kThreadCols] = {};
    a.fetchNext(), b.fetchNext();
    a.put(stageA[0]), b.put(stageB[0]);
    __syncthreads();
    const int stages = (depth + kDepth - 1) / kDepth;
#pragma unroll 1
    for (int i = 0; i < stages; ++i) {
      if (i + 1 < stages) a.fetchNext(), b.fetchNext();
#pragma unroll
      for (int l = 0; l < kDepth; ++l) {
        float x[kThreadRows], y[kThreadCols];
        loadPack(stageA[i % 2] + l * A::kLine + row(), x);
        loadPack(stageB[i % 2] + l * B::kLine + col(), y);
#pragma unroll
        for (int r = 0; r < kThreadRows; ++r)
#pragma unroll
          for (int c = 0; c < kThreadCols; ++c) run[r][c] = fmaf(x[r], y[c], run[r][c]);
      }
      if (i % kRun == kRun - 1 || i + 1 == stages) {
#pragma unroll
        for (int r = 0; r < kThreadRows; ++r)
#pragma unroll
          for (int c = 0; c < kThreadCols; ++c) sums[r][c] += run[r][c], run[r][c] = 0;
      }
      if (i + 1 < stages) a.put(stageA[(i + 1) % 2]), b.put(stageB[(i + 1) % 2]);
      __syncthreads();
    }
  }
};

// fn(row, first column, the logits of up to four columns)
template <class Product, class F>
LANTERN_DEVICE void eachRow(Product& product, int rows, F&& fn) {
#pragma unroll
  for (int r = 0; r < kThreadRows; ++r)
    if (Product::row() + r < rows) fn(Product::row() + r, Product::col(), product.sums[r]);
}

template <class W>
LANTERN_DEVICE void logits(const HeadTask& t, int first, bool teacher, int rowTiles) {
  const int row0 = int(blockIdx.x) % rowTiles * kFloatRows, tile = int(blockIdx.x) / rowTiles, col0 = tile * kTileCols;
  const int rows = min(kFloatRows, chunkCount(t, first) - row0);
  if (rows <= 0) return;
  const DistillHeadParams& p = t.p;
  const int64_t size = teacher ? p.teacherHiddenSize : p.hiddenSize;
  const float* x = static_cast<const float*>(teacher ? t.xt : t.x) + row0 * size;
  const W* w = static_cast<const W*>(teacher ? p.teacherWeight : p.weight) + col0 * size;
  const int own = teacher ? t.teacherColumns : int(p.vocab);
  using CopierX = FloatCopier<float, kFloatRows, true>;
  using CopierW = FloatCopier<W, kTileCols, true>;
  FloatProduct<CopierX, CopierW> product;
  if (col0 < own) product.add(CopierX(x, size, rows, int(size)), CopierW(w, size, own - col0, int(size)), int(size));
  float* plane = (teacher ? t.t : t.s) + row0 * t.ld + col0;
  const int width = int(t.ld) - col0;
  eachRow(product, rows, [&](int row, int col, const float(&v)[kThreadCols]) {
    if (col < width) storePack(plane + row * t.ld + col, v);
  });
  eachSoftmax(t, teacher, [&](int which, int columns, float invT) {
    eachRow(product, rows, [&](int row, int col, const float(&v)[kThreadCols]) {  // a warp has the same rows in all lanes
      float logit[kThreadCols];
#pragma unroll
      for (int c = 0; c < kThreadCols; ++c) logit[c] = floored(v[c], col0 + col + c < columns);
      const TileStat stat = laneStat<kWarp>(logit, invT);
      if (threadIdx.x % kWarp == 0) t.stats[which][int64_t(row0 + row) * t.tiles + tile] = stat;
    });
  });
}

LANTERN_DEVICE void weightGradient(const HeadTask& t, int first, int colTiles) {
  const int rows = chunkCount(t, first);
  if (rows == 0) return;
  const int64_t size = t.p.hiddenSize, row0 = int64_t(blockIdx.x) / colTiles * kFloatRows, col0 = int64_t(blockIdx.x) % colTiles * kTileCols;
  using CopierD = FloatCopier<float, kFloatRows, false>;
  using CopierX = FloatCopier<float, kTileCols, false>;
  FloatProduct<CopierD, CopierX> product;
  product.add(CopierD(t.s + row0, t.ld, int(t.p.vocab - row0), rows),
              CopierX(static_cast<const float*>(t.x) + col0, size, int(size - col0), rows), rows);
  float* dweight = t.p.dweight + row0 * size + col0;
  const int width = int(size - col0);
  eachRow(product, int(min(int64_t(kFloatRows), t.p.vocab - row0)), [&](int row, int col, const float(&v)[kThreadCols]) {
    float* at = dweight + row * size + col;
    if (size % 4 == 0 && reinterpret_cast<uintptr_t>(dweight) % 16 == 0 && col < width) {
      float sum[kThreadCols];
      loadPack(at, sum);
#pragma unroll
      for (int c = 0; c < kThreadCols; ++c) sum[c] += v[c];
      return storePack(at, sum);
    }
#pragma unroll
    for (int c = 0; c < kThreadCols; ++c)
      if (col + c < width) at[c] += v[c];
  });
}

// blockIdx.y: the slice of the vocabulary.
template <class W>
LANTERN_DEVICE void hiddenGradient(const HeadTask& t, int first, int colTiles) {
  const int64_t size = t.p.hiddenSize, row0 = int64_t(blockIdx.x) / colTiles * kFloatRows, col0 = int64_t(blockIdx.x) % colTiles * kTileCols;
  const int rows = min(kFloatRows, chunkCount(t, first) - int(row0));
  if (rows <= 0) return;
  const int64_t begin = int64_t(blockIdx.y) * t.sliceRows;
  const int depth = int(min(int64_t(t.sliceRows), t.p.vocab - begin));
  using CopierD = FloatCopier<float, kFloatRows, true>;
  using CopierW = FloatCopier<W, kTileCols, false>;
  FloatProduct<CopierD, CopierW> product;
  product.add(CopierD(t.s + row0 * t.ld + begin, t.ld, rows, depth),
              CopierW(static_cast<const W*>(t.p.weight) + begin * size + col0, size, int(size - col0), depth), depth);
  float* partial = t.partial + (int64_t(blockIdx.y) * t.chunkRows + row0) * size + col0;
  const int width = int(size - col0);
  eachRow(product, rows, [&](int row, int col, const float(&v)[kThreadCols]) {
    float* at = partial + row * size + col;
    if (size % 4 == 0 && col < width) return storePack(at, v);
#pragma unroll
    for (int c = 0; c < kThreadCols; ++c)
      if (col + c < width) at[c] = v[c];
  });
}

}  // namespace lantern::cuda

using namespace lantern;
using namespace lantern::cuda;

#define LANTERN_HEAD_FLOAT(suffix, W)                                                                              \
  extern "C" __global__ void __launch_bounds__(kFloatThreads, 2)                                                   \
      distillHeadFloat_logits##suffix(const __grid_constant__ HeadTask t, int first, int teacher, int rowTiles) {  \
    logits<W>(t, first, teacher, rowTiles);                                                                        \
  }                                                                                                                \
  extern "C" __global__ void __launch_bounds__(kFloatThreads, 2)                                                   \
      distillHeadFloat_hiddenGradient##suffix(const __grid_constant__ HeadTask t, int first, int colTiles) {       \
    hiddenGradient<W>(t, first, colTiles);                                                                         \
  }
LANTERN_HEAD_FLOAT(F32, float)
LANTERN_HEAD_FLOAT(Bf16, bf16)

extern "C" __global__ void __launch_bounds__(kFloatThreads, 2)
    distillHeadFloat_weightGradient(const __grid_constant__ HeadTask t, int first, int colTiles) {
  weightGradient(t, first, colTiles);
}
