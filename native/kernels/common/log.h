// Logarithms, one text for a processor's vectors and a GPU's threads: simd.h and simd.cuh end with it.
#pragma once

namespace lantern::LANTERN_ISA {

// ln w for finite w >= the smallest normal number (Cephes logf). `beyond` is w - 1, perhaps more exact than w itself tells: where w needs no
// scaling the polynomial takes it.
LANTERN_INLINE vfloat logFrom(vfloat w, vfloat beyond) {
  const vint u = asInt(w);
  vint e = ((u >> 23) & 0xff) - 127;
  vfloat m = asFloat((u & 0x7fffff) | 0x3f800000);
  const vint big = m > 1.41421356f;
  m = select(big, m * .5f, m);
  e = select(big, e + 1, e);
  m = select(e == 0, beyond, m - 1.f);
  const vfloat z = m * m, ef = toFloats(e);
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
LANTERN_INLINE vfloat log(vfloat x) { return logFrom(x, x - 1.f); }
// ln (1 + y) for y > -1, to full relative precision.
LANTERN_INLINE vfloat log1p(vfloat y) { return logFrom(y + 1.f, y); }

}  // namespace lantern::LANTERN_ISA
