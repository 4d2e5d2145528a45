// What the attention kernels are made of: small matrix products with one operand's rows in vector lanes.
//
// A panel is NV vectors of lanes. Forward and dq hold queries in lanes, dk and dv hold keys; the other side streams past in blocks of rows.
// A value per (row, lane) then has its row's data as a broadcast and its lane's data in place, so that the softmax, the masks and the
// rescaling are lane-wise and nothing but the panel's own rows is ever transposed. Two products do everything:
//   rowProducts:     S[row][lane]  = sum over d    of rows[row][d] * panel[d][lane]
//   columnProducts:  O[d][lane]   += sum over rows of rows[row][d] * P[row][lane]
//
// The reduction steps over 32-bit units: one float, or a pair of bfloat16 where the machine multiplies pairs (AVX512_BF16, vdpbf16ps).
// A pair buffer of rows holds two neighbouring columns per unit for rowProducts, two neighbouring rows per unit for columnProducts.
#pragma once
#include <algorithm>
#include <type_traits>
#include <utility>

#include "common/simd.h"

namespace lantern::LANTERN_ISA {

struct Pair {};  // tag: units of two bfloat16
typedef uint32_t unit __attribute__((may_alias));

template <class T>
using UnitOf = std::conditional_t<kDotBf16 && std::is_same_v<T, bf16>, Pair, float>;
template <class U>
constexpr int kPerUnit = std::is_same_v<U, float> ? 1 : 2;

constexpr int kMaxVectors = 3;                   // vectors of a panel: 4 x 3 accumulators fill 16 registers, 8 x 3 fill 32
constexpr int kMaxLanes = kMaxVectors * kLanes;  // rows of the lane side in one panel
constexpr int kRowStep = 8;                      // blocks of rows are padded to a multiple of it with zeros
template <int NV>
constexpr int kTileRows = NV == 1 || kLanes == 16 ? 8 : 4;
constexpr float kMasked = -1e30f;  // a score that no visible key has: its weight is exactly 0 beside any visible score

inline int64_t roundUp(int64_t n, int64_t step) { return (n + step - 1) / step * step; }

// ---- units
LANTERN_INLINE vint loadUnits(const void* p) {  // units of two bf16 lie at any even address
  typedef vint even __attribute__((aligned(2), may_alias));
  return *static_cast<const even*>(p);
}
LANTERN_INLINE void storeUnits(unit* p, vint v) { *reinterpret_cast<vintu*>(p) = v; }
template <class U>
LANTERN_INLINE vfloat multiplyAdd(vfloat c, vint a, vint b) {
  if constexpr (std::is_same_v<U, float>) return c + asFloat(a) * asFloat(b);
#if defined(__AVX512BF16__)
  else return (vfloat)_mm512_dpbf16_ps((__m512)c, (__m512bh)a, (__m512bh)b);
#else
  else return c + asFloat(a << 16) * asFloat(b << 16) + asFloat(a & ~0xffff) * asFloat(b & ~0xffff);
#endif
}
// Two vectors rounded to one of pairs: a in the low halves, b in the high ones.
LANTERN_INLINE vint pairUp(vfloat a, vfloat b) {
#if defined(__AVX512BF16__)
  typedef int16_t halves __attribute__((vector_size(64)));
  constexpr halves kPairs = {0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  return (vint)_mm512_permutexvar_epi16((__m512i)kPairs, (__m512i)_mm512_cvtne2ps_pbh((__m512)b, (__m512)a));
#else
  bf16 low[kLanes], high[kLanes];
  store(low, a);
  store(high, b);
  return pairRows(load(low), load(high));
#endif
}

// 2^x for x <= 128. Round to n + r with |r| <= 1/2, a degree-6 minimax polynomial in r (1e-7 with rounding), n added to the exponent.
// Below -126 exactly 0; NaN stays NaN.
LANTERN_INLINE vfloat exp2(vfloat x) {
  const vfloat cut = x < -126.f ? splat(-126.f) : x;
  const vfloat n = roundEven(cut), r = cut - n;
  vfloat p = splat(1.5345771e-4f);
  p = p * r + 1.3399931e-3f;
  p = p * r + 9.6184891e-3f;
  p = p * r + 5.5503288e-2f;
  p = p * r + 2.4022647e-1f;
  p = p * r + 6.9314721e-1f;
  p = p * r + 1.f;
  p = asFloat(asInt(p) + (__builtin_convertvector(n, vint) << 23));
  return asFloat(asInt(p) & ~(x < -126.f));
}

// ---- transposition of a kLanes x kLanes square held in registers
template <int Step, size_t... Lane>
LANTERN_INLINE void swapBlocks(vint& a, vint& b, std::index_sequence<Lane...>) {
  constexpr vint kLow = {int(Lane & Step ? Lane - Step + kLanes : Lane)...};
  constexpr vint kHigh = {int(Lane & Step ? Lane + kLanes : Lane + Step)...};
  const vint x = a, y = b;
  a = __builtin_shuffle(x, y, kLow);
  b = __builtin_shuffle(x, y, kHigh);
}
template <int Step = kLanes / 2>
LANTERN_INLINE void transpose(vint (&x)[kLanes]) {
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i)
    if (!(i & Step)) swapBlocks<Step>(x[i], x[i + Step], std::make_index_sequence<kLanes>{});
  if constexpr (Step > 1) transpose<Step / 2>(x);
}

// ---- filling panels and blocks. A null row reads as zeros.
template <class U, class T>
LANTERN_INLINE vint rowUnits(const T* row, int64_t at, int64_t units) {  // up to kLanes units of a row, zeros behind its end
  if (!row || at >= units) return vint{};
  if constexpr (std::is_same_v<U, float>) return asInt(loadPart(row + at, units - at));
  else return units - at >= kLanes ? loadUnits(row + 2 * at) : asInt(loadLanes(reinterpret_cast<const float*>(row + 2 * at), units - at));
}

// panel[u][lane] = unit u of rows[lane]; `units` is a multiple of 4, vectors * kLanes row pointers.
template <class U, class T>
void fillPanel(unit* panel, const T* const* rows, int vectors, int64_t units) {
  const int64_t lanes = int64_t(vectors) * kLanes;
  for (int v = 0; v < vectors; ++v)
    for (int64_t u = 0; u < units; u += kLanes) {
      vint x[kLanes];
      for (int i = 0; i < kLanes; ++i) x[i] = rowUnits<U>(rows[v * kLanes + i], u, units);
      transpose(x);
      for (int i = 0; i < kLanes && u + i < units; ++i) storeUnits(panel + (u + i) * lanes + v * kLanes, x[i]);
    }
}

// rows[lane][d] = panel[d][lane] * factor[lane], for the lanes with a row.
template <class T>
void emptyPanel(T* const* rows, const float* panel, int vectors, int64_t headDim, const float* factor) {
  const int64_t lanes = int64_t(vectors) * kLanes;
  for (int v = 0; v < vectors; ++v)
    for (int64_t d = 0; d < headDim; d += kLanes) {
      vint x[kLanes] = {};
      const int64_t n = std::min<int64_t>(kLanes, headDim - d);
      for (int64_t i = 0; i < n; ++i) x[i] = asInt(load(panel + (d + i) * lanes + v * kLanes) * load(factor + v * kLanes));
      transpose(x);
      for (int i = 0; i < kLanes; ++i)
        if (rows[v * kLanes + i]) storePart(rows[v * kLanes + i] + d, asFloat(x[i]), n);
    }
}

// A block of rows for rowProducts, [roundUp(count, kRowStep)][headDim / kPerUnit] units; rowAt(i) is row i.
template <class U, class T, class F>
void fillRows(unit* block, int64_t count, int64_t headDim, F&& rowAt) {
  const int64_t units = headDim / kPerUnit<U>, padded = roundUp(count, kRowStep);
  for (int64_t i = 0; i < padded; ++i) {
    const T* row = i < count ? rowAt(i) : nullptr;
    for (int64_t u = 0; u < units; u += kLanes)
      storePart(reinterpret_cast<float*>(block + i * units + u), asFloat(rowUnits<U>(row, u, units)), units - u);
  }
}

// The same rows for columnProducts, [roundUp(count, kRowStep) / kPerUnit][headDim] units. For float units it is the block of fillRows.
template <class U, class T, class F>
void fillColumns(unit* block, int64_t count, int64_t headDim, F&& rowAt) {
  if constexpr (std::is_same_v<U, float>) return fillRows<U, T>(block, count, headDim, rowAt);
  else
    for (int64_t i = 0; i < roundUp(count, kRowStep); i += 2)
      for (int64_t d = 0; d < headDim; d += kLanes) {
        const vfloat a = i < count ? loadPart(rowAt(i) + d, headDim - d) : vfloat{};
        const vfloat b = i + 1 < count ? loadPart(rowAt(i + 1) + d, headDim - d) : vfloat{};
        storePart(reinterpret_cast<float*>(block + i / 2 * headDim + d), asFloat(pairRows(a, b)), headDim - d);
      }
}

// ---- products
// acc[r][v] += sum over k of a[r * rowStep + k * kStep] * b[k * lanes + v]
template <class U, int R, int NV>
LANTERN_INLINE void tile(vfloat (&acc)[R][NV], int64_t k, const unit* a, int64_t rowStep, int64_t kStep, const unit* b) {
  for (int64_t i = 0; i < k; ++i, a += kStep, b += NV * kLanes) {
    vint bv[NV];
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) bv[v] = loadUnits(b + v * kLanes);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const vint av = vint{} + int32_t(a[r * rowStep]);
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) acc[r][v] = multiplyAdd<U>(acc[r][v], av, bv[v]);
    }
  }
}

