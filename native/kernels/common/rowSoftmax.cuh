// The softmax of a row of logits that a block goes through pack by pack: statistics in one pass, merged in a fixed order. Rows start at any
// element: packs are counted from the last multiple of their size before the row, so that all but the first and last are aligned.
#pragma once
#include "divergenceMath.h"

namespace lantern::cuda {

constexpr int kSoftmaxWarps = 16;  // the most a block has that reduces with these functions

// A pack to global memory in one instruction. Next to the branch for single elements the compiler would split a plain store of a struct.
template <int kWidth, class T>
LANTERN_DEVICE void storeWhole(T* p, const float (&x)[kWidth]) {
  Pack<kWidth, T> pack;
#pragma unroll
  for (int i = 0; i < kWidth; ++i) pack.x[i] = fromFloat<T>(x[i]);
  static_assert(sizeof pack == 8 || sizeof pack == 16);
  if constexpr (sizeof pack == 16) __stwb(reinterpret_cast<uint4*>(p), *reinterpret_cast<const uint4*>(&pack));
  else __stwb(reinterpret_cast<uint2*>(p), *reinterpret_cast<const uint2*>(&pack));
}

// The packs of one row of n columns, kWidth columns each.
template <int kWidth>
struct RowPacks {
  int n, phase, packs;
  bool wide;  // whether the array starts at a multiple of a pack; else single elements are accessed

  LANTERN_DEVICE RowPacks(int64_t row, int64_t columns, bool aligned) : n(int(columns)), wide(aligned) {
    phase = aligned ? int(row * columns % kWidth) : 0;
    packs = (n + phase + kWidth - 1) / kWidth;
  }
  LANTERN_DEVICE int column(int pack) const { return pack * kWidth - phase; }  // of its first element; the first pack's may be negative
  LANTERN_DEVICE bool whole(int col) const { return col >= 0 && col + kWidth <= n; }
  LANTERN_DEVICE bool holds(int col) const { return col >= 0 && col < n; }

  // Elements outside the row are 0.
  template <class T>
  LANTERN_DEVICE Pack<kWidth, T> fetch(const T* row, int col) const {
    if (wide && whole(col)) return *reinterpret_cast<const Pack<kWidth, T>*>(row + col);
    Pack<kWidth, T> pack;
#pragma unroll
    for (int i = 0; i < kWidth; ++i) pack.x[i] = holds(col + i) ? row[col + i] : fromFloat<T>(0.f);
    return pack;
  }
  template <class T>
  LANTERN_DEVICE void store(T* row, int col, const float (&x)[kWidth]) const {
    if (wide && whole(col)) return storeWhole(row + col, x);
#pragma unroll
    for (int i = 0; i < kWidth; ++i)
      if (holds(col + i)) row[col + i] = fromFloat<T>(x[i]);
  }
  // -inf becomes kLowest, what lies outside the row something lower still, whose probability is 0.
  template <class T>
  LANTERN_DEVICE void logits(const Pack<kWidth, T>& pack, int col, float (&x)[kWidth]) const {
    const bool inside = whole(col);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      const float v = toFloat(pack.x[i]);
      x[i] = inside || holds(col + i) ? (v < kLowest ? kLowest : v) : 2 * kLowest;  // NaN passes through
    }
  }
};

// What one thread has seen of a row.
struct SoftmaxPart {
  float max = 2 * kLowest, beside = 0, ties = 0;  // the maximum, the sum of e^((x - max) / T) of what is below it, how often it occurs
  int top = 0;                                    // where first

  template <int kWidth>
  LANTERN_DEVICE void add(const float (&x)[kWidth], int col, float invT) {
    float largest = x[0];
#pragma unroll
    for (int i = 1; i < kWidth; ++i) largest = fmaxf(largest, x[i]);
    if (largest > max) {
      beside = (beside + ties) * expNegative((max - largest) * invT);
      ties = 0;
      max = largest;
#pragma unroll
      for (int i = kWidth - 1; i >= 0; --i)
        if (x[i] == largest) top = col + i;
    }
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      const bool tie = x[i] == max;
      beside += tie ? 0.f : expNegative((x[i] - max) * invT);
      ties += tie ? 1.f : 0.f;
    }
  }
};

// The largest term of a softmax is 1 and left out of `rest`: next to it a confident softmax's other terms would lose their digits.
struct SoftmaxStats {
  float max;
  int top;
  double rest;  // sum of e^((x - max) / T) beside the largest term; -1 where there is nothing

  LANTERN_DEVICE double logZ() const { return std::log1p(rest); }
};
LANTERN_DEVICE SoftmaxStats statsOf(const SoftmaxPart& part) { return {part.max, part.top, double(part.beside) + (double(part.ties) - 1)}; }

LANTERN_DEVICE SoftmaxStats merge(const SoftmaxStats& a, const SoftmaxStats& b, float invT) {
  if (a.max == b.max) return {a.max, min(a.top, b.top), (a.rest + b.rest) + 1};
  const bool larger = a.max > b.max;
  const double e = expNegative(-abs(a.max - b.max) * invT);
  return {larger ? a.max : b.max, larger ? a.top : b.top, (larger ? a.rest : b.rest) + e * ((larger ? b.rest : a.rest) + 1)};
}

// Over all threads of a block, to every thread. `scratch` has one entry a warp and may be used again after a __syncthreads.
LANTERN_DEVICE SoftmaxStats blockStats(SoftmaxStats x, float invT, SoftmaxStats* scratch) {
#pragma unroll
  for (int step = kWarp / 2; step > 0; step /= 2)
    x = merge(x, {__shfl_xor_sync(kAllLanes, x.max, step), __shfl_xor_sync(kAllLanes, x.top, step), __shfl_xor_sync(kAllLanes, x.rest, step)}, invT);
  if (threadIdx.x % kWarp == 0) scratch[threadIdx.x / kWarp] = x;
  __syncthreads();
  x = scratch[0];
  for (int w = 1; w < int(blockDim.x) / kWarp; ++w) x = merge(x, scratch[w], invT);
  return x;
}

// A float32 sum that keeps what its additions round away (Knuth's two-sum).
struct CompensatedSum {
  float sum = 0, error = 0;

  LANTERN_DEVICE void add(float x) {
    const float total = sum + x, back = total - sum;
    error += (sum - (total - back)) + (x - back);
    sum = total;
  }
  LANTERN_DEVICE double value() const { return double(sum) + double(error); }
};

}  // namespace lantern::cuda
