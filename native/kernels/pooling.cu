// Sequences are checked by a launch of its own (pooling_check); what comes after it stays within bounds whatever they are.
#include "common/gather.cuh"
#include "common/rowBlock.cuh"
#include "common/sortedRuns.cuh"
#include "pooling.h"
#include "poolingShape.h"
#include "sortIds.h"

namespace lantern::cuda {

LANTERN_DEVICE const char* nameOf(PooledBy by) {
  switch (by) {
    case PooledBy::lastTokenPooling: return "lastTokenPooling";
    case PooledBy::lastTokenPoolingBackward: return "lastTokenPoolingBackward";
    case PooledBy::meanPooling: return "meanPooling";
    default: return "meanPoolingBackward";
  }
}

template <class T>
LANTERN_DEVICE void lastToken(const LastTokenPoolingParams& p, const RowWalk& w) {
  walk<T>(
      w,
      [&](int64_t s, int64_t col, auto width) {
        const int64_t row = int64_t(p.cuSeqlens[s + 1]) - 1;
        return row >= 0 && row < p.tokens ? fetch<width.value>(static_cast<const T*>(p.x) + row * p.cols + col) : Pack<width.value, T>{};
      },
      [&](int64_t s, int64_t col, auto, const auto& v) { put(static_cast<T*>(p.y) + s * p.cols + col, v); });
}

// Row t of the walk is a token: where it is the last of a sequence it receives that one's gradient.
template <class T>
LANTERN_DEVICE void lastTokenBackward(const LastTokenPoolingBackwardParams& p, const RowWalk& w) {
  walk<T>(
      w,
      [&](int64_t t, int64_t col, auto width) {
        const int32_t* ends = p.cuSeqlens + 1;
        const int64_t s = lowerBound(ends, 0, p.sequences, t + 1);
        const bool last = s < p.sequences && ends[s] == t + 1;
        return last ? fetch<width.value>(static_cast<const T*>(p.dy) + s * p.cols + col) : Pack<width.value, T>{};
      },
      [&](int64_t t, int64_t col, auto, const auto& v) { put(static_cast<T*>(p.dx) + t * p.cols + col, v); });
}

// A block sums kPoolLanes packs of columns of one sequence: warp w the tokens w, w + 8, ..., then the warps' sums in order.
template <int kWidth, class T>
LANTERN_DEVICE void meanColumns(const MeanPoolingParams& p, uint32_t tiles, float* sums) {
  constexpr int kWarps = kPoolThreads / kPoolLanes, kCols = kPoolLanes * kWidth;
  const int lane = threadIdx.x % kPoolLanes, warp = threadIdx.x / kPoolLanes;
  const int64_t s = blockIdx.x / tiles, firstCol = int64_t(blockIdx.x % tiles) * kCols, col = firstCol + lane * kWidth;
  const int64_t begin = max(p.cuSeqlens[s], 0), end = min(int64_t(p.cuSeqlens[s + 1]), p.tokens);
  const T* x = static_cast<const T*>(p.x) + col;
  Floats<kWidth> sum = {};
  if (col < p.cols) {
#pragma unroll 4
    for (int64_t t = begin + warp; t < end; t += kWarps) {
      const Floats<kWidth> v = load<kWidth>(x + t * p.cols);
      for (int i = 0; i < kWidth; ++i) sum.x[i] += v.x[i];
    }
  }
  storePack<kWidth>(sums + warp * kCols + lane * kWidth, sum.x);
  __syncthreads();
  const int64_t mine = firstCol + threadIdx.x;
  if (threadIdx.x >= kCols || mine >= p.cols) return;
  float total = 0;
  for (int w = 0; w < kWarps; ++w) total += sums[w * kCols + threadIdx.x];
  static_cast<T*>(p.y)[s * p.cols + mine] = fromFloat<T>(total * (1.f / float(end - begin)));
}

template <class T>
LANTERN_DEVICE void mean(const MeanPoolingParams& p, int width, uint32_t tiles) {
  constexpr int kWide = 16 / sizeof(T);
  __shared__ __align__(16) float sums[kPoolThreads * kWide];
  if (width == kWide) meanColumns<kWide, T>(p, tiles, sums);
  else meanColumns<1, T>(p, tiles, sums);
}

// Row t of the walk is a token; tokens behind the last sequence belong to none.
template <class T>
LANTERN_DEVICE void meanBackward(const MeanPoolingBackwardParams& p, const RowWalk& w) {
  walk<T>(
      w,
      [&](int64_t t, int64_t col, auto width) {
        const int64_t s = lowerBound(p.cuSeqlens, 0, p.sequences + 1, t + 1) - 1;  // the last that starts at or before t
        if (s < 0 || s == p.sequences) return Floats<width.value>{};
        const float scale = 1.f / float(p.cuSeqlens[s + 1] - p.cuSeqlens[s]);
        auto v = load<width.value>(static_cast<const T*>(p.dy) + s * p.cols + col);
        for (float& x : v.x) x *= scale;
        return v;
      },
      [&](int64_t t, int64_t col, auto, const auto& v) { store(static_cast<T*>(p.dx) + t * p.cols + col, v); });
}

// Row r of the walk is one of dx: the sum of the run of r in the sorted row indices, which may be empty.
template <class T>
LANTERN_DEVICE void gatherBackward(const GatherRowsBackwardParams& p, const RowWalk& w, const SortedIds& sorted) {
  walkEach<T>(w, [&](int64_t r, int64_t col, auto width) {
    const int64_t begin = lowerBound(sorted.ids, 0, p.count, r), end = lowerBound(sorted.ids, begin, p.count, r + 1);
    Floats<width.value> total = {};
    addRun(total, static_cast<const T*>(p.dy), sorted.positions, begin, end, p.cols, col);
    store(static_cast<T*>(p.dx) + r * p.cols + col, total);
  });
}

template <int kWidth, class T>
LANTERN_DEVICE void normalizeRow(const L2NormalizeParams& p, float (&scratch)[2][kWarp]) {
  const T* x = static_cast<const T*>(p.x) + blockIdx.x * p.cols;
  T* y = static_cast<T*>(p.y) + blockIdx.x * p.cols;
  Floats<kWidth> held[kHeldPacks];
  // Scaled by the largest magnitude first: the square of a float32 beyond 1.8e19 is infinite.
  float top = 0;
  const auto largestOf = [&](const Floats<kWidth>& v) {
    for (const float e : v.x) top = fmaxf(top, fabsf(e));
  };
  eachHeld<kWidth>(p.cols, [&](int k, int64_t col) { largestOf(held[k] = load<kWidth>(x + col)); });
  eachBeyond<kWidth>(p.cols, [&](int64_t col) { largestOf(load<kWidth>(x + col)); });
  const float largest = fmaxf(blockReduce(top, Max{}, scratch[0]), 1e-37f), inverse = 1.f / largest;

  float square = 0;
  const auto squareOf = [&](const Floats<kWidth>& v) {
    for (const float e : v.x) square += (e * inverse) * (e * inverse);
  };
  eachHeld<kWidth>(p.cols, [&](int k, int64_t) { squareOf(held[k]); });
  eachBeyond<kWidth>(p.cols, [&](int64_t col) { squareOf(load<kWidth>(x + col)); });
  const float norm = fmaxf(sqrtf(blockReduce(square, Sum{}, scratch[1])) * largest, float(p.eps));

  const auto write = [&](int64_t col, Floats<kWidth> v) {
    for (float& e : v.x) e = e / norm;
    store(y + col, v);
  };
  eachHeld<kWidth>(p.cols, [&](int k, int64_t col) { write(col, held[k]); });
  eachBeyond<kWidth>(p.cols, [&](int64_t col) { write(col, load<kWidth>(x + col)); });
  if (p.norm && threadIdx.x == 0) p.norm[blockIdx.x] = norm;
}

template <int kWidth, class T>
LANTERN_DEVICE void normalizeBackwardRow(const L2NormalizeBackwardParams& p, float (&scratch)[2][kWarp]) {
  const int64_t at = blockIdx.x * p.cols;
  const T *dy = static_cast<const T*>(p.dy) + at, *x = static_cast<const T*>(p.x) + at;
  const float norm = p.norm[blockIdx.x], inverse = 1.f / norm;
  float dot = 0;
  const auto multiply = [&](const Floats<kWidth>& d, const Floats<kWidth>& v) {
    for (int i = 0; i < kWidth; ++i) dot += d.x[i] * (v.x[i] * inverse);
  };
  Floats<kWidth> heldDy[kHeldPacks], heldX[kHeldPacks];
  eachHeld<kWidth>(p.cols, [&](int k, int64_t col) { multiply(heldDy[k] = load<kWidth>(dy + col), heldX[k] = load<kWidth>(x + col)); });
  eachBeyond<kWidth>(p.cols, [&](int64_t col) { multiply(load<kWidth>(dy + col), load<kWidth>(x + col)); });

  const float sum = blockReduce(dot, Sum{}, scratch[0]), along = norm > float(p.eps) ? sum : 0.f;
  const auto write = [&](int64_t col, Floats<kWidth> d, const Floats<kWidth>& v) {
    for (int i = 0; i < kWidth; ++i) d.x[i] = (d.x[i] - v.x[i] * inverse * along) * inverse;
    store(static_cast<T*>(p.dx) + at + col, d);
  };
  eachHeld<kWidth>(p.cols, [&](int k, int64_t col) { write(col, heldDy[k], heldX[k]); });
  eachBeyond<kWidth>(p.cols, [&](int64_t col) { write(col, load<kWidth>(dy + col), load<kWidth>(x + col)); });
}

template <class T>
LANTERN_DEVICE void normalize(const L2NormalizeParams& p, int width) {
  __shared__ float scratch[2][kWarp];
  if (width == 16 / sizeof(T)) normalizeRow<16 / sizeof(T), T>(p, scratch);
  else normalizeRow<1, T>(p, scratch);
}

template <class T>
LANTERN_DEVICE void normalizeBackward(const L2NormalizeBackwardParams& p, int width) {
  __shared__ float scratch[2][kWarp];
  if (width == 16 / sizeof(T)) normalizeBackwardRow<16 / sizeof(T), T>(p, scratch);
  else normalizeBackwardRow<1, T>(p, scratch);
}

}  // namespace lantern::cuda

