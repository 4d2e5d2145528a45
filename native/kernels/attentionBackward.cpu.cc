// Two passes over the same tiles, so that every sum has one owner and needs no memory that grows with the length: queries in lanes give dq,
// keys in lanes give dk and dv. Both recompute the weights from lse.
#include <cmath>

#include "attention.h"
#include "attentionPanel.h"
#include "attentionPlan.h"
#include "common/types.h"

namespace lantern::LANTERN_ISA {

namespace {

constexpr int64_t kRows = 64;                  // rows per block of the side that streams past
constexpr int kPanels = kLanes == 16 ? 2 : 4;  // panels per item
constexpr int64_t kPanelRows = kPanels * kMaxLanes;
constexpr float kLog2e = 1.44269504f;

struct Lanes {              // one panel; [headDim][lanes] each
  unit *a, *b;              // q and dout, or k and v
  float *first, *second;    // dq, or dk and dv
  float *lse, *delta;       // [lanes], queries in lanes only: lse in powers of two, D
  Span span;

  static constexpr int64_t floats(int64_t headDim) { return (4 * headDim + 2) * kMaxLanes; }
  void place(float* memory, int64_t headDim) {
    const int64_t size = headDim * kMaxLanes;
    a = reinterpret_cast<unit*>(memory), b = a + size;
    first = memory + 2 * size, second = first + size;
    lse = second + size, delta = lse + kMaxLanes;
  }
};

// s: scores become ds in place. dp: dout . v.
template <class U, int NV>
void scoreGradients(float* s, const float* dp, int64_t from, int64_t to, float c, const float* lse, const float* delta) {
  constexpr int L = NV * kLanes;
  for (int64_t i = from; i < to; i += 2)
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) {
      const int64_t at = i * L + v * kLanes;
      const vfloat shift = load(lse + v * kLanes), d = load(delta + v * kLanes);
      const vfloat x = exp2(load(s + at) * c - shift) * (load(dp + at) - d);
      const vfloat y = exp2(load(s + at + L) * c - shift) * (load(dp + at + L) - d);
      if constexpr (std::is_same_v<U, float>) store(s + at, x), store(s + at + L, y);
      else storeUnits(reinterpret_cast<unit*>(s) + i / 2 * L + v * kLanes, pairUp(x, y));
    }
}

// Keys in lanes: s becomes the weights, dp becomes ds; lse and delta belong to rows.
template <class U, int NV>
void weightsAndGradients(float* s, float* dp, int64_t from, int64_t to, float c, const float* lse, const float* delta) {
  constexpr int L = NV * kLanes;
  for (int64_t i = from; i < to; i += 2)
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) {
      const int64_t at = i * L + v * kLanes, pair = i / 2 * L + v * kLanes;
      const vfloat x = exp2(load(s + at) * c - lse[i]), y = exp2(load(s + at + L) * c - lse[i + 1]);
      const vfloat dx = x * (load(dp + at) - delta[i]), dy = y * (load(dp + at + L) - delta[i + 1]);
      if constexpr (std::is_same_v<U, float>) {
        store(s + at, x), store(s + at + L, y);
        store(dp + at, dx), store(dp + at + L, dy);
      } else {
        storeUnits(reinterpret_cast<unit*>(s) + pair, pairUp(x, y));
        storeUnits(reinterpret_cast<unit*>(dp) + pair, pairUp(dx, dy));
      }
    }
}

template <class T>
float dot(const T* a, const T* b, int64_t n) {
  vfloat total = {};
  for (int64_t i = 0; i < n; i += kLanes) total += loadPart(a + i, n - i) * loadPart(b + i, n - i);
  return sum(total);
}

template <class T>
class Backward {
 public:
  static int64_t floats(int64_t headDim) {
    return 4 * kRows * headDim + 2 * kRows * kMaxLanes + 2 * kRows + kPanels * Lanes::floats(headDim);
  }
  Backward(const AttentionBackwardParams& p, float* delta, float* work) : p_(p), delta_(delta) {
    const int64_t size = kRows * p.headDim;
    aRows_ = reinterpret_cast<unit*>(work), bRows_ = aRows_ + size;
    aColumns_ = bRows_ + size, bColumns_ = aColumns_ + size;
    if constexpr (std::is_same_v<U, float>) aColumns_ = aRows_, bColumns_ = bRows_;
    scores_ = work + 4 * size, dp_ = scores_ + kRows * kMaxLanes;
    rowLse_ = dp_ + kRows * kMaxLanes, rowDelta_ = rowLse_ + kRows;
    for (int i = 0; i < kPanels; ++i) panels_[i].place(rowDelta_ + kRows + i * Lanes::floats(p.headDim), p.headDim);
  }

