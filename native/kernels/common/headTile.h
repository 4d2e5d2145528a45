// Micro-kernels and packing of the distillation head.
//
// Everything is in 32-bit units along the reduction: one float, or (kPair, where the processor multiplies bfloat16 pairs) two bfloat16.
// A tile is C[R, NV vectors] = sum over units k of A(row, k) * B(k, column). A is broadcast a unit at a time from a[row * rs + k * ks], B is a
// packed panel b[k * NV * kLanes + column].
#pragma once
#include <algorithm>

#include "simd.h"

namespace lantern::LANTERN_ISA {

// Tiles that keep every accumulator in a register: 9 x 3, 6 x 2 vectors.
constexpr int kTileRows = kLanes == 16 ? 9 : 6, kTileVectors = kLanes == 16 ? 3 : 2;
// Where C is read and written (the gradients): 12 x 2 vectors, 6 x 2.
constexpr int kAddRows = kLanes == 16 ? 12 : 6, kAddColumns = 2 * kLanes;

template <bool kPair>
LANTERN_INLINE vfloat multiplyAdd(vfloat c, vfloat a, vfloat b) {
#if defined(__AVX512BF16__)
  if constexpr (kPair) return (vfloat)_mm512_dpbf16_ps((__m512)c, (__m512bh)a, (__m512bh)b);
#endif
  return c + a * b;
}

template <int R, int NV>
LANTERN_INLINE void clear(vfloat (&acc)[R][NV]) {
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) acc[r][v] = vfloat{};
}

// Adds `units` steps of the reduction; a and b move on.
template <bool kPair, int R, int NV, bool kRowMajor>
LANTERN_INLINE void tile(int64_t units, const float*& a, int64_t rs, int64_t ks, const float*& b, vfloat (&acc)[R][NV]) {
  for (int64_t k = 0; k < units; ++k) {
    vfloat bv[NV];
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) bv[v] = load(b + v * kLanes);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const vfloat av = a[kRowMajor ? r * rs : r] - vfloat{};  // x - 0 is x for every x: a plain broadcast
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) acc[r][v] = multiplyAdd<kPair>(acc[r][v], av, bv[v]);
    }
    a += kRowMajor ? 1 : ks;
    b += NV * kLanes;
  }
}

// Memory that tiles will need next. Every kFetchUnits steps of a reduction fetch a few cache lines of it, so that it arrives behind arithmetic.
class Ahead {
 public:
  void add(const void* from, int64_t bytes) {
    if (bytes < 64) return;
    const char* begin = static_cast<const char*>(from);
    ranges_[count_++] = {begin, begin + bytes};
    total_ += bytes / 64;
  }
  // The number of calls of step() that it may take.
  void spread(int64_t steps) { lines_ = (total_ + std::max<int64_t>(1, steps) - 1) / std::max<int64_t>(1, steps); }
  bool done() const { return at_ == count_; }
  LANTERN_INLINE void step() {
    if (done()) return;
    Range& r = ranges_[at_];
    const char* stop = std::min(r.end, r.next + lines_ * 64);
    for (; r.next < stop; r.next += 64) __builtin_prefetch(r.next, 0, 2);
    at_ += r.next >= r.end;
  }

 private:
  struct Range {
    const char *next, *end;
  };
  Range ranges_[5];
  int count_ = 0, at_ = 0;
  int64_t lines_ = 0, total_ = 0;
};
constexpr int64_t kFetchUnits = 8;

// tile(), fetching meanwhile.
template <bool kPair, int R, int NV, bool kRowMajor>
LANTERN_INLINE void tileAhead(int64_t units, const float*& a, int64_t rs, int64_t ks, const float*& b, vfloat (&acc)[R][NV], Ahead& ahead) {
  int64_t k = 0;
  if (!ahead.done())
    for (; k + kFetchUnits <= units; k += kFetchUnits) {
      ahead.step();
      tile<kPair, R, NV, kRowMajor>(kFetchUnits, a, rs, ks, b, acc);
    }
  tile<kPair, R, NV, kRowMajor>(units - k, a, rs, ks, b, acc);
}

// Products are summed in runs of this many, and the runs then: one long float32 sum of 896 terms would cost a confident softmax its digits.
// Where the product rounds too (no fused multiply-add) the runs are shorter; longer for pairs, whose
// dlogits are rounded to bfloat16 later, by far more than such a sum loses.
#if defined(__FMA__)
template <bool kPair>
constexpr int64_t kRunUnits = kPair ? 256 : 64;
#else
template <bool kPair>
constexpr int64_t kRunUnits = 16;
#endif

