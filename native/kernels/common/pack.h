// Packing: from a matrix in memory to the panels that tile.h multiplies.
//
//   packInner   the reduction is the inner (contiguous) dimension: src[row][k], transposed on the way
//   packOuter   the reduction is the outer dimension: src[k][col], copied (bf16 pairs: two rows interleaved)
//
// Both write dst[unit k][width], zero beyond the matrix and beyond an odd last bf16, and may write up to kLanes units past
// dst[units * width]: panels need that slack (panelUnits has it). bf16 sources are widened when the product is in floats.
#pragma once
#include <algorithm>

#include "tile.h"

namespace lantern::LANTERN_ISA {

template <class U>
constexpr int64_t unitsOf(int64_t k) {
  return (k + kUnit<U> - 1) / kUnit<U>;
}

// Units from one panel to the next: k units of `width`, slack, and whole cache lines.
constexpr int64_t panelUnits(int64_t k, int64_t width) { return (k * width + kLanes + 15) / 16 * 16; }

// kLanes consecutive units from the first `elements` of p (zeros beyond).
template <class U, class T>
LANTERN_INLINE vint loadAsUnits(const T* p, int64_t elements) {
  if constexpr (sizeof(U) == 4) return asInt(loadPart(p, elements));
  else {
    if (elements >= 2 * kLanes) return loadUnits(p);
#if defined(__AVX512BF16__)
    return (vint)_mm512_maskz_loadu_epi16((1u << elements) - 1, p);
#endif
    alignas(64) T part[2 * kLanes] = {};
    memcpy(part, p, size_t(elements) * sizeof(T));
    return loadUnits(reinterpret_cast<const unit*>(part));
  }
}

// x[i][j] <-> x[j][i], a square of kLanes x kLanes.
LANTERN_INLINE void transpose(vint (&x)[kLanes]) {
  vint y[kLanes];
#if defined(__AVX512F__)
#pragma GCC unroll 8
  for (int r = 0; r < 16; r += 2) {
    y[r] = (vint)_mm512_unpacklo_epi32((__m512i)x[r], (__m512i)x[r + 1]);
    y[r + 1] = (vint)_mm512_unpackhi_epi32((__m512i)x[r], (__m512i)x[r + 1]);
  }
#pragma GCC unroll 4
  for (int r = 0; r < 16; r += 4)
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h) {
      x[r + 2 * h] = (vint)_mm512_unpacklo_epi64((__m512i)y[r + h], (__m512i)y[r + 2 + h]);
      x[r + 2 * h + 1] = (vint)_mm512_unpackhi_epi64((__m512i)y[r + h], (__m512i)y[r + 2 + h]);
    }
#pragma GCC unroll 4
  for (int r = 0; r < 4; ++r)
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h) {
      y[r + 8 * h] = (vint)_mm512_shuffle_i32x4((__m512i)x[r + 8 * h], (__m512i)x[r + 8 * h + 4], 0x88);
      y[r + 8 * h + 4] = (vint)_mm512_shuffle_i32x4((__m512i)x[r + 8 * h], (__m512i)x[r + 8 * h + 4], 0xdd);
    }
#pragma GCC unroll 8
  for (int r = 0; r < 8; ++r) {
    x[r] = (vint)_mm512_shuffle_i32x4((__m512i)y[r], (__m512i)y[r + 8], 0x88);
    x[r + 8] = (vint)_mm512_shuffle_i32x4((__m512i)y[r], (__m512i)y[r + 8], 0xdd);
  }
#elif defined(__AVX2__)
#pragma GCC unroll 4
  for (int r = 0; r < 8; r += 2) {
    y[r] = (vint)_mm256_unpacklo_epi32((__m256i)x[r], (__m256i)x[r + 1]);
    y[r + 1] = (vint)_mm256_unpackhi_epi32((__m256i)x[r], (__m256i)x[r + 1]);
  }
#pragma GCC unroll 2
  for (int r = 0; r < 8; r += 4)
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h) {
      x[r + 2 * h] = (vint)_mm256_unpacklo_epi64((__m256i)y[r + h], (__m256i)y[r + 2 + h]);
      x[r + 2 * h + 1] = (vint)_mm256_unpackhi_epi64((__m256i)y[r + h], (__m256i)y[r + 2 + h]);
    }
#pragma GCC unroll 4
  for (int r = 0; r < 4; ++r) {
    y[r] = (vint)_mm256_permute2x128_si256((__m256i)x[r], (__m256i)x[r + 4], 0x20);
    y[r + 4] = (vint)_mm256_permute2x128_si256((__m256i)x[r], (__m256i)x[r + 4], 0x31);
  }
