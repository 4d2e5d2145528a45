// Arithmetic of f32 and f64 with a directed rounding mode: the host's own, switched for the loop.
// This file is compiled with -frounding-math, so that nothing is evaluated or moved across the switch.
#include <cfenv>

#include "floats.h"

namespace lantern::simt {

namespace {

int hostMode(Rounding r) {
  switch (r) {
    case Rounding::zero: return FE_TOWARDZERO;
    case Rounding::down: return FE_DOWNWARD;
    case Rounding::up: return FE_UPWARD;
    case Rounding::nearest: break;
  }
  return FE_TONEAREST;
}

template <class T>
T apply(FloatOp op, T a, T b, T c) {
  switch (op) {
    case FloatOp::add: return a + b;
    case FloatOp::sub: return a - b;
    case FloatOp::mul: return a * b;
    case FloatOp::div: return a / b;
    case FloatOp::rcp: return T(1) / a;
    case FloatOp::sqrt: return std::sqrt(a);
    case FloatOp::fma: return std::fma(a, b, c);
    default: return T(NAN);
  }
}

// mode: rounding in the low two bits, then ftz, sat; immediate: the operation
template <class T>
void rounded(Warp& w, const Insn& i) {
  const FloatOp op = FloatOp(i.immediate);
  const bool ftz = i.mode & 4, sat = i.mode & 8;
  const int sources = op == FloatOp::fma ? 3 : op == FloatOp::sqrt || op == FloatOp::rcp ? 1 : 2;
  T* d = w.reg<T>(i.operand[0]);
  std::fesetround(hostMode(Rounding(i.mode & 3)));
  for (int l = 0; l < kLanes; ++l) {
    if (!(w.active >> l & 1)) continue;
    volatile T x[3] = {};
    for (int s = 0; s < sources; ++s) {
      x[s] = w.reg<T>(i.operand[s + 1])[l];
      if constexpr (sizeof(T) == 4)
        if (ftz) x[s] = flushed(x[s]);
    }
    volatile T r = apply<T>(op, x[0], x[1], x[2]);
    if constexpr (sizeof(T) == 4) {
      const float f = r;
      d[l] = sat ? (ftz ? resultOf<true, true>(f) : resultOf<false, true>(f)) : (ftz ? resultOf<true, false>(f) : resultOf<false, false>(f));
    } else {
      d[l] = r;
    }
  }
  std::fesetround(FE_TONEAREST);
}

}  // namespace

Handler roundedHandler(Decoder& d, std::string_view type, FloatOp op) {
  d.insn().immediate = int64_t(op);
  if (type == "f32") return rounded<float>;
  if (type == "f64") return rounded<double>;
  d.refuse();
}

}  // namespace lantern::simt