// out[r * ldo + column] = tile, for the R x NV vectors of a.
template <bool kPair, int R, int NV>
[[gnu::noinline]] void tileStore(int64_t units, const float* a, int64_t rs, const float* b, float* out, int64_t ldo, Ahead& ahead) {
  for (int64_t first = 0; first < units; first += kRunUnits<kPair>) {
    vfloat acc[R][NV];
    clear(acc);
    tileAhead<kPair, R, NV, true>(std::min(units - first, kRunUnits<kPair>), a, rs, 1, b, acc, ahead);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) {
        float* o = out + r * ldo + v * kLanes;
        store(o, first ? load(o) + acc[r][v] : acc[r][v]);
      }
  }
}

// c[r * ldc + column] += tile, for `columns` <= kAddColumns columns.
template <bool kPair, int R, bool kRowMajor>
[[gnu::noinline]] void tileAdd(int64_t units, const float* a, int64_t rs, int64_t ks, const float* b, float* c, int64_t ldc, int64_t columns,
                               Ahead& ahead) {
  vfloat acc[R][2];
  clear(acc);
  tileAhead<kPair, R, 2, kRowMajor>(units, a, rs, ks, b, acc, ahead);
  if (columns >= kAddColumns) {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
      for (int v = 0; v < 2; ++v) store(c + r * ldc + v * kLanes, load(c + r * ldc + v * kLanes) + acc[r][v]);
    return;
  }
  float edge[R][kAddColumns];  // its own array: the accumulators stay in registers
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
    for (int v = 0; v < 2; ++v) store(edge[r] + v * kLanes, acc[r][v]);
  for (int r = 0; r < R; ++r)
    for (int64_t i = 0; i < columns; ++i) c[r * ldc + i] += edge[r][i];
}

// fn(first row, std::integral_constant<int, R>) over `rows` rows in tiles of kAddRows, then of fewer.
template <class F>
LANTERN_INLINE void forTileRows(int64_t rows, F&& fn) {
  constexpr int kFewer = kAddRows * 2 / 3;
  int64_t r = 0;
  if (rows % kFewer || rows % kAddRows == 0)
    for (; r + kAddRows <= rows; r += kAddRows) fn(r, std::integral_constant<int, kAddRows>{});
  for (; r + kFewer <= rows; r += kFewer) fn(r, std::integral_constant<int, kFewer>{});
  for (; r < rows; ++r) fn(r, std::integral_constant<int, 1>{});
}

LANTERN_INLINE float pairUnit(bf16 low, bf16 high) {
  const uint32_t u = uint32_t(low.bits) | uint32_t(high.bits) << 16;
  float f;
  memcpy(&f, &u, 4);
  return f;
}

template <bool kPair>
constexpr int64_t units(int64_t n) {
  return kPair ? (n + 1) / 2 : n;
}

// The vector operand of the logits: for every panel of up to kTileVectors lane vectors [units of the reduction][panel width], token i in lane i.
// rows[i] is the row of x that lane i takes; lanes from `n` on are 0.
template <bool kPair, class T>
void packTokens(float* out, const T* x, int64_t dim, const int32_t* rows, int64_t n, int64_t lanes) {
  const int64_t ku = units<kPair>(dim), wide = kTileVectors * kLanes;
  for (int64_t lane = 0; lane < lanes; ++lane) {
    const int64_t panel = lane / wide, width = std::min(wide, lanes - panel * wide);
    float* p = out + panel * wide * ku + lane % wide;
    const T* row = x + (lane < n ? int64_t(rows[lane]) * dim : 0);
    for (int64_t k = 0; k < ku; ++k, p += width) {
      if (lane >= n) *p = 0.f;
      else if constexpr (!kPair) *p = toFloat(row[k]);
      else *p = pairUnit(row[2 * k], row[2 * k + 1]);
    }
  }
}

// Panels of kAddColumns columns with the tokens as reduction: out[panel][units of tokens][kAddColumns], columns from dim on are 0.
template <bool kPair, class T>
void packColumns(float* out, const T* x, int64_t dim, const int32_t* rows, int64_t n, int64_t lanes) {
  const int64_t ku = units<kPair>(lanes);
  for (int64_t k = 0; k < ku; ++k)
    for (int64_t j = 0, column = 0; column < dim; ++j)
      for (int v = 0; v < 2; ++v, column += kLanes) {
        const auto row = [&](int64_t i) {
          return i < n && column < dim ? loadPart(x + int64_t(rows[i]) * dim + column, dim - column) : vfloat{};
        };
        float* p = out + (j * ku + k) * kAddColumns + v * kLanes;
        store(p, kPair ? asFloat(pairRows(row(2 * k), row(2 * k + 1))) : row(k));
      }
}

