// Vectors of floats, as wide as the instruction set this file is compiled for. Every .cpu.cc is compiled once per instruction set, with
// LANTERN_ISA naming it; all its code lives in namespace lantern::LANTERN_ISA. Arithmetic is written with the compiler's vector types
// (a * b + c becomes one fused instruction where there is one); only what has no operator is spelled out here.
//
//   avx512bf16  16 lanes, AVX-512 F/BW/DQ/VL, and BF16 dot products (kDotBf16)
//   avx512      16 lanes, AVX-512 F/BW/DQ/VL
//   avx2         8 lanes, AVX2, FMA, F16C
//   portable     4 lanes, whatever the compiler makes of them
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <utility>

#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#endif

#ifndef LANTERN_ISA
#error "compile kernels with -DLANTERN_ISA=avx512bf16|avx512|avx2|portable"
#endif
#define LANTERN_INLINE [[gnu::always_inline]] inline

namespace lantern::LANTERN_ISA {

struct bf16 {  // storage only: the upper half of a float32
  uint16_t bits;
};

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif
#if defined(__AVX512BF16__)
constexpr bool kDotBf16 = true;
#else
constexpr bool kDotBf16 = false;
#endif

typedef float vfloat __attribute__((vector_size(4 * kLanes)));
typedef int32_t vint __attribute__((vector_size(4 * kLanes)));
typedef float vfloatu __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));
typedef int32_t vintu __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));
typedef uint16_t vhalfu __attribute__((vector_size(2 * kLanes), aligned(2), may_alias));

// ---- scalars
LANTERN_INLINE float toFloat(float x) { return x; }
LANTERN_INLINE float toFloat(bf16 x) {
  const uint32_t u = uint32_t(x.bits) << 16;
  float f;
  memcpy(&f, &u, 4);
  return f;
}
template <class T>
LANTERN_INLINE T fromFloat(float f) {
  if constexpr (sizeof(T) == 4) return f;
  else {  // round to nearest even; NaN stays NaN
    uint32_t u;
    memcpy(&u, &f, 4);
    if ((u & 0x7fffffff) > 0x7f800000) return bf16{uint16_t((u >> 16) | 0x40)};
    return bf16{uint16_t((u + 0x7fff + ((u >> 16) & 1)) >> 16)};
  }
}

// ---- loads and stores
LANTERN_INLINE vfloat splat(float x) { return vfloat{} + x; }
LANTERN_INLINE vfloat load(const float* p) { return *reinterpret_cast<const vfloatu*>(p); }
LANTERN_INLINE vfloat load(const bf16* p) {
  const vint wide = __builtin_convertvector(*reinterpret_cast<const vhalfu*>(p), vint) << 16;
  return reinterpret_cast<vfloat>(wide);
}
LANTERN_INLINE void store(float* p, vfloat v) { *reinterpret_cast<vfloatu*>(p) = v; }
LANTERN_INLINE void store(bf16* p, vfloat v) {
#if defined(__AVX512BF16__)
  const __m256i h = (__m256i)_mm512_cvtneps_pbh((__m512)v);
  memcpy(p, &h, 32);
#else
  vint u = reinterpret_cast<vint>(v);
  const vint nan = (u & 0x7fffffff) > 0x7f800000;
  u = (nan & (u | 0x400000)) | (~nan & (u + 0x7fff + ((u >> 16) & 1)));
#if defined(__AVX2__) && !defined(__AVX512F__)
  const __m256i s = _mm256_srli_epi32((__m256i)u, 16);
  const __m128i h = _mm_packus_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), h);
#else
  *reinterpret_cast<vhalfu*>(p) = __builtin_convertvector((u >> 16) & 0xffff, vhalfu);
#endif
#endif
}
// The first n lanes (0 <= n <= kLanes); the others read as 0 and are not written.
#if defined(__AVX512BF16__)
LANTERN_INLINE uint32_t firstLanes(int64_t n) { return (1u << n) - 1; }
LANTERN_INLINE vfloat loadLanes(const float* p, int64_t n) { return (vfloat)_mm512_maskz_loadu_ps(__mmask16(firstLanes(n)), p); }
LANTERN_INLINE vfloat loadLanes(const bf16* p, int64_t n) {
  return (vfloat)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(__mmask16(firstLanes(n)), p)), 16);
}
LANTERN_INLINE void storeLanes(float* p, vfloat v, int64_t n) { _mm512_mask_storeu_ps(p, __mmask16(firstLanes(n)), (__m512)v); }
LANTERN_INLINE void storeLanes(bf16* p, vfloat v, int64_t n) {
  _mm256_mask_storeu_epi16(p, __mmask16(firstLanes(n)), (__m256i)_mm512_cvtneps_pbh((__m512)v));
}
#else
template <class T>
LANTERN_INLINE vfloat loadLanes(const T* p, int64_t n) {
  T part[kLanes] = {};
  memcpy(part, p, size_t(n) * sizeof(T));
  return load(part);
}
template <class T>
LANTERN_INLINE void storeLanes(T* p, vfloat v, int64_t n) {
  T part[kLanes];
  store(part, v);
  memcpy(p, part, size_t(n) * sizeof(T));
}
#endif
template <class T>
LANTERN_INLINE vfloat loadPart(const T* p, int64_t n) {
  return n >= kLanes ? load(p) : loadLanes(p, n);
}
template <class T>
LANTERN_INLINE void storePart(T* p, vfloat v, int64_t n) {
  if (n >= kLanes) return store(p, v);
  storeLanes(p, v, n);
}

