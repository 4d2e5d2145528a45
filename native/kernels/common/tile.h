// The register tile that every matrix product is made of, shared by matmul, the distillation head and attention.
//
// Operands are seen as 32-bit *units* along the reduction: one float, or, where the processor multiplies pairs of bf16 (kDotBf16), two
// consecutive bf16. A tile adds, over units k,  C[row][col] += A(row, k) * B(k, col)  for kTileRows x kTileCols outputs:
//
//   A panel   a[k * kTileRows + row]   one unit broadcast to all lanes
//   B panel   b[k * kTileCols + col]   kTileVectors vectors
//
// pack.h makes panels from matrices. Rows and columns beyond a matrix are packed as zeros, so a tile has no edge cases.
// kTileRows * kTileVectors accumulators, the vectors of B and one broadcast fill the register file: 14 x 32 with AVX-512 (31 of 32
// registers), 6 x 16 on avx2 (15 of 16), 4 x 8 on portable.
#pragma once
#include <type_traits>

#include "simd.h"

namespace lantern::LANTERN_ISA {

typedef int32_t unit;
template <class U>
constexpr int64_t kUnit = 4 / sizeof(U);  // elements of the reduction in a unit; U is what is multiplied: float or bf16

constexpr int kTileRows = kLanes == 16 ? 14 : kLanes == 8 ? 6 : 4;
constexpr int kTileVectors = 2;
constexpr int kTileCols = kTileVectors * kLanes;

// What operands stored as A and B are multiplied as: bf16 pairs if both are bf16 and the processor can, else floats (bf16 widens exactly).
template <class A, class B>
using Multiplied = std::conditional_t<kDotBf16 && sizeof(A) == 2 && sizeof(B) == 2, bf16, float>;

LANTERN_INLINE vint loadUnits(const void* p) {  // units of two bf16 lie at any even address
  typedef vint even __attribute__((aligned(2), may_alias));
  return *static_cast<const even*>(p);
}
LANTERN_INLINE void storeUnits(unit* p, vint v) { *reinterpret_cast<vintu*>(p) = v; }
LANTERN_INLINE vint splatUnit(unit u) { return vint{} + u; }
LANTERN_INLINE void prefetch(const void* p) { __builtin_prefetch(p); }

// c + a * b, unit by unit.
template <class U>
LANTERN_INLINE vfloat multiplyAdd(vint a, vint b, vfloat c) {
#if defined(__AVX512BF16__)
  if constexpr (sizeof(U) == 2) return (vfloat)_mm512_dpbf16_ps((__m512)c, (__m512bh)a, (__m512bh)b);
#endif
  static_assert(sizeof(U) == 4 || kDotBf16);
  return asFloat(a) * asFloat(b) + c;
}

// What the next tile writes or reads outside the panels: rows that are asked for while this one is computed.
struct NextRows {
  const char* first;
  int64_t stride;  // bytes
};

// acc += A panel * B panel over k units. A is read once, usually from further away than the first-level cache: it is fetched ahead, across
// the end of the panel into the next one. Of the next rows, `lines` cache lines each are fetched, a row every other unit.
template <class U, int lines>
LANTERN_INLINE void multiplyTile(int64_t k, const unit* a, const unit* b, NextRows next, vfloat (&acc)[kTileRows][kTileVectors]) {
  constexpr int64_t kAhead = 48;  // units
  const auto step = [&]() [[gnu::always_inline]] {
    vint bv[kTileVectors];
#pragma GCC unroll 8
    for (int v = 0; v < kTileVectors; ++v) bv[v] = loadUnits(b + v * kLanes);
#pragma GCC unroll 16
    for (int r = 0; r < kTileRows; ++r) {
      const vint av = splatUnit(a[r]);
#pragma GCC unroll 8
      for (int v = 0; v < kTileVectors; ++v) acc[r][v] = multiplyAdd<U>(av, bv[v], acc[r][v]);
    }
    a += kTileRows, b += kTileCols;
  };
  int64_t rows = kTileRows;
  for (int64_t i = 0; i + 2 <= k; i += 2) {
#pragma GCC unroll 2
    for (int64_t u = 0; u < 2 * kTileRows; u += 16) prefetch(a + kAhead * kTileRows + u);
#pragma GCC unroll 2
    for (int line = 0; line < lines; ++line) prefetch(next.first + line * 64);
    next.first += --rows > 0 ? next.stride : 0;
    step();
    step();
  }
  if (k & 1) step();
}

}  // namespace lantern::LANTERN_ISA