// S[from .. to)[lane]; from and to are multiples of kRowStep.
template <class U, int NV>
void rowProducts(float* s, int64_t from, int64_t to, const unit* rows, const unit* panel, int64_t headDim) {
  constexpr int R = kTileRows<NV>, L = NV * kLanes;
  const int64_t units = headDim / kPerUnit<U>;
  for (int64_t i = from; i < to; i += R) {
    vfloat acc[R][NV] = {};
    tile<U>(acc, units, rows + i * units, units, 1, panel);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) store(s + (i + r) * L + v * kLanes, acc[r][v]);
  }
}

// O[d][lane] = O[d][lane] * alpha[lane] + products over the rows from .. to); alpha may be null (1). p holds units, pairs of rows if Pair.
template <class U, int NV>
void columnProducts(float* o, const float* alpha, int64_t from, int64_t to, const unit* columns, const unit* p, int64_t headDim) {
  constexpr int R = kTileRows<NV>, L = NV * kLanes;
  const int64_t first = from / kPerUnit<U>, count = (to - from) / kPerUnit<U>;
  for (int64_t d = 0; d < headDim; d += R) {
    vfloat acc[R][NV];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) {
        acc[r][v] = load(o + (d + r) * L + v * kLanes);
        if (alpha) acc[r][v] *= load(alpha + v * kLanes);
      }
    tile<U>(acc, count, columns + first * headDim + d, 1, headDim, p + first * L);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) store(o + (d + r) * L + v * kLanes, acc[r][v]);
  }
}

