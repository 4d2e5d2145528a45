// Arithmetic of f32 and f64, rounded to nearest; division and roots.
#include "floats.h"

namespace lantern::simt {

FloatMode takeFloatMode(Decoder& d) {
  FloatMode m;
  for (auto [name, rounding] : {std::pair("rn", Rounding::nearest), {"rz", Rounding::zero}, {"rm", Rounding::down}, {"rp", Rounding::up}})
    if (d.take(name)) m.rounding = rounding, m.stated = true;
  m.ftz = d.take("ftz");
  m.sat = d.take("sat");
  return m;
}

namespace {

struct Add {
  template <class T>
  T operator()(T a, T b) const { return a + b; }
};
struct Subtract {
  template <class T>
  T operator()(T a, T b) const { return a - b; }
};
struct Multiply {
  template <class T>
  T operator()(T a, T b) const { return a * b; }
};
struct Divide {
  template <class T>
  T operator()(T a, T b) const { return a / b; }
};

// f(ftz, sat) with both as constants
template <class F>
Handler forMode(const FloatMode& m, F f) {
  using Yes = std::true_type;
  using No = std::false_type;
  if (m.ftz) return m.sat ? f(Yes(), Yes()) : f(Yes(), No());
  return m.sat ? f(No(), Yes()) : f(No(), No());
}

void setClass(Decoder& d, std::string_view type) {
  d.insn().kind = type == "f64" ? InstructionClass::float64 : type == "f32" ? InstructionClass::float32 : InstructionClass::half;
}
bool isHalf(std::string_view type) { return type == "f16" || type == "f16x2" || type == "bf16" || type == "bf16x2"; }

template <class Op>
void binary(Decoder& d, std::string_view type, FloatOp op) {
  setClass(d, type);
  if (isHalf(type)) return halfOperation(d, type, op);
  const FloatMode m = takeFloatMode(d);
  sameSize(d, type, 2);
  if (m.rounding != Rounding::nearest) {
    d.insn().mode = uint8_t(uint8_t(m.rounding) | m.ftz << 2 | m.sat << 3);
    d.insn().run = roundedHandler(d, type, op);
  } else if (type == "f64") {
    d.insn().run = handler2<double, double, double>([](double a, double b) { return Op{}(a, b); });
  } else if (type == "f32") {
    if (!m.stated) d.insn().fusable = op == FloatOp::mul ? Fusable::product : op == FloatOp::add ? Fusable::sum : op == FloatOp::sub ? Fusable::difference : Fusable::no;
    d.insn().mode = uint8_t(m.ftz | m.sat << 1);
    d.insn().run = forMode(m, [](auto ftz, auto sat) {
      return handler2<float, float, float>([](float a, float b) {
        constexpr bool kFtz = decltype(ftz)::value, kSat = decltype(sat)::value;
        return resultOf<kFtz, kSat>(Op{}(operandOf<kFtz>(a), operandOf<kFtz>(b)));
      });
    });
  }
}

template <bool kMax>
void extremum(Decoder& d, std::string_view type) {
  setClass(d, type);
  if (isHalf(type)) return halfOperation(d, type, kMax ? FloatOp::max : FloatOp::min);
  const bool ftz = d.take("ftz"), nan = d.take("NaN");
  sameSize(d, type, 2);
  if (type == "f64") {
    d.insn().run = handler2<double, double, double>([](double a, double b) { return kMax ? larger(a, b) : smaller(a, b); });
    return;
  }
  if (type != "f32") d.refuse();
  d.insn().run = forMode({.ftz = ftz, .sat = nan}, [](auto ftzType, auto nanType) {
    return handler2<float, float, float>([](float a, float b) {
      constexpr bool kFtz = decltype(ftzType)::value, kNan = decltype(nanType)::value;
      a = operandOf<kFtz>(a), b = operandOf<kFtz>(b);
      const float x = resultOf<false, false>(kMax ? larger(a, b) : smaller(a, b));
      return kNan && (a != a || b != b) ? std::bit_cast<float>(kNan32) : x;
    });
  });
}

// Signs are changed bit by bit, of NaN too.
template <bool kNegate>
void sign(Decoder& d, std::string_view type) {
  setClass(d, type);
  if (isHalf(type)) return halfOperation(d, type, kNegate ? FloatOp::neg : FloatOp::abs);
  const bool ftz = d.take("ftz");
  sameSize(d, type, 1);
  if (type == "f64") {
    d.insn().run = handler1<uint64_t, uint64_t>([](uint64_t a) { return kNegate ? a ^ uint64_t(1) << 63 : a & ~(uint64_t(1) << 63); });
    return;
  }
  if (type != "f32") d.refuse();
  d.insn().run = forMode({.ftz = ftz}, [](auto ftzType, auto) {
    return handler1<float, float>([](float a) {
      const uint32_t u = std::bit_cast<uint32_t>(operandOf<decltype(ftzType)::value>(a));
      return std::bit_cast<float>(kNegate ? u ^ 0x80000000 : u & 0x7fffffff);
    });
  });
}

template <bool kNegateProduct, bool kNegateSum>
Handler fused(const FloatMode& m) {
  return forMode(m, [](auto ftz, auto sat) {
    return handler3<float, float, float, float>([](float a, float b, float c) {
      constexpr bool kFtz = decltype(ftz)::value, kSat = decltype(sat)::value;
      const float x = operandOf<kFtz>(a), y = operandOf<kFtz>(b), z = operandOf<kFtz>(c);
      return resultOf<kFtz, kSat>(__builtin_fmaf(kNegateProduct ? -x : x, y, kNegateSum ? -z : z));
    });
  });
}

void fma(Decoder& d) {
  const std::string_view type = d.takeType();
  floatFma(d, type);
}

// copysign d, a, b: b with the sign of a
void copySign(Decoder& d) {
  const std::string_view type = d.takeType();
  setClass(d, type);
  sameSize(d, type, 2);
  if (type == "f64") d.insn().run = handler2<uint64_t, uint64_t, uint64_t>([](uint64_t a, uint64_t b) { return (a & uint64_t(1) << 63) | (b & ~(uint64_t(1) << 63)); });
  else if (type == "f32") d.insn().run = handler2<uint32_t, uint32_t, uint32_t>([](uint32_t a, uint32_t b) { return (a & 0x80000000) | (b & 0x7fffffff); });
}

// testp: what kind of number
void testProperty(Decoder& d) {
  const std::string_view type = d.takeType(), property = d.takeAny();
  setClass(d, type);
  d.use(1, d.operand(1), slotBytes(type));
  d.usePredicate(0, d.operand(0));
  static constexpr std::array kProperties = {"finite", "infinite", "number", "notanumber", "normal", "subnormal"};
  const auto it = std::find(kProperties.begin(), kProperties.end(), property);
  if (it == kProperties.end() || (type != "f32" && type != "f64")) d.refuse();
  d.insn().mode = uint8_t(it - kProperties.begin());
  auto make = [](auto t) -> Handler {
    using T = decltype(t);
    return [](Warp& w, const Insn& i) {
      const T* a = w.reg<T>(i.operand[1]);
      Mask result = 0;
      for (int l = 0; l < kLanes; ++l) {
        const int kind = std::fpclassify(a[l]);
        const bool is[] = {kind != FP_INFINITE && kind != FP_NAN, kind == FP_INFINITE, kind != FP_NAN, kind == FP_NAN, kind == FP_NORMAL, kind == FP_SUBNORMAL};
        result |= Mask(is[i.mode]) << l;
      }
      w.setPredicate(i.operand[0], result);
    };
  };
  d.insn().run = type == "f32" ? make(float()) : make(double());
}

}  // namespace

Handler fusedHandler(bool ftz, bool sat, bool negateProduct, bool negateSum) {
  const FloatMode m{.ftz = ftz, .sat = sat};
  if (negateProduct) return negateSum ? fused<true, true>(m) : fused<true, false>(m);
  return negateSum ? fused<false, true>(m) : fused<false, false>(m);
}

void floatAdd(Decoder& d, std::string_view type) { binary<Add>(d, type, FloatOp::add); }
void floatSubtract(Decoder& d, std::string_view type) { binary<Subtract>(d, type, FloatOp::sub); }
void floatMultiply(Decoder& d, std::string_view type) { binary<Multiply>(d, type, FloatOp::mul); }
void floatMin(Decoder& d, std::string_view type) { extremum<false>(d, type); }
void floatMax(Decoder& d, std::string_view type) { extremum<true>(d, type); }
void floatNegate(Decoder& d, std::string_view type) { sign<true>(d, type); }
void floatAbsolute(Decoder& d, std::string_view type) { sign<false>(d, type); }
void floatFma(Decoder& d, std::string_view type) {
  setClass(d, type);
  if (isHalf(type)) return halfOperation(d, type, FloatOp::fma);
  const FloatMode m = takeFloatMode(d);
  sameSize(d, type, 3);
  if (m.rounding != Rounding::nearest) {
    d.insn().mode = uint8_t(uint8_t(m.rounding) | m.ftz << 2 | m.sat << 3);
    d.insn().run = roundedHandler(d, type, FloatOp::fma);
  } else if (type == "f64") {
    d.insn().run = handler3<double, double, double, double>([](double a, double b, double c) { return __builtin_fma(a, b, c); });
  } else if (type == "f32") {
    d.insn().run = fused<false, false>(m);
  }
}
void floatDivide(Decoder& d, std::string_view type) {
  if (d.take("approx") || d.take("full")) return approximateDivide(d, type);
  binary<Divide>(d, type, FloatOp::div);
}
// sqrt and rcp, correctly rounded; the approximate ones are in aluSpecial.cc
void floatRoot(Decoder& d, std::string_view type, bool reciprocal) {
  setClass(d, type);
  const FloatMode m = takeFloatMode(d);
  sameSize(d, type, 1);
  if (!m.stated) d.refuse();
  if (m.rounding != Rounding::nearest) {
    d.insn().mode = uint8_t(uint8_t(m.rounding) | m.ftz << 2 | m.sat << 3);
    d.insn().run = roundedHandler(d, type, reciprocal ? FloatOp::rcp : FloatOp::sqrt);
  } else if (type == "f64") {
    d.insn().run = reciprocal ? handler1<double, double>([](double a) { return 1 / a; }) : handler1<double, double>([](double a) { return __builtin_sqrt(a); });
  } else if (type == "f32") {
    d.insn().run = forMode(m, [&](auto ftz, auto) {
      constexpr bool kFtz = decltype(ftz)::value;
      if (reciprocal) return handler1<float, float>([](float a) { return resultOf<kFtz, false>(1.f / operandOf<kFtz>(a)); });
      return handler1<float, float>([](float a) { return resultOf<kFtz, false>(__builtin_sqrtf(operandOf<kFtz>(a))); });
    });
  }
}

void floatOpcodes(OpcodeTable& t) {
  t["fma"] = fma;
  t["copysign"] = copySign;
  t["testp"] = testProperty;
  specialOpcodes(t);
}

}  // namespace lantern::simt