  void queries(const RowBlock& block, int64_t head) {
    block_ = block;
    const int64_t kvHead = head / (p_.heads / p_.kvHeads), D = p_.headDim;
    const Walk walk = open([&](Lanes& panel, int64_t token, int64_t count, const T** a, const T** b) {
      for (int64_t i = 0; i < kMaxLanes; ++i) panel.lse[i] = panel.delta[i] = 0;
      for (int64_t i = 0; i < count; ++i) {
        a[i] = row(p_.q, token + i, p_.qStride, head);
        b[i] = row(p_.dout, token + i, p_.heads * D, head);
        panel.lse[i] = p_.lse[head * p_.tokens + token + i] * kLog2e;
        panel.delta[i] = dot(b[i], row(p_.out, token + i, p_.heads * D, head), D);
        delta_[head * p_.tokens + token + i] = panel.delta[i];
      }
    }, p_.windowLeft, p_.windowRight);
    for (int64_t base = walk.low; base < walk.high; base += kRows) {
      const int64_t n = std::min(kRows, walk.high - base), token = block.start + base;
      const auto key = [&](int64_t i) { return row(p_.k, token + i, p_.kStride, kvHead); };
      fillRows<U, T>(aRows_, n, D, key);
      fillRows<U, T>(bRows_, n, D, [&](int64_t i) { return row(p_.v, token + i, p_.vStride, kvHead); });
      if (aColumns_ != aRows_) fillColumns<U, T>(aColumns_, n, D, key);
      eachPanel(base, n, [&](Lanes& panel, auto vectors, int64_t from, int64_t to) {
        scoreGradients<U, vectors>(scores_, dp_, from, to, c_, panel.lse, panel.delta);
        columnProducts<U, vectors>(panel.first, nullptr, from, to, aColumns_, reinterpret_cast<unit*>(scores_), D);
      });
    }
    close([](Lanes& panel) { return panel.first; }, p_.dq, p_.dqStride, head, float(p_.scale));
  }

  void keys(const RowBlock& block, int64_t kvHead) {
    block_ = block;
    const int64_t group = p_.heads / p_.kvHeads, D = p_.headDim;
    const Walk walk = open([&](Lanes&, int64_t token, int64_t count, const T** a, const T** b) {
      for (int64_t i = 0; i < count; ++i) {
        a[i] = row(p_.k, token + i, p_.kStride, kvHead);
        b[i] = row(p_.v, token + i, p_.vStride, kvHead);
      }
    }, p_.windowRight, p_.windowLeft);
    for (int64_t head = kvHead * group; head < (kvHead + 1) * group; ++head)
      for (int64_t base = walk.low; base < walk.high; base += kRows) {
        const int64_t n = std::min(kRows, walk.high - base);
        queryRows(head, block.start + base, n);
        eachPanel(base, n, [&](Lanes& panel, auto vectors, int64_t from, int64_t to) {
          weightsAndGradients<U, vectors>(scores_, dp_, from, to, c_, rowLse_, rowDelta_);
          columnProducts<U, vectors>(panel.first, nullptr, from, to, aColumns_, reinterpret_cast<unit*>(dp_), D);
          columnProducts<U, vectors>(panel.second, nullptr, from, to, bColumns_, reinterpret_cast<unit*>(scores_), D);
        });
      }
    close([](Lanes& panel) { return panel.first; }, p_.dk, p_.dkStride, kvHead, float(p_.scale));
    close([](Lanes& panel) { return panel.second; }, p_.dv, p_.dvStride, kvHead, 1.f);
  }

 private:
  using U = UnitOf<T>;
  struct Walk {
    int64_t low, high;  // rows of the other side that some lane meets; low is a multiple of kRowStep
  };

  const T* row(const void* x, int64_t token, int64_t stride, int64_t head) const {
    return static_cast<const T*>(x) + token * stride + head * p_.headDim;
  }

  // Fills the panels of the block; fn sets the row pointers. A lane meets `before` rows before its own and `after` behind it.
  template <class F>
  Walk open(F&& fn, int64_t before, int64_t after) {
    Walk walk{block_.length, 0};
    for (int64_t at = 0, i = 0; at < block_.count; at += kMaxLanes, ++i) {
      Lanes& panel = panels_[i];
      const int64_t count = std::min<int64_t>(kMaxLanes, block_.count - at), first = block_.first + at;
      const T *a[kMaxLanes] = {}, *b[kMaxLanes] = {};
      fn(panel, block_.start + first, count, a, b);
      forVectors(count, [&](auto vectors) {
        constexpr int kWidth = decltype(vectors)::value * kLanes;
        fillPanel<U>(panel.a, a, vectors, p_.headDim / kPerUnit<U>);
        fillPanel<U>(panel.b, b, vectors, p_.headDim / kPerUnit<U>);
        std::fill_n(panel.first, p_.headDim * kWidth, 0.f);
        std::fill_n(panel.second, p_.headDim * kWidth, 0.f);
        windowSpan(panel.span, first, count, kWidth, block_.length, before, after);
      });
      walk.low = std::min(walk.low, panel.span.minLow), walk.high = std::max(walk.high, panel.span.maxHigh);
    }
    walk.low = walk.low / kRowStep * kRowStep;
    return walk;
  }

