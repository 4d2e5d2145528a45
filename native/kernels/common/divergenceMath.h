// The divergences between two softmaxes, element by element, exact under cancellation. Shared by distillHead and divergence.
//
// With s, t the logits, M their maxima and z = log sum e^((x - M) / T) (at least 0, from log1p of what is beside the largest term):
//   l_s = (s - M_s) / T - z_s        l_t = (t - M_t) / T - z_t        u = l_t - l_s
// u is taken relative to the student's most probable class r: u = u_r + ((t - s) - (t_r - s_r)) / T. Nearly equal logits subtract exactly.
// With b the larger of p_s, p_t: the other is b e^-|u|, p_s - p_t = +-b expm1(-|u|), exact to the last bits however close they are.
// For the mixture m = beta p_t + (1 - beta) p_s:
//   l_m - l_s = log1p(beta expm1(u))             where u <= 0
//   l_m - l_t = log1p((1 - beta) expm1(-u))      where u > 0; the other one differs by u
//
// A gradient of the form c p_s (g - sum p_s g) does not change when a constant is taken from every g. The constant is g at r, so that a
// confident student's small gradient is a sum of small terms and not a difference of large ones:
//   reverseKL  g = l_s - l_t, c = 1;   generalizedJS  g = l_s - l_m, c = 1 - beta;   totalVariation  g = sign(p_s - p_t), c = 1/2
//   forwardKL  has no such sum: p_s - p_t;  symmetricKL = forwardKL + reverseKL;  jensenShannon = generalizedJS(1/2)
// The reverse KL's g - g_r = ((t_r - s_r) - (t - s)) / T keeps the rounding errors of both differences, since u itself may be thousands.
// Where the teacher finds r improbable (u_r < -1), l_m - l_s is close to log(1 - beta) for every class that counts; there that is taken off
// too: l_m - l_s - log(1 - beta) = log1p(beta / (1 - beta) e^u).
//
// u is clamped to +-10,000: a class that is impossible for one side alone costs a large finite amount instead of infinity, and never NaN.
//
// One text for both sides: a vfloat is a vector of the processor's floats (simd.h), on a GPU the float of a thread (simd.cuh).
#pragma once
#include <algorithm>
#include <type_traits>

#include "divergenceKind.h"
#ifdef __CUDACC__
#include "simd.cuh"
#else
#include "simd.h"
#endif