// ---- what has no operator
LANTERN_INLINE vfloat asFloat(vint v) { return reinterpret_cast<vfloat>(v); }
LANTERN_INLINE vint asInt(vfloat v) { return reinterpret_cast<vint>(v); }
// Units of two rows that hold bfloat16 values, the first in the low halves.
LANTERN_INLINE vint pairRows(vfloat low, vfloat high) { return asInt(high) | ((asInt(low) >> 16) & 0xffff); }
LANTERN_INLINE vfloat select(vint mask, vfloat a, vfloat b) { return mask ? a : b; }
LANTERN_INLINE vint select(vint mask, vint a, vint b) { return mask ? a : b; }
LANTERN_INLINE vint toInts(vfloat integer) { return __builtin_convertvector(integer, vint); }
LANTERN_INLINE vfloat toFloats(vint v) { return __builtin_convertvector(v, vfloat); }
LANTERN_INLINE vfloat max(vfloat a, vfloat b) { return a > b ? a : b; }
LANTERN_INLINE vfloat min(vfloat a, vfloat b) { return a < b ? a : b; }
LANTERN_INLINE vfloat abs(vfloat a) { return asFloat(asInt(a) & 0x7fffffff); }
LANTERN_INLINE vfloat sqrt(vfloat a) {
#if defined(__AVX512F__)
  return (vfloat)_mm512_sqrt_ps((__m512)a);
#elif defined(__AVX2__)
  return (vfloat)_mm256_sqrt_ps((__m256)a);
#else
  for (int i = 0; i < kLanes; ++i) a[i] = __builtin_sqrtf(a[i]);
  return a;
#endif
}
LANTERN_INLINE vfloat roundEven(vfloat a) {  // |a| < 2^22: adding and taking away 1.5 * 2^23 leaves the nearest integer
#if defined(__AVX512F__)
  return (vfloat)_mm512_roundscale_ps((__m512)a, 8);
#elif defined(__AVX2__)
  return (vfloat)_mm256_round_ps((__m256)a, 8);
#else
  const volatile float magic = 12582912.f;
  const vfloat m = splat(magic);
  return (a + m) - m;
#endif
}
LANTERN_INLINE float sum(vfloat v) {  // pairwise, the same order on every instruction set of a width
  float part[kLanes];
  store(part, v);
  for (int step = kLanes / 2; step; step /= 2)
    for (int i = 0; i < step; ++i) part[i] += part[i + step];
  return part[0];
}
template <int... i>
LANTERN_INLINE vfloat addNeighbours(vfloat a, vfloat b, std::integer_sequence<int, i...>) {
  return __builtin_shufflevector(a, b, (2 * i)...) + __builtin_shufflevector(a, b, (2 * i + 1)...);
}
// The sums of the lanes of kLanes vectors, one a lane. Two vectors' neighbouring lanes are added into one vector, again and again.
template <int n = kLanes>
LANTERN_INLINE vfloat sumEach(vfloat (&x)[kLanes]) {
#pragma GCC unroll 16
  for (int i = 0; i < n / 2; ++i) x[i] = addNeighbours(x[2 * i], x[2 * i + 1], std::make_integer_sequence<int, kLanes>{});
  if constexpr (n == 2) return x[0];
  else return sumEach<n / 2>(x);
}
LANTERN_INLINE float maxOf(vfloat v) {
  float part[kLanes], m = v[0];
  store(part, v);
  for (int i = 1; i < kLanes; ++i) m = part[i] > m ? part[i] : m;
  return m;
}

// e^x. Cody-Waite reduction to |r| <= ln 2 / 2, a degree-6 polynomial (Cephes expf), scaled by 2^n in two steps so that results down to
// the smallest normal number are exact in the exponent; below it 0. Within 2 ulp; -inf gives 0, NaN stays NaN.
LANTERN_INLINE vfloat exp(vfloat x) {
  const vfloat cut = x < -87.5f ? splat(-87.5f) : x > 88.8f ? splat(88.8f) : x;  // NaN compares false and passes through
  const vfloat n = roundEven(cut * 1.44269504088896341f);
  vfloat r = cut - n * 0.693359375f;
  r = r - n * -2.12194440e-4f;
  vfloat p = splat(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + (r + 1.f);
  const vint k = __builtin_convertvector(n, vint), half = k >> 1;
  p = p * asFloat((half + 127) << 23) * asFloat((k - half + 127) << 23);
  return x < -87.33f ? splat(0.f) : x != x ? x : p;
}

LANTERN_INLINE vfloat sigmoid(vfloat x) { return 1.f / (1.f + exp(-x)); }

}  // namespace lantern::LANTERN_ISA

#include "log.h"
