// The activations of gated units and of the epilogues of matrix products, and their derivatives.
#pragma once
#include "simd.h"

namespace lantern::LANTERN_ISA {

// The upper tail of the normal distribution at |x|, and e^(-x^2/2): tail = e^(-x^2/2) P(t) with t = 1 / (1 + 0.28 |x|). P is fitted to the
// relative error over |x| < 14 (2.5e-7 in float32), so that gelu of very negative numbers keeps its digits.
struct NormalTail {
  vfloat tail, density;
};
LANTERN_INLINE NormalTail normalTail(vfloat x) {
  const vfloat t = 1.f / (1.f + .28f * abs(x)), e = exp(x * x * -.5f);
  vfloat p = splat(2.2792283446e-02f);
  p = p * t - 8.3370074630e-02f;
  p = p * t + 6.9790475070e-02f;
  p = p * t + 2.0828543231e-02f;
  p = p * t + 5.3271766752e-02f;
  p = p * t + 9.2073507607e-02f;
  p = p * t + 1.0093157738e-01f;
  p = p * t + 1.1199467629e-01f;
  p = p * t + 1.1168727279e-01f;
  return {p * t * e, e};
}

// An activation and its derivative at the same place, from what they share; what is not used of the two is not computed.
struct Activated {
  vfloat value, slope;
};
LANTERN_INLINE Activated siluBoth(vfloat z) {
  const vfloat s = sigmoid(z);
  return {z * s, s * (1.f + z * (1.f - s))};
}
LANTERN_INLINE Activated geluBoth(vfloat z) {  // z Phi(z), Phi(z) + z phi(z)
  const NormalTail n = normalTail(z);
  const vfloat cdf = z > 0.f ? 1.f - n.tail : n.tail;
  return {z * cdf, cdf + z * n.density * .3989422804f};
}

LANTERN_INLINE vfloat silu(vfloat z) { return z / (1.f + exp(-z)); }
LANTERN_INLINE vfloat siluGradient(vfloat z) { return siluBoth(z).slope; }
LANTERN_INLINE vfloat gelu(vfloat z) { return geluBoth(z).value; }
LANTERN_INLINE vfloat geluGradient(vfloat z) { return geluBoth(z).slope; }

}  // namespace lantern::LANTERN_ISA
