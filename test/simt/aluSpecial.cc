// The functions that GPUs approximate: ex2, lg2, rcp, rsqrt, sqrt, sin, cos, tanh, and approximate division.
//
// The machine computes them to the last bit or nearly; a GPU does not. With Options::approxNoise each result is moved by a number of units in
// the last place, or an absolute or relative amount, up to the error that the PTX manual states; it depends on the inputs and the seed alone.
#include "floats.h"

namespace lantern::simt {

namespace {

// ---- the functions, vectorised where kernels are made of them ----

// 2^x = 2^n 2^f, f in [-1/2, 1/2]; the Taylor series of e^(f ln 2) to f^11 is good to 1e-15.
inline float exp2Of(float x) {
  const double clamped = x < -160.f ? -160.0 : x > 140.f ? 140.0 : double(x);
  const double n = __builtin_rint(clamped), f = (clamped - n) * 0.693147180559945309;
  double p = 2.505210838544172e-8;
  p = p * f + 2.7557319223985893e-7;
  p = p * f + 2.7557319223985888e-6;
  p = p * f + 2.4801587301587302e-5;
  p = p * f + 1.9841269841269841e-4;
  p = p * f + 1.3888888888888889e-3;
  p = p * f + 8.3333333333333333e-3;
  p = p * f + 4.1666666666666667e-2;
  p = p * f + 1.6666666666666667e-1;
  p = p * f + .5;
  p = p * f + 1;
  p = p * f + 1;
  const float r = float(p * std::bit_cast<double>((int64_t(n) + 1023) << 52));
  return x == x ? r : std::bit_cast<float>(kNan32);
}

// x = 2^e m, m in [sqrt(1/2), sqrt(2)); log2 m from the series of atanh.
inline float log2Of(float x) {
  const uint64_t u = std::bit_cast<uint64_t>(double(x));
  const int64_t e = int64_t(u - 0x3fe6a09e667f3bcd) >> 52;
  const double m = std::bit_cast<double>(u - (uint64_t(e) << 52));
  const double s = (m - 1) / (m + 1), t = s * s;
  double p = 1. / 15;
  p = p * t + 1. / 13;
  p = p * t + 1. / 11;
  p = p * t + 1. / 9;
  p = p * t + 1. / 7;
  p = p * t + 1. / 5;
  p = p * t + 1. / 3;
  p = p * t + 1;
  const float r = float(double(e) + s * p * 2.8853900817779268);
  return x > 0.f ? (x < INFINITY ? r : x) : x == 0.f ? -INFINITY : std::bit_cast<float>(kNan32);
}

struct Exp2 {
  float operator()(float x) const { return exp2Of(x); }
};
struct Log2 {
  float operator()(float x) const { return log2Of(x); }
};
struct Reciprocal {
  float operator()(float x) const { return 1.f / x; }
};
struct ReciprocalRoot {
  float operator()(float x) const { return float(1. / __builtin_sqrt(double(x))); }
};
struct Root {
  float operator()(float x) const { return __builtin_sqrtf(x); }
};
struct Sine {
  float operator()(float x) const { return float(std::sin(double(x))); }
};
struct Cosine {
  float operator()(float x) const { return float(std::cos(double(x))); }
};
struct Tangent {
  float operator()(float x) const { return float(std::tanh(double(x))); }
};

// ---- noise ----

enum class Noise : uint8_t { ulps, logarithm, absolute, relative };

float disturbed(float r, uint64_t key, Noise noise) {
  if (!(std::fabs(r) < INFINITY) || r == 0) return r;
  key *= 0x9e3779b97f4a7c15;
  key = (key ^ key >> 29) * 0xbf58476d1ce4e5b9;
  key ^= key >> 32;
  const float unit = float(int64_t(key % 2049) - 1024) / 1024;  // in [-1, 1]
  switch (noise) {
    case Noise::ulps: {
      const int32_t moved = int32_t(std::bit_cast<uint32_t>(r)) + int32_t(key % 5) - 2;
      const float x = std::bit_cast<float>(moved);
      return std::fabs(x) < INFINITY && (x > 0) == (r > 0) ? x : r;
    }
    case Noise::logarithm: return std::fabs(r) < 1 ? r + unit * 0x1p-22f : r * (1 + unit * 0x1p-22f);
    case Noise::absolute: return r + unit * 0x1p-21f;
    case Noise::relative: return r * (1 + unit * 0x1p-11f);
  }
  return r;
}
void addNoise(Warp& w, const Insn& i, const uint32_t (&inputs)[kLanes], Noise noise) {
  float* d = w.reg<float>(i.operand[0]);
  for (int l = 0; l < kLanes; ++l)
    if (w.active >> l & 1) d[l] = disturbed(d[l], (uint64_t(inputs[l]) << 20) ^ w.run->options.noiseSeed ^ uint64_t(i.immediate) << 56, noise);
}

template <class F, bool kFtz, Noise kNoise>
void approximate(Warp& w, const Insn& i) {
  uint32_t inputs[kLanes];  // the destination may be the source
  const bool noisy = w.run->options.approxNoise;
  if (noisy) std::copy_n(w.reg<uint32_t>(i.operand[1]), kLanes, inputs);
  map1<float, float>(w, i, [](float a) { return resultOf<kFtz, false>(F{}(operandOf<kFtz>(a))); });
  if (noisy) addNoise(w, i, inputs, kNoise);
}
template <bool kFtz>
void quotient(Warp& w, const Insn& i) {
  uint32_t inputs[kLanes];
  const bool noisy = w.run->options.approxNoise;
  if (noisy)
    for (int l = 0; l < kLanes; ++l) inputs[l] = w.reg<uint32_t>(i.operand[1])[l] * 31 + w.reg<uint32_t>(i.operand[2])[l];
  map2<float, float, float>(w, i, [](float a, float b) { return resultOf<kFtz, false>(operandOf<kFtz>(a) / operandOf<kFtz>(b)); });
  if (noisy) addNoise(w, i, inputs, Noise::ulps);
}

// ---- f16 and bf16 variants: ex2 and tanh ----
template <class T, class F, bool kPair>
void approximateHalf(Warp& w, const Insn& i) {
  auto *d = w.reg<uint32_t>(i.operand[0]), *a = w.reg<uint32_t>(i.operand[1]);
  for (int l = 0; l < kLanes; ++l) {
    if (!(w.active >> l & 1)) continue;
    uint32_t r = 0;
    for (int half = 0; half < (kPair ? 2 : 1); ++half) {
      const float x = F{}(toFloat(T{uint16_t(a[l] >> (16 * half))}));
      r |= uint32_t(fromDouble<T>(double(x)).bits) << (16 * half);
    }
    d[l] = r;
  }
}
template <class F>
bool halfVariant(Decoder& d, std::string_view type) {
  if (type != "f16" && type != "f16x2" && type != "bf16" && type != "bf16x2") return false;
  if (!d.take("approx")) d.refuse();
  d.take("ftz");  // subnormal results only, which the approximations need not have
  sameSize(d, type, 1);
  d.insn().run = type == "f16"     ? approximateHalf<Half, F, false>
                 : type == "f16x2" ? approximateHalf<Half, F, true>
                 : type == "bf16"  ? approximateHalf<Bfloat, F, false>
                                   : approximateHalf<Bfloat, F, true>;
  return true;
}

template <class F, Noise kNoise>
void special(Decoder& d, std::string_view type) {
  d.insn().kind = InstructionClass::special;
  if (type != "f32") d.refuse();
  const bool ftz = d.take("ftz");
  sameSize(d, type, 1);
  for (char c : d.opcode()) d.insn().immediate = d.insn().immediate * 31 + c;
  d.insn().run = ftz ? approximate<F, true, kNoise> : approximate<F, false, kNoise>;
}
template <class F, Noise kNoise>
void approximateOnly(Decoder& d) {
  const std::string_view type = d.takeType();
  if ((d.opcode() == "ex2" || d.opcode() == "tanh") && halfVariant<F>(d, type)) return void(d.insn().kind = InstructionClass::special);
  if (!d.take("approx")) d.refuse();
  special<F, kNoise>(d, type);
}
// f64 seeds of Newton iterations: the upper half of the number, to 20 bits.
template <class F>
void approximateDouble(Decoder& d) {
  if (!d.take("ftz")) d.refuse();
  d.insn().kind = InstructionClass::special;
  sameSize(d, "f64", 1);
  d.insn().run = handler1<uint64_t, double>([](double a) {
    const double r = F{}(double(a));
    return std::bit_cast<uint64_t>(r) & ~uint64_t(0xffffffff);
  });
}
struct DoubleReciprocal {
  double operator()(double x) const { return 1 / x; }
};
struct DoubleReciprocalRoot {
  double operator()(double x) const { return 1 / __builtin_sqrt(x); }
};

void reciprocal(Decoder& d) {
  const std::string_view type = d.takeType();
  if (!d.take("approx")) return floatRoot(d, type, true);
  if (type == "f64") return approximateDouble<DoubleReciprocal>(d);
  special<Reciprocal, Noise::ulps>(d, type);
}
void root(Decoder& d) {
  const std::string_view type = d.takeType();
  if (!d.take("approx")) return floatRoot(d, type, false);
  special<Root, Noise::ulps>(d, type);
}
void reciprocalRoot(Decoder& d) {
  const std::string_view type = d.takeType();
  if (!d.take("approx")) d.refuse();
  if (type == "f64") return approximateDouble<DoubleReciprocalRoot>(d);
  special<ReciprocalRoot, Noise::ulps>(d, type);
}

}  // namespace

void approximateDivide(Decoder& d, std::string_view type) {
  d.insn().kind = InstructionClass::special;
  if (type != "f32") d.refuse();
  const bool ftz = d.take("ftz");
  sameSize(d, type, 2);
  d.insn().run = ftz ? quotient<true> : quotient<false>;
}

void specialOpcodes(OpcodeTable& t) {
  t["ex2"] = approximateOnly<Exp2, Noise::ulps>;
  t["lg2"] = approximateOnly<Log2, Noise::logarithm>;
  t["sin"] = approximateOnly<Sine, Noise::absolute>;
  t["cos"] = approximateOnly<Cosine, Noise::absolute>;
  t["tanh"] = approximateOnly<Tangent, Noise::relative>;
  t["rcp"] = reciprocal;
  t["sqrt"] = root;
  t["rsqrt"] = reciprocalRoot;
}

}  // namespace lantern::simt