namespace lantern::LANTERN_ISA {

constexpr float kLowest = -1e30f;  // stands for a logit of -inf: finite, so that -inf minus -inf cannot occur
constexpr float kMaxLogRatio = 1e4f;

// e^x = 2^n (1 + q) for x <= 0: fewer steps than exp needs for every x. NaN stays NaN.
LANTERN_INLINE void expParts(vfloat x, vfloat& power, vfloat& q) {
  const vfloat cut = x < -87.f ? splat(-87.f) : x;
  const vfloat n = roundEven(cut * 1.44269504088896341f);
  vfloat r = cut - n * 0.693359375f;
  r = r - n * -2.12194440e-4f;
  vfloat p = splat(1.9875691500e-4f);  // Cephes expf
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  q = p * (r * r) + r;
  power = asFloat((toInts(n) + 127) << 23);
}
LANTERN_INLINE vfloat expNegative(vfloat x) {
  vfloat power, q;
  expParts(x, power, q);
  return x < -87.f ? splat(0.f) : power * q + power;
}
// e^x and e^x - 1 for x <= 0, both to full relative precision: e^x - 1 = 2^n q + (2^n - 1).
LANTERN_INLINE void expPair(vfloat x, vfloat& e, vfloat& em1) {
  vfloat power, q;
  expParts(x, power, q);
  e = x < -87.f ? splat(0.f) : power * q + power;
  em1 = power * q + (power - 1.f);
}

// The constants of one row, or of kLanes rows, one a lane.
struct RowPair {
  vfloat maxS, maxT, logZS, logZT;  // the maxima, and log sum e^((x - max) / T)
  vfloat refGap, refError;          // t_r - s_r, and the rounding error of that
  vfloat refRatio;                  // u_r, clamped
  vfloat gTop;                      // g at r, without `shift`
  vfloat shift;                     // what is taken off l_m - l_s: log(1 - beta), or 0
  vfloat invT;
  float beta;
};

LANTERN_INLINE vfloat clampRatio(vfloat u) {  // NaN passes through
  return u > kMaxLogRatio ? splat(kMaxLogRatio) : u < -kMaxLogRatio ? splat(-kMaxLogRatio) : u;
}
// The rounding error of d = a - b (Knuth's two-sum).
LANTERN_INLINE vfloat differenceError(vfloat a, vfloat b, vfloat d) {
  const vfloat back = d - a;
  return (a - (d - back)) - (b + back);
}
// u_r of a row: the student's largest logit is at r, the teacher's there is given.
LANTERN_INLINE float topRatio(float teacherAtTop, float maxT, double logZS, double logZT, double temperature) {
  const double u = (double(teacherAtTop) - double(maxT)) / temperature - (logZT - logZS);
  return float(u > kMaxLogRatio ? kMaxLogRatio : u < -kMaxLogRatio ? -kMaxLogRatio : u);
}
LANTERN_INLINE float mixtureShift(int64_t kind, float refRatio, float logRest) {
  return kind == kGeneralizedJS && refRatio < -1.f ? logRest : 0.f;
}

// l_m - l_s - shift and l_m - l_t from u, e^-|u| and expm1(-|u|).
LANTERN_INLINE void mixtureLogs(const RowPair& c, vfloat u, vfloat e, vfloat em1, vfloat& ms, vfloat& mt) {
  const vint teacherLarger = u > 0.f, shifted = c.shift < 0.f;
  const vfloat below = select(shifted, e * (c.beta / (1.f - c.beta)), em1 * c.beta);
  const vfloat low = log1p(select(teacherLarger, em1 * (1.f - c.beta), below));
  ms = select(teacherLarger, low + (u - c.shift), low);
  mt = select(teacherLarger, low, low + (c.shift - u));
}

// g of the header comment as a function of u alone, without the shift.
template <int64_t kKind>
LANTERN_INLINE vfloat gOf(const RowPair& c, vfloat u) {
  if constexpr (kKind == kReverseKL || kKind == kSymmetricKL) return -u;
  else if constexpr (kKind == kTotalVariation) return u < 0.f ? splat(1.f) : u > 0.f ? splat(-1.f) : splat(0.f);
  else if constexpr (kKind == kGeneralizedJS) {
    vfloat e, em1, ms, mt;
    expPair(-abs(u), e, em1);
    mixtureLogs(c, u, e, em1, ms, mt);
    return -ms;
  } else return splat(0.f);
}
// c of the header comment.
LANTERN_INLINE float gScale(int64_t kind, float beta) {
  return kind == kTotalVariation ? .5f : kind == kGeneralizedJS ? 1.f - beta : kind == kForwardKL ? 0.f : 1.f;
}

struct Element {
  vfloat ps, pt, lt;
  vfloat h;       // p_s (g - g_r)
  vfloat direct;  // the part of the gradient outside c p_s (g - sum p_s g): p_s - p_t for the forward KL
  vfloat value;   // summand of the part of the loss that the sum of h does not give
};
template <int64_t kKind>
LANTERN_INLINE Element divergenceElement(const RowPair& c, vfloat s, vfloat t) {
  Element r;
  const vfloat ls = (s - c.maxS) * c.invT - c.logZS, lt = (t - c.maxT) * c.invT - c.logZT;
  const vfloat gap = t - s;
  vfloat difference = gap - c.refGap;
  if constexpr (kKind == kReverseKL || kKind == kSymmetricKL) difference += differenceError(t, s, gap) - c.refError;
  difference *= c.invT;
  // relative to an impossible class nothing can be said: there the two logarithms themselves
  const vfloat u = clampRatio(select(abs(c.refRatio) < kMaxLogRatio, difference + c.refRatio, lt - ls));
  const vint teacherLarger = u > 0.f;
  vfloat e, em1;
  expPair(-abs(u), e, em1);
  const vfloat larger = expNegative(select(teacherLarger, lt, ls)), excess = larger * em1;
  // u has other rounding errors than l_t - l_s, larger ones where u_r is large: to first order e^-|u| is freed of them
  const vfloat smaller = larger * (e + e * (abs(u) - abs(lt - ls)));
  r.ps = select(teacherLarger, smaller, larger);
  r.pt = select(teacherLarger, larger, smaller);
  r.lt = lt;
  r.h = r.direct = r.value = splat(0.f);
  if constexpr (kKind == kForwardKL || kKind == kSymmetricKL) {
    r.direct = select(teacherLarger, excess, -excess);
    r.value = r.pt * u;
  }
  if constexpr (kKind == kReverseKL || kKind == kSymmetricKL) {
    const vint clamped = (abs(u) >= kMaxLogRatio) | (abs(c.refRatio) >= kMaxLogRatio);
    r.h = r.ps * select(clamped, c.refRatio - u, -difference);
  }
  if constexpr (kKind == kTotalVariation) {
    r.h = r.ps * (gOf<kKind>(c, u) - c.gTop);
    r.value = abs(r.ps - r.pt);
  }
  if constexpr (kKind == kGeneralizedJS) {
    vfloat ms, mt;
    mixtureLogs(c, u, e, em1, ms, mt);
    r.h = r.ps * (-ms - c.gTop);
    r.value = -(r.pt * mt);
  }
  return r;
}

// The divergence from g at r (with the shift) and the sums of h and value over the classes.
LANTERN_INLINE double divergenceValue(int64_t kind, double beta, double gTop, double h, double value) {
  switch (kind) {
    case kForwardKL: return value;
    case kReverseKL: return h + gTop;
    case kSymmetricKL: return value + h + gTop;
    case kGeneralizedJS: return beta * value + (1 - beta) * (h + gTop);
    case kTotalVariation: return .5 * value;
    default: return 0;
  }
}

// The constants of a row as the divergence op keeps them between forward and backward.
struct RowConstants {
  float maxS, maxT, logZS, logZT, teacherAtTop, refRatio, gTop, sumH;  // teacherAtTop: t_r; sumH: sum p_s (g - g_r)
};
LANTERN_INLINE RowPair rowPair(const RowConstants& r, int64_t kind, const DivergenceScalars& c) {
  const vfloat t = splat(r.teacherAtTop), s = splat(r.maxS);
  return {s,       splat(r.maxT),         splat(r.logZS), splat(r.logZT), t - s, differenceError(t, s, t - s), splat(r.refRatio), splat(r.gTop),
          splat(mixtureShift(kind, r.refRatio, c.logRest)), splat(c.invT), c.beta};
}

// fn(std::integral_constant<int64_t, kind>{}); kNone does nothing.
template <class F>
LANTERN_INLINE void forDivergence(int64_t kind, F&& fn) {
  switch (kind) {
    case kForwardKL: return fn(std::integral_constant<int64_t, kForwardKL>{});
    case kReverseKL: return fn(std::integral_constant<int64_t, kReverseKL>{});
    case kSymmetricKL: return fn(std::integral_constant<int64_t, kSymmetricKL>{});
    case kGeneralizedJS: return fn(std::integral_constant<int64_t, kGeneralizedJS>{});
    case kTotalVariation: return fn(std::integral_constant<int64_t, kTotalVariation>{});
  }
}

}  // namespace lantern::LANTERN_ISA