using namespace lantern;
using namespace lantern::cuda;

extern "C" __global__ void __launch_bounds__(kPoolThreads, 4)
    pooling_check(const int32_t* cuSeqlens, int64_t sequences, int64_t tokens, PooledBy by, Fault* fault) {
  const int64_t s = int64_t(blockIdx.x) * kPoolThreads + threadIdx.x;
  if (s >= sequences) return;
  const int64_t begin = cuSeqlens[s], end = cuSeqlens[s + 1];
  if (s == 0 && begin != 0) report(fault, FaultKind::sequenceStart, nameOf(by), begin);
  else if (end == begin) report(fault, FaultKind::emptySequence, nameOf(by), s);
  else if (end < begin || end > tokens) report(fault, FaultKind::sequenceRange, nameOf(by), s, begin << 32 | (end & 0xffffffff), tokens);
}

#define LANTERN_POOLING_WALK(name, Params, body) \
  extern "C" __global__ void __launch_bounds__(kWalkThreads, kWalkBlocks) name(const __grid_constant__ Params p, const __grid_constant__ RowWalk w) { body(p, w); }
#define LANTERN_POOLING_ROW(name, Params, body) \
  extern "C" __global__ void __launch_bounds__(kRowThreads, 1) name(const __grid_constant__ Params p, int width) { body(p, width); }

