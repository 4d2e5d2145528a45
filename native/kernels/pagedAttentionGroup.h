// Decode with grouped queries: the heads that share a key head, up to kGroupRows query rows, against many cached keys. Keys lie in lanes for
// the scores (their rows are transposed into cache, once for all query rows) and dimensions for the weighted values, so that few query rows
// leave no lane empty; only in the softmax's maxima and sums do rows come to lie in lanes.
#pragma once
#include "pagedAttentionRows.h"

namespace lantern::LANTERN_ISA {

constexpr int kGroupRows = 8;

// Asks for rows of the cache, keys and values, a few lines at a time, while others are computed: all at once they would leave no room for
// what the computation itself loads.
template <class C>
struct RowFetcher {
  const C *k, *v;
  const int64_t* slots;
  int64_t rows, headDim, at = 0;
  bool values = false;

  LANTERN_INLINE void fetch(int64_t lines) {
    for (; lines > 0 && rows > 0; --lines) {
      __builtin_prefetch((values ? v : k) + *slots + at, 0, 2);
      if ((at += 64 / int64_t(sizeof(C))) < headDim) continue;
      at = 0;
      if (values) --rows, ++slots;
      values = !values;
    }
  }
  void fetchAll() { fetch(2 * rows * headDim); }
};

// U: what is multiplied, see attentionPanel.h. C: what the cache holds.
template <class U, class C>
class GroupedRows {
 public:
  static int64_t floats(int64_t headDim) { return (kGroupRows + kWidth) * headDim + 2 * kGroupRows * kBlockKeys; }
  GroupedRows(float* work, int64_t headDim, float factor) : headDim_(headDim), units_(headDim / kPerUnit<U>), factor_(factor) {
    keys_ = reinterpret_cast<unit*>(work), queries_ = keys_ + kWidth * headDim;
    scores_ = work + (kWidth + kGroupRows) * headDim;
    weights_ = reinterpret_cast<unit*>(scores_ + kGroupRows * kBlockKeys);
    std::fill_n(queries_, kGroupRows * units_, unit(0));
  }

  template <class T>
  void query(int64_t row, const T* q) {
    for (int64_t u = 0; u < units_; u += kLanes)
      storePart(reinterpret_cast<float*>(queries_ + row * units_ + u), asFloat(rowUnits<U>(q, u, units_)), units_ - u);
  }

  // A block of n <= kBlockKeys keys, of which row r sees those in [low[r], high[r]). `next` is fetched meanwhile.
  void attend(const RowState& state, int64_t rows, const C** k, const C** v, int64_t n, const int64_t* low, const int64_t* high,
              RowFetcher<C>& next) {
    for (int64_t i = n; i < roundUp(n, kWidth); ++i) k[i] = k[n - 1], v[i] = v[n - 1];
    for (int64_t i = 0; i < n; i += kWidth) scores(k + i, rows, scores_ + i, next);
    float alpha[kGroupRows + kLanes];
    softmax(state, rows, roundUp(n, kLanes), n, low, high, alpha, next);
    for (int64_t r = 0; r < rows; r += kRows)
      for (int64_t d = 0; d < headDim_; d += kWidth) {
        if (d + kWidth <= headDim_) values<true>(state, r, rows, v, n, d, alpha, next);
        else values<false>(state, r, rows, v, n, d, alpha, next);
      }
    next.fetchAll();
  }

 private:
  static constexpr int kWidth = 2 * kLanes;           // keys, or dimensions, of a product
  static constexpr int kRows = kLanes == 16 ? 8 : 4;  // query rows of a product: two accumulators each fill half the registers
  using Weight = std::conditional_t<std::is_same_v<U, float>, float, bf16>;

  // kLanes units of a row, all of them inside it.
  LANTERN_INLINE static vint wholeUnits(const C* row, int64_t at) {
    if constexpr (std::is_same_v<U, float>) return asInt(load(row + at));
    else return loadUnits(row + 2 * at);
  }

  // acc[r] += sum over k units of a[r][k] * b(k), b being kWidth lanes.
  template <class B>
  LANTERN_INLINE static void multiply(vfloat (&acc)[kRows][2], int64_t k, const unit* a, int64_t stride, B&& b) {
    for (int64_t i = 0; i < k; ++i) {
      vint low, high;
      b(i, low, high);
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        const vint x = vint{} + int32_t(a[r * stride + i]);
        acc[r][0] = multiplyAdd<U>(acc[r][0], x, low);
        acc[r][1] = multiplyAdd<U>(acc[r][1], x, high);
      }
    }
  }

