// The divergences between two softmaxes, element by element, exact under cancellation. Shared by distillHead and divergence.
//
// With s, t the logits, M their maxima and z = log sum e^((x - M) / T) (at least 0, from log1p of what is beside the largest term):
//   l_s = (s - M_s) / T - z_s        l_t = (t - M_t) / T - z_t
//   u = l_t - l_s, taken as ((t - s) - (M_t - M_s)) / T - (z_t - z_s): nearly equal logits subtract exactly, and so do the two maxima.
// With b the larger of p_s, p_t: the smaller is b e^-|u|, and p_s - p_t = +-b expm1(-|u|), exact to the last bits however close they are.
// For the mixture m = beta p_t + (1 - beta) p_s:
//   l_m - l_s = log1p(beta expm1(u))             where u <= 0
//   l_m - l_t = log1p((1 - beta) expm1(-u))      where u > 0; the other one differs by u
//
// A gradient of the form c p_s (g - sum p_s g) does not change when a constant is taken from every g. The constant is g at the student's
// most probable class, so a confident student's small gradient is a sum of small terms and not a difference of large ones:
//   reverseKL  g = l_s - l_t, c = 1;   generalizedJS  g = l_s - l_m, c = 1 - beta;   totalVariation  g = sign(p_s - p_t), c = 1/2
//   forwardKL  has no such sum: p_s - p_t;  symmetricKL = forwardKL + reverseKL;  jensenShannon = generalizedJS(1/2)
//
// u is clamped to +-10,000: a class that is impossible for one side alone costs a large finite amount instead of infinity, and never NaN.
#pragma once
#include "simd.h"

namespace lantern {

// Numbers shared with lib/ops/divergence.ts.
enum DivergenceKind : int64_t { kNone = 0, kForwardKL = 1, kReverseKL = 2, kSymmetricKL = 3, kGeneralizedJS = 4, kTotalVariation = 5 };

}  // namespace lantern

