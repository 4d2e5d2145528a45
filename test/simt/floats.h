// Floating-point numbers as PTX defines them: formats, rounding modes, flushing, the canonical NaN.
#pragma once
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

#include "lanes.h"

namespace lantern::simt {

enum class Rounding : uint8_t { nearest, zero, down, up };

// What decorates an operation: .ftz and .sat, template parameters of the common handlers; rounding other than to nearest goes a slower way.
struct FloatMode {
  Rounding rounding = Rounding::nearest;
  bool ftz = false, sat = false, stated = false;  // stated: a rounding mode was written, so that ptxas may not fuse
};
FloatMode takeFloatMode(Decoder& d);

constexpr uint32_t kNan32 = 0x7fffffff;
constexpr uint16_t kNan16 = 0x7fff;

// Without branches, so that the compiler vectorises them.
inline float flushed(float x) {
  const uint32_t u = std::bit_cast<uint32_t>(x);
  return std::bit_cast<float>(u & 0x7f800000 ? u : u & 0x80000000);
}
template <bool kFtz>
inline float operandOf(float x) {
  return kFtz ? flushed(x) : x;
}
// f32 operations give the canonical NaN; with .sat the result is clamped to [0, 1], and NaN becomes 0.
template <bool kFtz, bool kSat>
inline float resultOf(float x) {
  if (kFtz) x = flushed(x);
  if (kSat) return x > 0.f ? (x < 1.f ? x : 1.f) : 0.f;
  return x == x ? x : std::bit_cast<float>(kNan32);
}

// A number on the grid of a format: `precision` bits of significand (the leading one counts), normal from 2^minExponent, at most `largest`.
struct Format {
  int precision, minExponent;
  long double largest;
};
constexpr Format kHalfFormat{11, -14, 65504.L};
constexpr Format kBfloatFormat{8, -126, 3.38953138925153547590470800371487866880e38L};
constexpr Format kFloatFormat{24, -126, 3.40282346638528859811704183484516925440e38L};
constexpr Format kDoubleFormat{53, -1022, 1.79769313486231570814527423731704356798070e308L};
inline long double toInteger(long double x, Rounding r) {
  switch (r) {
    case Rounding::nearest: return std::nearbyint(x);
    case Rounding::zero: return std::trunc(x);
    case Rounding::down: return std::floor(x);
    case Rounding::up: return std::ceil(x);
  }
  return x;
}
// A long double holds every integer of 64 bits and every f64, so this is the one place where values are rounded.
inline long double roundTo(const Format& f, long double x, Rounding r) {
  if (!std::isfinite(x) || x == 0) return x;  // NaN, infinities, zeros
  const int exponent = std::max(std::ilogb(x), f.minExponent) - f.precision + 1;
  const long double y = std::scalbn(toInteger(std::scalbn(x, -exponent), r), exponent);
  if (std::fabs(y) <= f.largest) return y == 0 ? std::copysign(0.L, x) : y;
  const bool towardsZero = r == Rounding::zero || r == (x > 0 ? Rounding::down : Rounding::up);
  return std::copysign(towardsZero ? f.largest : INFINITY, x);
}

inline float bfloatToFloat(uint32_t bits) { return std::bit_cast<float>(bits << 16); }
inline uint32_t floatToBfloat(float x) {  // to nearest
  const uint32_t u = std::bit_cast<uint32_t>(x);
  const uint32_t rounded = (u + 0x7fff + (u >> 16 & 1)) >> 16;
  return x == x ? rounded : kNan16;
}
inline float halfToFloat(uint32_t bits) { return float(std::bit_cast<_Float16>(uint16_t(bits))); }
inline uint32_t floatToHalf(float x) { return x == x ? uint32_t(std::bit_cast<uint16_t>(_Float16(x))) : kNan16; }

inline float toFloat(Half x) { return halfToFloat(x.bits); }
inline float toFloat(Bfloat x) { return bfloatToFloat(x.bits); }

// The sum of two doubles, rounded to odd: rounding that once more, to a narrower format, is as good as rounding the exact sum.
inline double oddSum(double a, double b) {
  const double s = a + b;
  if (!(std::fabs(s) < INFINITY)) return s;
  const double back = s - a, error = (a - (s - back)) + (b - back);
  const uint64_t u = std::bit_cast<uint64_t>(s);
  if (error == 0 || (u & 1)) return s;
  return std::bit_cast<double>((error > 0) == (s > 0) ? u + 1 : u - 1);
}
template <class T>
T fromDouble(double x);
template <>
inline Half fromDouble<Half>(double x) {
  return x == x ? Half{std::bit_cast<uint16_t>(_Float16(double(roundTo(kHalfFormat, x, Rounding::nearest))))} : Half{kNan16};
}
template <>
inline Bfloat fromDouble<Bfloat>(double x) {
  return x == x ? Bfloat{uint16_t(std::bit_cast<uint32_t>(float(roundTo(kBfloatFormat, x, Rounding::nearest))) >> 16)} : Bfloat{kNan16};
}

// min and max: a number wins over NaN, and -0 < +0.
template <class T>
inline T smaller(T a, T b) {
  using U = Slot<T>;
  const T equal = std::bit_cast<T>(U(std::bit_cast<U>(a) | std::bit_cast<U>(b)));
  return a < b ? a : b < a ? b : a == b ? equal : a != a ? b : a;
}
template <class T>
inline T larger(T a, T b) {
  using U = Slot<T>;
  const T equal = std::bit_cast<T>(U(std::bit_cast<U>(a) & std::bit_cast<U>(b)));
  return a > b ? a : b > a ? b : a == b ? equal : a != a ? b : a;
}

// Operations on f16, f16x2, bf16, bf16x2 (aluHalf.cc) and with a directed rounding mode (aluRounded.cc).
enum class FloatOp : uint8_t { add, sub, mul, fma, min, max, neg, abs, div, sqrt, rcp };
void halfOperation(Decoder& d, std::string_view type, FloatOp op);
Handler roundedHandler(Decoder& d, std::string_view type, FloatOp op);

// a b + c as one operation, for products and sums that ptxas may fuse; the product or c negated.
Handler fusedHandler(bool ftz, bool sat, bool negateProduct, bool negateSum);

}  // namespace lantern::simt