LANTERN_POOLING_WALK(pooling_last32, LastTokenPoolingParams, lastToken<uint32_t>)
LANTERN_POOLING_WALK(pooling_last16, LastTokenPoolingParams, lastToken<uint16_t>)
LANTERN_POOLING_WALK(pooling_lastBackward32, LastTokenPoolingBackwardParams, lastTokenBackward<uint32_t>)
LANTERN_POOLING_WALK(pooling_lastBackward16, LastTokenPoolingBackwardParams, lastTokenBackward<uint16_t>)
LANTERN_POOLING_WALK(pooling_meanBackwardF32, MeanPoolingBackwardParams, meanBackward<float>)
LANTERN_POOLING_WALK(pooling_meanBackwardBf16, MeanPoolingBackwardParams, meanBackward<bf16>)
LANTERN_POOLING_ROW(pooling_l2F32, L2NormalizeParams, normalize<float>)
LANTERN_POOLING_ROW(pooling_l2Bf16, L2NormalizeParams, normalize<bf16>)
LANTERN_POOLING_ROW(pooling_l2BackwardF32, L2NormalizeBackwardParams, normalizeBackward<float>)
LANTERN_POOLING_ROW(pooling_l2BackwardBf16, L2NormalizeBackwardParams, normalizeBackward<bf16>)

#define LANTERN_POOLING(bits, suffix, T)                                                                                                      \
  extern "C" __global__ void __launch_bounds__(kPoolThreads, 4)                                                                                  \
      pooling_mean##suffix(const __grid_constant__ MeanPoolingParams p, int width, uint32_t tiles) { mean<T>(p, width, tiles); }              \
  extern "C" __global__ void __launch_bounds__(kWalkThreads, kWalkBlocks)                                                                                  \
      pooling_gather##bits(const __grid_constant__ GatherRowsParams p, const __grid_constant__ RowWalk w, Fault* fault) {                     \
    gather(w, static_cast<const uint##bits##_t*>(p.x), p.rows, static_cast<uint##bits##_t*>(p.y), p.xRows, fault, "gatherRows: row");         \
  }                                                                                                                                           \
  extern "C" __global__ void __launch_bounds__(kWalkThreads, kWalkBlocks) pooling_gatherBackward##suffix(                                                  \
      const __grid_constant__ GatherRowsBackwardParams p, const __grid_constant__ RowWalk w, const __grid_constant__ SortedIds sorted) {      \
    gatherBackward<T>(p, w, sorted);                                                                                                          \
  }

LANTERN_POOLING(32, F32, float)
LANTERN_POOLING(16, Bf16, bf16)
