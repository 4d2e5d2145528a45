// The online softmax of one panel of queries: what attention and pagedAttention share.
#pragma once
#include "attentionPanel.h"

namespace lantern::LANTERN_ISA {

constexpr float kLog2e = 1.44269504f, kLn2 = 0.693147181f;

// The state of one panel between blocks of keys, in a thread's workspace. With s the raw dot products and c = scale * log2(e):
struct QueryPanel {
  unit* q;      // [headDim / kPerUnit][lanes]
  float* out;   // [headDim][lanes]: sum of 2^(c * (s - top)) v
  float* top;   // [lanes]: largest s so far
  float* total; // [lanes]: sum of 2^(c * (s - top))
  Span span;    // the keys each query sees

  static constexpr int64_t floats(int64_t headDim) { return (2 * headDim + 2) * kMaxLanes; }
  void place(float* memory, int64_t headDim) {
    q = reinterpret_cast<unit*>(memory);
    out = memory + headDim * kMaxLanes;
    top = out + headDim * kMaxLanes;
    total = top + kMaxLanes;
  }
  void reset(int lanes, int64_t headDim) {
    std::fill_n(out, headDim * lanes, 0.f);
    std::fill_n(top, lanes, kMasked);
    std::fill_n(total, lanes, 0.f);
  }
};

// Scores of rows [from, to) of a block become weights in place (pairs of rows if Pair), and top and total move on.
// alpha[lane] = 2^(c * (old top - new top)), by which what was summed before is to be scaled.
template <class U, int NV>
void softmaxRows(float* s, int64_t from, int64_t to, float c, float* top, float* total, float* alpha) {
  constexpr int L = NV * kLanes;
  vfloat m[NV], shift[NV], t[NV];
#pragma GCC unroll 4
  for (int v = 0; v < NV; ++v) m[v] = load(top + v * kLanes);
  for (int64_t i = from; i < to; ++i)
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) m[v] = max(load(s + i * L + v * kLanes), m[v]);
#pragma GCC unroll 4
  for (int v = 0; v < NV; ++v) {
    const vfloat a = exp2((load(top + v * kLanes) - m[v]) * c);
    store(alpha + v * kLanes, a);
    store(top + v * kLanes, m[v]);
    t[v] = load(total + v * kLanes) * a;
    shift[v] = m[v] * c;
  }
  for (int64_t i = from; i < to; i += 2)
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) {
      float* p = s + i * L + v * kLanes;
      const vfloat a = exp2(load(p) * c - shift[v]), b = exp2(load(p + L) * c - shift[v]);
      t[v] += a + b;
      if constexpr (std::is_same_v<U, float>) store(p, a), store(p + L, b);
      else storeUnits(reinterpret_cast<unit*>(s) + i / 2 * L + v * kLanes, pairUp(a, b));
    }
#pragma GCC unroll 4
  for (int v = 0; v < NV; ++v) store(total + v * kLanes, t[v]);
}

// One block of keys (rows base .. base + count of the sequence) against one panel. s: [roundUp(count, kRowStep)][lanes] scratch.
template <class U, int NV>
void attendBlock(QueryPanel& panel, const unit* keyRows, const unit* valueColumns, int64_t base, int64_t count, int64_t headDim, float c,
                 float* s) {
  const int64_t from = std::max<int64_t>(0, panel.span.minLow - base) / kRowStep * kRowStep;
  const int64_t to = roundUp(std::min(count, panel.span.maxHigh - base), kRowStep);
  if (from >= to) return;
  alignas(64) float alpha[NV * kLanes];
  rowProducts<U, NV>(s, from, to, keyRows, panel.q, headDim);
  if (base + from < panel.span.maxLow || base + to > panel.span.minHigh) maskRows<NV>(s, from, to, base, panel.span);
  softmaxRows<U, NV>(s, from, to, c, panel.top, panel.total, alpha);
  columnProducts<U, NV>(panel.out, alpha, from, to, valueColumns, reinterpret_cast<const unit*>(s), headDim);
}

}  // namespace lantern::LANTERN_ISA
