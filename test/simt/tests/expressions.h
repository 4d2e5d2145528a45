// What the generated expressions are made of, on the device and on the host, and the expressions.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

#ifdef __CUDACC__
#define HD __device__ inline
#else
#define HD inline
#endif

namespace expressions {

HD uint32_t high(uint32_t a, uint32_t b) { return uint32_t(uint64_t(a) * b >> 32); }
HD int32_t high(int32_t a, int32_t b) { return int32_t(int64_t(a) * b >> 32); }
#ifdef __CUDACC__
HD int ones(uint32_t a) { return __popc(a); }
HD int ones(uint64_t a) { return __popcll(a); }
HD int zeros(uint32_t a) { return __clz(int(a)); }
HD int zeros(uint64_t a) { return __clzll((long long)a); }
HD uint64_t high(uint64_t a, uint64_t b) { return __umul64hi(a, b); }
HD int64_t high(int64_t a, int64_t b) { return __mul64hi(a, b); }
HD uint32_t rotate(uint32_t a, uint32_t n) { return __funnelshift_l(a, a, n); }
#else
HD int ones(uint32_t a) { return __builtin_popcount(a); }
HD int ones(uint64_t a) { return __builtin_popcountll(a); }
HD int zeros(uint32_t a) { return a ? __builtin_clz(a) : 32; }
HD int zeros(uint64_t a) { return a ? __builtin_clzll(a) : 64; }
HD uint64_t high(uint64_t a, uint64_t b) { return uint64_t((unsigned __int128)(a) * b >> 64); }
HD int64_t high(int64_t a, int64_t b) { return int64_t((__int128)(a) * b >> 64); }
HD uint32_t rotate(uint32_t a, uint32_t n) { return n & 31 ? a << (n & 31) | a >> (32 - (n & 31)) : a; }
#endif
HD uint64_t rotate(uint64_t a, uint64_t n) { return n & 63 ? a << (n & 63) | a >> (64 - (n & 63)) : a; }

// The quotient overflows for the smallest number and -1.
template <class T>
HD T divide(T a, T b) { return b == T(-1) ? T(0 - uint64_t(a)) : T(a / (b == 0 ? T(1) : b)); }
template <class T>
HD T remain(T a, T b) { return b == T(-1) ? T(0) : T(a % (b == 0 ? T(1) : b)); }

HD double clampSigned(double x) { return x > -2e9 ? (x < 2e9 ? x : 2e9) : -2e9; }  // NaN: -2e9
HD double clampUnsigned(double x) { return x > 0 ? (x < 4e9 ? x : 4e9) : 0; }

// Every NaN is the same.
HD uint64_t bitsOf(uint32_t x) { return x; }
HD uint64_t bitsOf(int32_t x) { return uint32_t(x); }
HD uint64_t bitsOf(uint64_t x) { return x; }
HD uint64_t bitsOf(int64_t x) { return uint64_t(x); }
HD uint64_t bitsOf(float x) {
  uint32_t u = 0x7fffffff;
  if (x == x) memcpy(&u, &x, 4);
  return u;
}
HD uint64_t bitsOf(double x) {
  uint64_t u = 0x7fffffffffffffff;
  if (x == x) memcpy(&u, &x, 8);
  return u;
}

#include "generatedExpressions.h"

}  // namespace expressions
