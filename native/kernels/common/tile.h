// The register tile that every matrix product is made of, shared by matmul, the distillation head and attention.
//
// Operands are seen as 32-bit *units* along the reduction: one float, or, where the processor multiplies pairs of bf16 (kDotBf16), two
// consecutive bf16. A tile adds, over units k,  C[row][col] += A(row, k) * B(k, col)  for kTileRows x kTileCols outputs:
//
//   A panel   a[k * kTileRows + row]   one unit broadcast to all lanes
//   B panel   b[k * kTileCols + col]   kTileVectors vectors
//
// pack.h makes panels from matrices. Rows and columns beyond a matrix are packed as zeros, so a tile has no edge cases.
// kTileRows * kTileVectors accumulators, the vectors of B and one broadcast fill the register file: 14 x 32 on avx512 (31 of 32
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

LANTERN_INLINE vint loadUnits(const unit* p) { return *reinterpret_cast<const vintu*>(p); }
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

// acc[r][v] += sum over k units of a[k * aStride + r] * b[k * bStride + v * kLanes + lane], for any shape that fits the registers.
template <class U, int R, int V>
LANTERN_INLINE void accumulate(int64_t k, const unit* a, int64_t aStride, const unit* b, int64_t bStride, vfloat (&acc)[R][V]) {
#pragma GCC unroll 4
  for (int64_t i = 0; i < k; ++i, a += aStride, b += bStride) {
    vint bv[V];
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) bv[v] = loadUnits(b + v * kLanes);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const vint av = splatUnit(a[r]);
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) acc[r][v] = multiplyAdd<U>(av, bv[v], acc[r][v]);
    }
  }
}

// c[kTileRows][kTileCols] = A panel * B panel over k units, or += when `add`.
template <class U>
[[gnu::noinline]] void multiplyTile(int64_t k, const unit* a, const unit* b, float* c, bool add) {
  vfloat acc[kTileRows][kTileVectors] = {};
  accumulate<U>(k, a, kTileRows, b, kTileCols, acc);
#pragma GCC unroll 16
  for (int r = 0; r < kTileRows; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < kTileVectors; ++v) {
      float* p = c + r * kTileCols + v * kLanes;
      store(p, add ? load(p) + acc[r][v] : acc[r][v]);
    }
}

}  // namespace lantern::LANTERN_ISA