// A panel of `columns` <= kAddColumns columns of consecutive rows of a matrix, the rows being the reduction: out[units of rows][kAddColumns].
// Columns beyond are 0, as is the second row of a last pair that has none.
template <bool kPair, class W>
void packRows(float* out, const W* w, int64_t dim, int64_t rows, int64_t columns) {
  const auto part = [&](const W* row, int v) {
    const int64_t left = columns - v * kLanes;
    return left >= kLanes ? load(row + v * kLanes) : left > 0 ? loadPart(row + v * kLanes, left) : vfloat{};
  };
  for (int64_t r = 0; r < rows; r += kPair ? 2 : 1, w += (kPair ? 2 : 1) * dim, out += kAddColumns) {
#if defined(__AVX512BF16__)
    if constexpr (kPair)
      if (columns == kAddColumns && r + 1 < rows) {
        const __m512i low = _mm512_loadu_si512(w), high = _mm512_loadu_si512(w + dim);
        const __m512i first = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8, 39, 7, 38, 6, 37, 5, 36, 4, 35, 3,
                                               34, 2, 33, 1, 32, 0);
        const __m512i second = _mm512_add_epi16(first, _mm512_set1_epi16(16));
        store(out, (vfloat)_mm512_permutex2var_epi16(low, first, high));
        store(out + kLanes, (vfloat)_mm512_permutex2var_epi16(low, second, high));
        continue;
      }
#endif
#pragma GCC unroll 2
    for (int v = 0; v < 2; ++v)
      store(out + v * kLanes, kPair ? asFloat(pairRows(part(w, v), r + 1 < rows ? part(w + dim, v) : vfloat{})) : part(w, v));
  }
}

// Logits of `rows` consecutive rows of w for all lanes: out[row][lanes]. `scratch` holds kTileRows rows as float32 (where they are not already).
// Up to `left` rows from w on may be read ahead.
template <bool kPair, class W>
void logitRows(const W* w, int64_t dim, int64_t rows, int64_t left, const float* x, int64_t lanes, float* out, float* scratch) {
  constexpr bool kDirect = kPair || sizeof(W) == 4;
  const int64_t ku = units<kPair>(dim), vectors = lanes / kLanes;
  const int64_t panels = (vectors + kTileVectors - 1) / kTileVectors;
  const auto group = [&](int64_t r, auto rowCount) {
    constexpr int R = decltype(rowCount)::value;
    const W* source = w + r * dim;
    const float* a = reinterpret_cast<const float*>(source);
    if constexpr (!kDirect) {
      const int64_t count = R * dim, whole = count / kLanes * kLanes;
#pragma GCC unroll 4
      for (int64_t i = 0; i < whole; i += kLanes) store(scratch + i, load(source + i));
      storePart(scratch + whole, loadPart(source + whole, count - whole), count - whole);
      a = scratch;
    }
    Ahead ahead;
    if (r + 2 * R <= left) ahead.add(source + R * dim, R * dim * int64_t(sizeof(W)));
    ahead.spread(panels * (ku / kFetchUnits));
    for (int64_t v = 0; v < vectors; v += kTileVectors) {
      const float* b = x + v * kLanes * ku;
      float* o = out + r * lanes + v * kLanes;
      if (vectors - v >= kTileVectors) tileStore<kPair, R, kTileVectors>(ku, a, ku, b, o, lanes, ahead);
      else if (kTileVectors > 2 && vectors - v == 2) tileStore<kPair, R, 2>(ku, a, ku, b, o, lanes, ahead);
      else tileStore<kPair, R, 1>(ku, a, ku, b, o, lanes, ahead);
    }
  };
  // the last tile overlaps the one before it: the same sums again
  if (rows >= kTileRows)
    for (int64_t r = 0; r < rows; r += kTileRows) group(std::min(r, rows - kTileRows), std::integral_constant<int, kTileRows>{});
  else
    for (int64_t r = 0; r < rows; ++r) group(r, std::integral_constant<int, 1>{});
}

}  // namespace lantern::LANTERN_ISA