namespace lantern::LANTERN_ISA {

constexpr float kLowest = -1e30f;  // stands for a logit of -inf: finite, so that -inf minus -inf cannot occur
constexpr float kMaxLogRatio = 1e4f;

typedef double vdouble __attribute__((vector_size(8 * kLanes)));

// e^x and e^x - 1 for x <= 0, both to full relative precision: e^x = 2^n (1 + q), so e^x - 1 = 2^n q + (2^n - 1).
LANTERN_INLINE void expPair(vfloat x, vfloat& e, vfloat& em1) {
  const vfloat cut = x < -87.f ? splat(-87.f) : x;  // NaN passes through
  const vfloat n = roundEven(cut * 1.44269504088896341f);
  vfloat r = cut - n * 0.693359375f;
  r = r - n * -2.12194440e-4f;
  vfloat p = splat(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  const vfloat q = p * (r * r) + r;
  const vfloat power = asFloat((__builtin_convertvector(n, vint) + 127) << 23);
  e = x < -87.f ? splat(0.f) : power * q + power;
  em1 = power * q + (power - 1.f);
}

// log(1 + y) for -1 < y <= 0, to full relative precision: where 1 + y needs no scaling the polynomial takes y itself.
LANTERN_INLINE vfloat log1pNegative(vfloat y) {
  const vfloat w = y + 1.f;
  const vint u = asInt(w);
  vint e = ((u >> 23) & 0xff) - 127;
  vfloat m = asFloat((u & 0x7fffff) | 0x3f800000);
  const vint big = m > 1.41421356f;
  m = select(big, m * .5f, m);
  e = e - big;  // a true comparison is -1
  m = select(e == 0, y, m - 1.f);
  const vfloat z = m * m, ef = __builtin_convertvector(e, vfloat);
  vfloat p = splat(7.0376836292e-2f);
  p = p * m - 1.1514610310e-1f;
  p = p * m + 1.1676998740e-1f;
  p = p * m - 1.2420140846e-1f;
  p = p * m + 1.4249322787e-1f;
  p = p * m - 1.6668057665e-1f;
  p = p * m + 2.0000714765e-1f;
  p = p * m - 2.4999993993e-1f;
  p = p * m + 3.3333331174e-1f;
  return m + (m * z * p + ef * -2.12194440e-4f - .5f * z) + ef * 0.693359375f;
}

// What the softmaxes of one row (or of kLanes rows, one a lane) need.
struct RowPair {
  vfloat maxS, maxT, logZS, logZT;  // the maxima, and log sum e^((x - max) / T)
  vfloat deltaMax, deltaZ;          // maxT - maxS, logZT - logZS
  vfloat invT;
};

LANTERN_INLINE vfloat logRatio(const RowPair& c, vfloat s, vfloat t) {
  const vfloat u = ((t - s) - c.deltaMax) * c.invT - c.deltaZ;
  return u > kMaxLogRatio ? splat(kMaxLogRatio) : u < -kMaxLogRatio ? splat(-kMaxLogRatio) : u;
}

// g of the header comment as a function of u alone (0 for forwardKL), and its constants.
struct Mixture {
  float beta;
};
// l_m - l_s and l_m - l_t, from u and em1 = expm1(-|u|)
LANTERN_INLINE void mixtureLogs(Mixture m, vfloat u, vfloat em1, vfloat& ms, vfloat& mt) {
  const vint teacherLarger = u > 0.f;
  const vfloat low = log1pNegative(em1 * select(teacherLarger, splat(1.f - m.beta), splat(m.beta)));
  ms = select(teacherLarger, low + u, low);
  mt = select(teacherLarger, low, low - u);
}
template <int64_t kKind>
LANTERN_INLINE vfloat gOf(Mixture m, vfloat u) {
  if constexpr (kKind == kReverseKL || kKind == kSymmetricKL) return -u;
  else if constexpr (kKind == kTotalVariation) return u < 0.f ? splat(1.f) : u > 0.f ? splat(-1.f) : splat(0.f);
  else if constexpr (kKind == kGeneralizedJS) {
    vfloat e, em1, ms, mt;
    expPair(-abs(u), e, em1);
    mixtureLogs(m, u, em1, ms, mt);
    return -ms;
  } else return splat(0.f);
}
template <int64_t kKind>
constexpr bool kHasG = kKind == kReverseKL || kKind == kSymmetricKL || kKind == kGeneralizedJS || kKind == kTotalVariation;

// c of the header comment.
LANTERN_INLINE float gScale(int64_t kind, float beta) {
  return kind == kTotalVariation ? .5f : kind == kGeneralizedJS ? 1.f - beta : kind == kForwardKL ? 0.f : 1.f;
}

struct Element {
  vfloat ps, pt;
  vfloat h;       // p_s (g - g at the student's most probable class)
  vfloat direct;  // the part of the gradient outside c p_s (g - sum p_s g): p_s - p_t for the forward KL
  vfloat value;   // summand of the part of the loss that the sum of h does not give
};
template <int64_t kKind>
LANTERN_INLINE Element divergenceElement(const RowPair& c, Mixture m, vfloat gTop, vfloat s, vfloat t) {
  Element r;
  const vfloat ls = (s - c.maxS) * c.invT - c.logZS, lt = (t - c.maxT) * c.invT - c.logZT, u = logRatio(c, s, t);
  vfloat e, em1;
  expPair(-abs(u), e, em1);
  const vint teacherLarger = u > 0.f;
  const vfloat larger = exp(select(teacherLarger, lt, ls)), smaller = larger * e, gap = larger * em1;
  r.ps = select(teacherLarger, smaller, larger);
  r.pt = select(teacherLarger, larger, smaller);
  r.h = r.direct = r.value = splat(0.f);
  if constexpr (kKind == kForwardKL || kKind == kSymmetricKL) {
    r.direct = select(teacherLarger, gap, -gap);
    r.value = r.pt * u;
  }
  if constexpr (kKind == kReverseKL || kKind == kSymmetricKL) r.h = r.ps * (-u - gTop);
  if constexpr (kKind == kTotalVariation) {
    r.h = r.ps * (gOf<kKind>(m, u) - gTop);
    r.value = -gap;
  }
  if constexpr (kKind == kGeneralizedJS) {
    vfloat ms, mt;
    mixtureLogs(m, u, em1, ms, mt);
    r.h = r.ps * (-ms - gTop);
    r.value = -(r.pt * mt);
  }
  return r;
}

// The divergence from the sums of h and value over the classes.
inline double divergenceValue(int64_t kind, double beta, double gTop, double h, double value) {
  switch (kind) {
    case kForwardKL: return value;
    case kReverseKL: return h + gTop;
    case kSymmetricKL: return value + h + gTop;
    case kGeneralizedJS: return beta * value + (1 - beta) * (h + gTop);
    case kTotalVariation: return .5 * value;
    default: return 0;
  }
}

// fn(std::integral_constant<int64_t, kind>{}); kNone does nothing.
template <class F>
void forDivergence(int64_t kind, F&& fn) {
  switch (kind) {
    case kForwardKL: return fn(std::integral_constant<int64_t, kForwardKL>{});
    case kReverseKL: return fn(std::integral_constant<int64_t, kReverseKL>{});
    case kSymmetricKL: return fn(std::integral_constant<int64_t, kSymmetricKL>{});
    case kGeneralizedJS: return fn(std::integral_constant<int64_t, kGeneralizedJS>{});
    case kTotalVariation: return fn(std::integral_constant<int64_t, kTotalVariation>{});
  }
}

}  // namespace lantern::LANTERN_ISA