// ---- which rows a lane sees
struct Span {  // rows [low, high) of one lane; of a panel, also the bounds over its lanes
  int32_t low[kMaxLanes], high[kMaxLanes];
  int64_t minLow, maxLow, minHigh, maxHigh;

  void summarise(int lanes) {
    minLow = *std::min_element(low, low + lanes), maxLow = *std::max_element(low, low + lanes);
    minHigh = *std::min_element(high, high + lanes), maxHigh = *std::max_element(high, high + lanes);
  }
};

// Lane i is row first + i of a sequence (lanes behind `count` repeat the last): it sees `before` rows before it and `after` behind it.
inline void windowSpan(Span& span, int64_t first, int64_t count, int lanes, int64_t length, int64_t before, int64_t after) {
  for (int i = 0; i < lanes; ++i) {
    const int64_t at = first + std::min<int64_t>(i, count - 1);
    span.low[i] = int32_t(before < 0 ? 0 : std::max<int64_t>(0, at - before));
    span.high[i] = int32_t(after < 0 ? length : std::min<int64_t>(length, at + after + 1));
  }
  span.summarise(lanes);
}

// Overwrites the scores of rows that a lane does not see. Row i of s is row base + i of the sequence.
template <int NV>
void maskRows(float* s, int64_t from, int64_t to, int64_t base, const Span& span) {
  for (int64_t i = from; i < to; ++i) {
    if (base + i >= span.maxLow && base + i < span.minHigh) continue;
    const vint at = vint{} + int32_t(base + i);
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) {
      const vint low = *reinterpret_cast<const vintu*>(span.low + v * kLanes);
      const vint high = *reinterpret_cast<const vintu*>(span.high + v * kLanes);
      float* p = s + i * NV * kLanes + v * kLanes;
      store(p, select((at >= low) & (at < high), load(p), splat(kMasked)));
    }
  }
}

// fn(std::integral_constant<int, NV>) for the number of vectors that `lanes` rows fill.
template <class F>
void forVectors(int64_t lanes, F&& fn) {
  if (lanes > 2 * kLanes) fn(std::integral_constant<int, 3>{});
  else if (lanes > kLanes) fn(std::integral_constant<int, 2>{});
  else fn(std::integral_constant<int, 1>{});
}

}  // namespace lantern::LANTERN_ISA
