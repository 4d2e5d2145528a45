// The activations of gated units and of the epilogues of matrix products, and their derivatives: common/activation.h for the device.
#pragma once
#include "cuda.cuh"

namespace lantern::cuda {

// The upper tail of the normal distribution at |x|, and e^(-x^2/2); the fit is that of common/activation.h.
struct NormalTail {
  float tail, density;
};
LANTERN_DEVICE NormalTail normalTail(float x) {
  const float t = 1.f / (1.f + .28f * fabsf(x)), e = expf(x * x * -.5f);
  float p = 2.2792283446e-02f;
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
  float value, slope;
};
LANTERN_DEVICE Activated siluBoth(float z) {
  const float s = 1.f / (1.f + expf(-z));
  return {z * s, s * (1.f + z * (1.f - s))};
}
LANTERN_DEVICE Activated geluBoth(float z) {  // z Phi(z), Phi(z) + z phi(z)
  const NormalTail n = normalTail(z);
  const float cdf = z > 0.f ? 1.f - n.tail : n.tail;
  return {z * cdf, cdf + z * n.density * .3989422804f};
}

LANTERN_DEVICE float silu(float z) { return z / (1.f + expf(-z)); }
LANTERN_DEVICE float siluGradient(float z) { return siluBoth(z).slope; }
LANTERN_DEVICE float gelu(float z) { return geluBoth(z).value; }
LANTERN_DEVICE float geluGradient(float z) { return geluBoth(z).slope; }

}  // namespace lantern::cuda
