// What simd.h is to a processor's vectors, for device code: a vector of one lane, the thread's own. Headers with arithmetic that both sides
// share (divergenceMath.h) include the one or the other. A comparison is 0 or 1 here, so they hand it to select and do not calculate with it.
#pragma once
#include "cuda.cuh"

#define LANTERN_ISA cuda
#define LANTERN_INLINE LANTERN_DEVICE

namespace lantern::cuda {

using vfloat = float;
using vint = int32_t;

LANTERN_INLINE vfloat splat(float x) { return x; }
LANTERN_INLINE vfloat asFloat(vint v) { return __int_as_float(v); }
LANTERN_INLINE vint asInt(vfloat v) { return __float_as_int(v); }
LANTERN_INLINE vfloat select(vint mask, vfloat a, vfloat b) { return mask ? a : b; }
LANTERN_INLINE vint select(vint mask, vint a, vint b) { return mask ? a : b; }
LANTERN_INLINE vfloat abs(vfloat a) { return fabsf(a); }

// Of |a| < 2^22: with 1.5 * 2^23 added a float's lowest bits are the nearest integer. Additions run at full rate, conversions do not.
constexpr float kRounding = 12582912.f;
LANTERN_INLINE vfloat roundEven(vfloat a) { return (a + kRounding) - kRounding; }
LANTERN_INLINE vint toInts(vfloat integer) { return asInt(integer + kRounding) - __float_as_int(kRounding); }
LANTERN_INLINE vfloat toFloats(vint v) { return asFloat(v + __float_as_int(kRounding)) - kRounding; }

}  // namespace lantern::cuda

#include "log.h"