  void queryRows(int64_t head, int64_t token, int64_t n) {
    const int64_t D = p_.headDim;
    const auto query = [&](int64_t i) { return row(p_.q, token + i, p_.qStride, head); };
    const auto gradient = [&](int64_t i) { return row(p_.dout, token + i, p_.heads * D, head); };
    fillRows<U, T>(aRows_, n, D, query);
    fillRows<U, T>(bRows_, n, D, gradient);
    if (aColumns_ != aRows_) {
      fillColumns<U, T>(aColumns_, n, D, query);
      fillColumns<U, T>(bColumns_, n, D, gradient);
    }
    for (int64_t i = 0; i < roundUp(n, kRowStep); ++i) {
      rowLse_[i] = i < n ? p_.lse[head * p_.tokens + token + i] * kLog2e : 0;
      rowDelta_[i] = i < n ? delta_[head * p_.tokens + token + i] : 0;
    }
  }

  // Masked scores and dp of every panel against the block of rows base .. base + n, then fn.
  template <class F>
  void eachPanel(int64_t base, int64_t n, F&& fn) {
    for (int64_t at = 0, i = 0; at < block_.count; at += kMaxLanes, ++i) {
      Lanes& panel = panels_[i];
      const int64_t from = std::max<int64_t>(0, panel.span.minLow - base) / kRowStep * kRowStep;
      const int64_t to = roundUp(std::min(n, panel.span.maxHigh - base), kRowStep);
      if (from >= to) continue;
      forVectors(block_.count - at, [&](auto vectors) {
        rowProducts<U, vectors>(scores_, from, to, aRows_, panel.a, p_.headDim);
        rowProducts<U, vectors>(dp_, from, to, bRows_, panel.b, p_.headDim);
        if (base + from < panel.span.maxLow || base + to > panel.span.minHigh) maskRows<vectors>(scores_, from, to, base, panel.span);
        fn(panel, vectors, from, to);
      });
    }
  }

  template <class F>
  void close(F&& sums, void* out, int64_t stride, int64_t head, float factor) {
    float factors[kMaxLanes];
    std::fill_n(factors, kMaxLanes, factor);
    for (int64_t at = 0, i = 0; at < block_.count; at += kMaxLanes, ++i) {
      const int64_t count = std::min<int64_t>(kMaxLanes, block_.count - at), token = block_.start + block_.first + at;
      T* rows[kMaxLanes] = {};
      for (int64_t r = 0; r < count; ++r) rows[r] = static_cast<T*>(out) + (token + r) * stride + head * p_.headDim;
      forVectors(count, [&](auto vectors) { emptyPanel(rows, sums(panels_[i]), vectors, p_.headDim, factors); });
    }
  }

  const AttentionBackwardParams& p_;
  const float c_ = float(p_.scale) * kLog2e;
  float* delta_;
  RowBlock block_{};
  unit *aRows_, *bRows_, *aColumns_, *bColumns_;
  float *scores_, *dp_, *rowLse_, *rowDelta_;
  Lanes panels_[kPanels];
};

}  // namespace

Status attentionBackward(const AttentionBackwardParams& p, Context& c) {
  if (Status s = checkSeqlens("attentionBackward", p.cuSeqlens, p.sequences, p.tokens); !s.ok()) return s;
  Scratch scratch;
  const size_t local = size_t(Backward<float>::floats(p.headDim)) * sizeof(float);
  if (!scratch.reserve(c, size_t(p.heads * p.tokens) * sizeof(float), p.tokens / kPanelRows + p.sequences, local))
    return Status::error(Code::outOfMemory, "attentionBackward: no memory for the blocks of the threads");
  float* delta = reinterpret_cast<float*>(scratch.shared);
  return forType(p.dtype, [&](auto type) {
    const auto pass = [&](int64_t heads, int64_t before, int64_t after, auto step) {
      const int64_t blocks = planBlocks(scratch.blocks, p.cuSeqlens, p.sequences, kPanelRows, before, after);
      c.pool.parallel(blocks * heads, [&](int64_t item, int thread) {
        Backward<decltype(type)> work(p, delta, static_cast<float*>(c.workspace.local(thread, local)));
        (work.*step)(scratch.blocks[item / heads], item % heads);
      });
    };
    pass(p.heads, p.windowLeft, p.windowRight, &Backward<decltype(type)>::queries);
    pass(p.kvHeads, p.windowRight, p.windowLeft, &Backward<decltype(type)>::keys);
    return Status::fine();
  });
}

}  // namespace lantern::LANTERN_ISA
