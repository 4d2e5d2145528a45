// Decode: a few query rows against many cached keys, bound by reading the cache. One dot product per (row, key) and no packing: a key's
// row is read where it lies, once for all query rows of its group (bfloat16 rows are widened into L1 first when several rows need them).
#pragma once
#include "attentionSoftmax.h"

namespace lantern::LANTERN_ISA {

constexpr int64_t kDotRows = 4;     // query rows that dot products still beat panels for
constexpr int64_t kBlockKeys = 64;  // keys per step of the online softmax

// The elements [0, n) of the rows, V at a time: y[v] += p * row[v].
template <int V, class K>
LANTERN_INLINE void addRows(float* y, const float* p, float alpha, const K* const* rows, int64_t at, int64_t n) {
  vfloat acc[V];
#pragma GCC unroll 8
  for (int v = 0; v < V; ++v) acc[v] = load(y + at + v * kLanes) * alpha;
  for (int64_t j = 0; j < n; ++j) {
    const K* row = rows[j] + at;
    const float weight = p[j];
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) acc[v] += load(row + v * kLanes) * weight;
  }
#pragma GCC unroll 8
  for (int v = 0; v < V; ++v) store(y + at + v * kLanes, acc[v]);
}

// The state of up to kDotRows query rows over the keys seen so far: sum of 2^(s - top) v, largest s, sum of 2^(s - top) per row, where
// s = q . k is in powers of two (q comes multiplied by scale * log2(e)).
struct RowState {
  float *out, *top, *total;  // [rows][headDim], [rows], [rows]

  static int64_t floats(int64_t rows, int64_t headDim) { return rows * (headDim + 2); }
  RowState(float* memory, int64_t rows, int64_t headDim) : out(memory), top(memory + rows * headDim), total(top + rows) {}
  void reset(int64_t rows, int64_t headDim) const {
    std::fill_n(out, rows * headDim, 0.f);
    std::fill_n(top, rows, kMasked);
    std::fill_n(total, rows, 0.f);
  }
};

class FewRows {
 public:
  static int64_t floats(int64_t headDim) { return 2 * kBlockKeys * headDim + kDotRows * (headDim + kLanes) + kBlockKeys; }
  FewRows(float* work, int64_t headDim) : headDim_(headDim) {
    keys_ = work, values_ = keys_ + kBlockKeys * headDim;
    queries_ = values_ + kBlockKeys * headDim;
    scores_ = queries_ + kDotRows * (headDim + kLanes);
  }

  template <class T>
  void query(int64_t row, const T* q, float factor) {
    float* to = queries_ + row * headDim_;
    for (int64_t d = 0; d < headDim_; d += kLanes) storePart(to + d, loadPart(q + d, headDim_ - d) * factor, headDim_ - d);
  }

  // A block of n <= kBlockKeys keys, of which row r sees those in [low[r], high[r]).
  template <class C>
  void attend(const RowState& state, int64_t rows, const C** k, const C** v, int64_t n, const int64_t* low, const int64_t* high) {
    if constexpr (!std::is_same_v<C, float>) {
      if (rows > 2) {
        const float *wideK[kBlockKeys], *wideV[kBlockKeys];
        widen(keys_, wideK, k, n);
        widen(values_, wideV, v, n);
        return attend<float>(state, rows, wideK, wideV, n, low, high);
      }
    }
    for (int64_t i = n; i < roundUp(n, kLanes); ++i) k[i] = k[n - 1];
    for (int64_t r = 0; r < rows; ++r) {
      if (low[r] >= std::min(n, high[r])) continue;
      for (int64_t j = 0; j < n; j += kLanes) store(scores_ + j, dots(queries_ + r * headDim_, k + j));
      const float alpha = softmax(n, std::max<int64_t>(0, low[r]), std::min(n, high[r]), state.top[r], state.total[r]);
      accumulate(state.out + r * headDim_, alpha, v, n);
    }
  }

 private:
  template <class C>
  void widen(float* to, const float** rows, const C* const* from, int64_t n) const {
    for (int64_t i = 0; i < n; ++i) {
      float* row = to + i * headDim_;
      for (int64_t d = 0; d < headDim_; d += kLanes) storePart(row + d, loadPart(from[i] + d, headDim_ - d), headDim_ - d);
      rows[i] = row;
    }
  }

  // q . row for kLanes rows, one per lane.
  template <class C>
  vfloat dots(const float* q, const C* const* rows) const {
    vfloat acc[kLanes] = {};
    int64_t d = 0;
    for (; d + kLanes <= headDim_; d += kLanes) {
      const vfloat x = load(q + d);
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; ++i) acc[i] += x * load(rows[i] + d);
    }
    if (d < headDim_)
      for (int i = 0; i < kLanes; ++i) acc[i] += loadPart(q + d, headDim_ - d) * loadPart(rows[i] + d, headDim_ - d);
    return sumEach(acc);
  }

  // Scores [low, high) become weights, the others 0; top and total move on. Returns the factor for what was summed before.
  float softmax(int64_t n, int64_t low, int64_t high, float& top, float& total) {
    const int64_t padded = roundUp(n, kLanes);
    std::fill(scores_, scores_ + low, kMasked);
    std::fill(scores_ + high, scores_ + padded, kMasked);
    vfloat m = splat(top);
    for (int64_t j = 0; j < padded; j += kLanes) m = max(load(scores_ + j), m);
    const float now = maxOf(m), alpha = exp2(splat(top - now))[0];
    vfloat t = {};
    for (int64_t j = 0; j < padded; j += kLanes) {
      const vfloat p = exp2(load(scores_ + j) - now);
      store(scores_ + j, p);
      t += p;
    }
    top = now;
    total = total * alpha + sum(t);
    return alpha;
  }

  template <class C>
  void accumulate(float* out, float alpha, const C* const* rows, int64_t n) const {
    int64_t at = 0;
    for (; at + 8 * kLanes <= headDim_; at += 8 * kLanes) addRows<8>(out, scores_, alpha, rows, at, n);
    for (; at + 4 * kLanes <= headDim_; at += 4 * kLanes) addRows<4>(out, scores_, alpha, rows, at, n);
    for (; at + kLanes <= headDim_; at += kLanes) addRows<1>(out, scores_, alpha, rows, at, n);
    if (at == headDim_) return;
    vfloat acc = loadPart(out + at, headDim_ - at) * alpha;
    for (int64_t j = 0; j < n; ++j) acc += loadPart(rows[j] + at, headDim_ - at) * scores_[j];
    storePart(out + at, acc, headDim_ - at);
  }

  const int64_t headDim_;
  float *keys_, *values_, *queries_, *scores_;
};

}  // namespace lantern::LANTERN_ISA
