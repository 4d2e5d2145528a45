// Arithmetic of f16 and bf16, one or two to a register: exact in double, then rounded once.
#include "floats.h"

namespace lantern::simt {

namespace {

template <class T>
T canonical(T x) {
  return toFloat(x) == toFloat(x) ? x : T{kNan16};
}

// mode: bit 0 ftz, 1 sat, 2 relu, 3 NaN
template <class T>
T operate(FloatOp op, int mode, T a, T b, T c) {
  if (mode & 1)
    for (T* x : {&a, &b, &c}) {
      constexpr uint16_t kExponent = std::is_same_v<T, Half> ? 0x7c00 : 0x7f80;
      if (!(x->bits & kExponent)) x->bits &= 0x8000;
    }
  const float x = toFloat(a), y = toFloat(b), z = toFloat(c);
  double r;
  switch (op) {
    case FloatOp::add: r = oddSum(x, y); break;
    case FloatOp::sub: r = oddSum(x, -double(y)); break;
    case FloatOp::mul: r = double(x) * y; break;
    case FloatOp::fma: r = oddSum(double(x) * y, z); break;
    case FloatOp::min:
    case FloatOp::max:
      r = (mode & 8) && (x != x || y != y) ? NAN : op == FloatOp::min ? smaller(x, y) : larger(x, y);
      break;
    case FloatOp::neg: return T{uint16_t(a.bits ^ 0x8000)};
    case FloatOp::abs: return T{uint16_t(a.bits & 0x7fff)};
    default: r = NAN;
  }
  T result = canonical(fromDouble<T>(r));
  if ((mode & 1) && !(result.bits & (std::is_same_v<T, Half> ? 0x7c00 : 0x7f80))) result.bits &= 0x8000;
  if (mode & 2) result = r > 1 ? fromDouble<T>(1) : r > 0 ? result : T{0};
  if ((mode & 4) && !(r > 0) && r == r) result = T{0};
  return result;
}

template <class T, int kSources, bool kPair>
void halves(Warp& w, const Insn& i) {
  const FloatOp op = FloatOp(i.immediate);
  uint32_t* d = w.reg<uint32_t>(i.operand[0]);
  for (int l = 0; l < kLanes; ++l) {
    if (!(w.active >> l & 1)) continue;
    uint32_t x[3] = {}, r = 0;
    for (int s = 0; s < kSources; ++s) x[s] = w.reg<uint32_t>(i.operand[s + 1])[l];
    for (int half = 0; half < (kPair ? 2 : 1); ++half) {
      auto part = [&](int s) { return T{uint16_t(x[s] >> (16 * half))}; };
      r |= uint32_t(operate<T>(op, i.mode, part(0), part(1), part(2)).bits) << (16 * half);
    }
    d[l] = r;
  }
}

template <int kSources>
Handler halvesOf(std::string_view type) {
  if (type == "f16") return halves<Half, kSources, false>;
  if (type == "f16x2") return halves<Half, kSources, true>;
  if (type == "bf16") return halves<Bfloat, kSources, false>;
  return halves<Bfloat, kSources, true>;
}

}  // namespace

void halfOperation(Decoder& d, std::string_view type, FloatOp op) {
  const int sources = op == FloatOp::fma ? 3 : op == FloatOp::neg || op == FloatOp::abs ? 1 : 2;
  d.take("rn");
  d.insn().mode = uint8_t(d.take("ftz") | d.take("sat") << 1 | d.take("relu") << 2 | d.take("NaN") << 3);
  d.insn().immediate = int64_t(op);
  sameSize(d, type, sources);
  d.insn().run = sources == 1 ? halvesOf<1>(type) : sources == 2 ? halvesOf<2>(type) : halvesOf<3>(type);
}

}  // namespace lantern::simt