#pragma GCC unroll 8
  for (int r = 0; r < 8; ++r) x[r] = y[r];
#else
  static_assert(kLanes == 4);
  y[0] = __builtin_shufflevector(x[0], x[1], 0, 4, 1, 5), y[1] = __builtin_shufflevector(x[0], x[1], 2, 6, 3, 7);
  y[2] = __builtin_shufflevector(x[2], x[3], 0, 4, 1, 5), y[3] = __builtin_shufflevector(x[2], x[3], 2, 6, 3, 7);
  x[0] = __builtin_shufflevector(y[0], y[2], 0, 1, 4, 5), x[1] = __builtin_shufflevector(y[0], y[2], 2, 3, 6, 7);
  x[2] = __builtin_shufflevector(y[1], y[3], 0, 1, 4, 5), x[3] = __builtin_shufflevector(y[1], y[3], 2, 3, 6, 7);
#endif
}

// dst[i][r] = src[r][units i], r < width: `rows` rows of `k` elements, rows `ld` elements apart. width is kTileRows or a multiple of kLanes.
template <class U, class T>
void packInner(unit* dst, int64_t width, const T* src, int64_t ld, int64_t rows, int64_t k) {
  const int64_t units = unitsOf<U>(k);
  for (int64_t i0 = 0; i0 < units; i0 += kLanes)
    for (int64_t r0 = 0; r0 < width; r0 += kLanes) {
      const int64_t first = i0 * kUnit<U>, count = units - i0 < kLanes ? units - i0 : kLanes;
      vint x[kLanes];
      if (rows - r0 >= kLanes && k - first >= kLanes * kUnit<U>) {
#pragma GCC unroll 16
        for (int r = 0; r < kLanes; ++r) x[r] = loadAsUnits<U>(src + (r0 + r) * ld + first, kLanes * kUnit<U>);
      } else {
#pragma GCC unroll 16
        for (int r = 0; r < kLanes; ++r) x[r] = r0 + r < rows ? loadAsUnits<U>(src + (r0 + r) * ld + first, k - first) : vint{};
      }
      transpose(x);
      unit* to = dst + i0 * width + r0;  // a vector wider than the panel spills into the next k, which is written after it
      if (count == kLanes) {
#pragma GCC unroll 16
        for (int c = 0; c < kLanes; ++c) storeUnits(to + c * width, x[c]);
      } else {
#pragma GCC unroll 16
        for (int c = 0; c < kLanes; ++c)
          if (c < count) storeUnits(to + c * width, x[c]);
      }
    }
}

// Unit i of kLanes columns, of which n may be read: src[units i][col...].
template <class U, class T>
LANTERN_INLINE vint unitsOfRows(const T* p, int64_t ld, int64_t n, bool odd) {
  if constexpr (sizeof(U) == 4) return asInt(loadPart(p, n));
  else {
    if (n < kLanes || !odd) return pairRows(loadPart(p, n), odd ? loadPart(p + ld, n) : vfloat{});
    const auto wide = [](const T* from) { return __builtin_convertvector(*reinterpret_cast<const vhalfu*>(from), vint); };
    return wide(p) | wide(p + ld) << 16;
  }
}

// dst[panel][i][c] = src[units i][panel * width + c]: `panels` neighbours of `width` columns, `stride` units apart in dst. src has `k` rows,
// `ld` elements apart, of which `cols` elements may be read. A row is read across all panels at once, so that each of its cache lines is
// fetched once even where rows lie a power of two apart and evict one another; rows further on are asked for early, as no prefetcher
// follows them from page to page.
template <class U, class T>
void packOuter(unit* dst, int64_t stride, int64_t panels, int64_t width, const T* src, int64_t ld, int64_t cols, int64_t k) {
  constexpr int64_t kAhead = 16;  // rows
  for (int64_t i = 0; i < unitsOf<U>(k); ++i) {
    const T* row = src + i * kUnit<U> * ld;
    const bool odd = kUnit<U> * i + 1 < k;
    for (int64_t r = 0; r < kUnit<U>; ++r)
      for (int64_t c = 0; c < std::min(cols, panels * width); c += 64 / int64_t(sizeof(T))) prefetch(row + (kAhead + r) * ld + c);
    for (int64_t panel = 0; panel < panels; ++panel)
      for (int64_t c = 0; c < width; c += kLanes) {
        const int64_t at = panel * width + c, n = cols - at < 0 ? 0 : cols - at;
        storeUnits(dst + panel * stride + i * width + c, unitsOfRows<U>(row + at, ld, n, odd));
      }
  }
}

}  // namespace lantern::LANTERN_ISA