  // out[r][kBlockKeys]: query r times kWidth keys.
  void scores(const C* const* k, int64_t rows, float* out, RowFetcher<C>& next) const {
    for (int64_t u = 0; u < units_; u += kLanes)
      for (int half = 0; half < 2; ++half) {
        next.fetch(kLanes / 2);
        vint x[kLanes];
        if (u + kLanes <= units_) {
#pragma GCC unroll 16
          for (int i = 0; i < kLanes; ++i) x[i] = wholeUnits(k[half * kLanes + i], u);
        } else {
          for (int i = 0; i < kLanes; ++i) x[i] = rowUnits<U>(k[half * kLanes + i], u, units_);
        }
        transpose(x);
#pragma GCC unroll 16
        for (int i = 0; i < kLanes; ++i)
          if (u + i < units_) storeUnits(keys_ + (u + i) * kWidth + half * kLanes, x[i]);
      }
    for (int64_t at = 0; at < rows; at += kRows) {
      vfloat acc[kRows][2] = {};
      multiply(acc, units_, queries_ + at * units_, units_, [&](int64_t u, vint& low, vint& high) [[gnu::always_inline]] {
        next.fetch(1);
        low = loadUnits(keys_ + u * kWidth), high = loadUnits(keys_ + u * kWidth + kLanes);
      });
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        store(out + (at + r) * kBlockKeys, acc[r][0] * factor_);
        store(out + (at + r) * kBlockKeys + kLanes, acc[r][1] * factor_);
      }
    }
  }

  // Reduces the lanes of up to kLanes vectors at once: lane i of the result is of vector i.
  template <class F, class G>
  LANTERN_INLINE static vfloat across(int64_t count, F&& vectorOf, G&& reduce) {
    vint x[kLanes] = {};
    for (int64_t i = 0; i < count; ++i) x[i] = asInt(vectorOf(i));
    transpose(x);
    vfloat result = asFloat(x[0]);
#pragma GCC unroll 16
    for (int i = 1; i < kLanes; ++i) result = reduce(result, asFloat(x[i]));
    return result;
  }

  // Scores become weights; top and total move on. alpha[r] is the factor for what was summed before.
  void softmax(const RowState& state, int64_t rows, int64_t padded, int64_t n, const int64_t* low, const int64_t* high, float* alpha,
               RowFetcher<C>& next) {
    for (int64_t r = 0; r < rows; ++r) {
      float* s = scores_ + r * kBlockKeys;
      const int64_t from = std::clamp<int64_t>(low[r], 0, padded), to = std::clamp<int64_t>(std::min(n, high[r]), from, padded);
      std::fill(s, s + from, kMasked);
      std::fill(s + to, s + padded, kMasked);
    }
    float now[kGroupRows + kLanes];
    for (int64_t r0 = 0; r0 < rows; r0 += kLanes) {
      const int64_t count = std::min<int64_t>(kLanes, rows - r0);
      const auto most = [](vfloat a, vfloat b) { return max(b, a); };
      const vfloat before = loadPart(state.top + r0, count);
      const vfloat m = max(before, across(count, [&](int64_t i) {
        const float* s = scores_ + (r0 + i) * kBlockKeys;
        vfloat best = load(s);
        for (int64_t j = kLanes; j < padded; j += kLanes) best = max(load(s + j), best);
        return best;
      }, most));
      store(now + r0, m);
      storePart(state.top + r0, m, count);
      const vfloat scale = exp2(before - m);
      store(alpha + r0, scale);
      const vfloat sums = across(count, [&](int64_t i) {
        const float* s = scores_ + (r0 + i) * kBlockKeys;
        Weight* w = reinterpret_cast<Weight*>(weights_ + (r0 + i) * (kBlockKeys / kPerUnit<U>));
        vfloat total = {};
        for (int64_t j = 0; j < padded; j += kLanes) {
          next.fetch(2);
          const vfloat p = exp2(load(s + j) - now[r0 + i]);
          store(w + j, p);
          total += p;
        }
        return total;
      }, [](vfloat a, vfloat b) { return a + b; });
      storePart(state.total + r0, loadPart(state.total + r0, count) * scale + sums, count);
    }
  }

  // out[r][d .. d + kWidth) = out * alpha + weights * values for rows r = at ...; whole: all of the columns are in the head.
  template <bool whole>
  void values(const RowState& state, int64_t at, int64_t rows, const C* const* v, int64_t n, int64_t d, const float* alpha,
              RowFetcher<C>& next) const {
    const int64_t first = whole ? kLanes : std::min<int64_t>(kLanes, headDim_ - d), second = whole ? kLanes : headDim_ - d - first;
    vfloat acc[kRows][2] = {};
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      if (at + r >= rows) continue;
      const float* out = state.out + (at + r) * headDim_ + d;
      acc[r][0] = loadPart(out, first) * alpha[at + r];
      acc[r][1] = loadPart(out + kLanes, second) * alpha[at + r];
    }
    constexpr int64_t stride = kBlockKeys / kPerUnit<U>;
    const int64_t steps = roundUp(n, kPerUnit<U>) / kPerUnit<U>;
    multiply(acc, steps, weights_ + at * stride, stride, [&](int64_t i, vint& low, vint& high) [[gnu::always_inline]] {
      next.fetch(2 / kPerUnit<U>);
      if constexpr (std::is_same_v<U, float>) {
        low = asInt(loadPart(v[i] + d, first)), high = asInt(loadPart(v[i] + d + kLanes, second));
      } else {
        const auto unitsOf = [&](const C* row) { return whole ? wholeUnits(row, d / 2) : rowUnits<U>(row, d / 2, units_); };
        low = unitsOf(v[2 * i]), high = unitsOf(v[2 * i + 1]);
        interleave(low, high);
      }
    });
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      if (at + r >= rows) continue;
      float* out = state.out + (at + r) * headDim_ + d;
      storePart(out, acc[r][0], first);
      storePart(out + kLanes, acc[r][1], second);
    }
  }

  // Two rows of bf16 to pairs, one element of each row: the first half of the columns in a, the second in b.
  LANTERN_INLINE static void interleave(vint& a, vint& b) {
    typedef uint16_t halves __attribute__((vector_size(4 * kLanes)));
    const auto mix = [&]<int... i>(int from, std::integer_sequence<int, i...>) [[gnu::always_inline]] {
      const halves at = {uint16_t(from + i / 2 + (i & 1) * kWidth)...};
      return (vint)__builtin_shuffle((halves)a, (halves)b, at);
    };
    const vint low = mix(0, std::make_integer_sequence<int, kWidth>{});
    b = mix(kLanes, std::make_integer_sequence<int, kWidth>{});
    a = low;
  }

  const int64_t headDim_, units_;
  const float factor_;
  unit *keys_, *queries_, *weights_;
  float* scores_;
};

}  // namespace lantern::LANTERN_ISA
