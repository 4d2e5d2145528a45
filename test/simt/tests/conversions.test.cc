// Conversions: of 16-bit floats every value, against the toolkit's own host functions; of all other pairs of types corners and random values
// in every rounding mode, against the processor's conversions.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cfenv>
#include <cmath>
#include <functional>
#include <limits>

#include "support.h"

using namespace lantern::simt;
using namespace lantern::simt::test;
using lantern::test::Random;

namespace {

// out[i] = body(in[i]) over many threads: %r10 or %rd10 in, %r20 or %rd20 out.
template <class R, class T>
std::vector<R> mapped(const std::string& body, const std::vector<T>& in) {
  std::vector<R> out;
  for (size_t at = 0; at < in.size(); at += 1024) {
    static std::map<std::string, std::unique_ptr<Machine>> machines;
    auto& m = machines[body];
    auto reg = [](size_t bytes, int n) { return (bytes == 8 ? "%rd" : "%r") + std::to_string(n); };
    if (!m)
      m = std::make_unique<Machine>(kernelText(".param .u64 x, .param .u64 y",
                                               elementOf("x", sizeof(T)) + "ld.global.u" + std::to_string(8 * sizeof(T)) + " " + reg(sizeof(T), 10) + ", [%rd2];\n" + body + "\n" +
                                                   elementOf("y", sizeof(R)) + "st.global.u" + std::to_string(8 * sizeof(R)) + " [%rd2], " + reg(sizeof(R), 20) + ";"));
    const std::vector<T> part(in.begin() + ptrdiff_t(at), in.begin() + ptrdiff_t(std::min(at + 1024, in.size())));
    const uint64_t x = m->array(part), y = m->memory.allocate(part.size() * sizeof(R));
    m->run({1}, {uint32_t(part.size())}, 0, x, y);
    const auto got = m->read<R>(y, part.size());
    out.insert(out.end(), got.begin(), got.end());
    m->memory.free(x);
    m->memory.free(y);
  }
  return out;
}
template <class R, class T, class F>
void compare(const std::string& body, const std::vector<T>& in, F expected) {
  const auto got = mapped<R>(body, in);
  int wrong = 0;
  for (size_t i = 0; i < in.size(); ++i) {
    const R want = R(expected(in[i]));
    if (got[i] == want || ++wrong > 3) continue;
    char text[200];
    std::snprintf(text, sizeof text, "%s: %llx gives %llx, not %llx", body.c_str(), (unsigned long long)in[i], (unsigned long long)got[i], (unsigned long long)want);
    lantern::test::failed(__FILE__, __LINE__, text);
  }
}

// Every 16-bit float, and around each the floats that decide where rounding goes.
std::vector<uint32_t> allSixteenBits() {
  std::vector<uint32_t> x(65536);
  for (uint32_t i = 0; i < 65536; ++i) x[i] = i;
  return x;
}
template <class F>
std::vector<uint32_t> around(F toFloat) {
  std::vector<uint32_t> x;
  for (uint32_t i = 0; i < 65536; ++i) {
    const float a = toFloat(uint16_t(i)), b = toFloat(uint16_t(i + 1));
    const uint32_t middle = std::bit_cast<uint32_t>(float((double(a) + double(b)) / 2));
    for (uint32_t u : {std::bit_cast<uint32_t>(a), middle - 1, middle, middle + 1}) x.push_back(u);
  }
  return x;
}
uint32_t sameNan(float x) { return x != x ? 0x7fffffff : std::bit_cast<uint32_t>(x); }
uint32_t sameNan16(uint16_t u, uint16_t exponent) { return (u & 0x7fff) > exponent ? 0x7fff : u; }
uint16_t bitsOf(__half x) { return std::bit_cast<uint16_t>(x); }
uint16_t bitsOf(__nv_bfloat16 x) { return std::bit_cast<uint16_t>(x); }

// ---- all pairs ----

struct Mode {
  const char* name;
  int host;
};
constexpr Mode kModes[] = {{"rn", FE_TONEAREST}, {"rz", FE_TOWARDZERO}, {"rm", FE_DOWNWARD}, {"rp", FE_UPWARD}};
template <class F>
auto rounded(int mode, F f) {
  std::fesetround(mode);
  volatile auto r = f();
  std::fesetround(FE_TONEAREST);
  return r;
}

std::vector<uint64_t> integers() {
  std::vector<uint64_t> x;
  Random random{3};
  for (int bit = 0; bit < 64; ++bit)
    for (int d = -2; d <= 2; ++d) x.push_back((uint64_t(1) << bit) + uint64_t(int64_t(d))), x.push_back(0 - x.back());
  for (int i = 0; i < 400; ++i) x.push_back(random.next() >> random.below(64));
  return x;
}
template <class T>
std::vector<T> floatCorners() {
  std::vector<T> x = {0, T(-0.), T(.5), T(-.5), T(1.5), T(2.5), T(-2.5), T(.49999997), INFINITY, -INFINITY, NAN, std::numeric_limits<T>::min() / 4, -std::numeric_limits<T>::min() / 4};
  Random random{4};
  for (int bit = 0; bit < 66; ++bit)
    for (T d : {T(-1), T(-.5), T(0), T(.5), T(1)}) x.push_back(std::ldexp(T(1), bit) + d), x.push_back(-x.back()), x.push_back(std::nextafter(x.back(), T(0)));
  for (int i = 0; i < 400; ++i) x.push_back(T(random.uniform(-1, 1)) * std::ldexp(T(1), int(random.below(80)) - 10));
  return x;
}

template <class T>
const char* nameOf();
#define NAME(type, name) \
  template <>            \
  const char* nameOf<type>() { return name; }
NAME(int8_t, "s8") NAME(uint8_t, "u8") NAME(int16_t, "s16") NAME(uint16_t, "u16") NAME(int32_t, "s32") NAME(uint32_t, "u32") NAME(int64_t, "s64") NAME(uint64_t, "u64")
NAME(float, "f32") NAME(double, "f64")
#undef NAME

// A value comes as 64 bits, and leaves as 64 with the destination's sign or zeros above.
template <class T>
std::string in() {
  if (sizeof(T) == 8) return "mov.b64 %rd11, %rd10;\n";
  return std::string("cvt.u32.u64 %r11, %rd10;\n") + (sizeof(T) == 2 ? "cvt.u16.u32 %rs11, %r11;\n" : "");
}
template <class T>
std::string source() { return sizeof(T) == 8 ? "%rd11" : sizeof(T) == 2 ? "%rs11" : "%r11"; }
template <class T>
std::string result() { return sizeof(T) == 8 ? "%rd12" : sizeof(T) == 2 ? "%rs12" : "%r12"; }
template <class T>
std::string out() {
  if (sizeof(T) == 8) return "mov.b64 %rd20, %rd12;";
  const bool sign = std::is_signed_v<T> && !std::is_floating_point_v<T>;
  if (sizeof(T) == 2) return sign ? "cvt.s64.s16 %rd20, %rs12;" : "cvt.u64.u16 %rd20, %rs12;";
  return sign ? "cvt.s64.s32 %rd20, %r12;" : "cvt.u64.u32 %rd20, %r12;";
}
template <class D, class S>
std::string convert(const std::string& modifiers) {
  return in<S>() + "cvt" + modifiers + "." + nameOf<D>() + "." + nameOf<S>() + " " + result<D>() + ", " + source<S>() + ";\n" + out<D>();
}

template <class D, class S>
void integerToInteger() {
  compare<uint64_t>(convert<D, S>(""), integers(), [](uint64_t x) { return uint64_t(int64_t(D(S(x)))); });
  compare<uint64_t>(convert<D, S>(".sat"), integers(), [](uint64_t x) {
    const __int128 v = S(x), low = std::numeric_limits<D>::min(), high = std::numeric_limits<D>::max();
    return uint64_t(int64_t(D(v < low ? low : v > high ? high : v)));
  });
}
template <class D, class S>
void integerToFloat() {
  for (const Mode& m : kModes)
    compare<uint64_t>(convert<D, S>(std::string(".") + m.name), integers(), [&](uint64_t x) {
      const D r = rounded(m.host, [&] { return D(S(x)); });
      if constexpr (sizeof(D) == 8) return std::bit_cast<uint64_t>(r);
      else return uint64_t(std::bit_cast<uint32_t>(r));
    });
}
template <class D, class S>
void floatToInteger() {
  std::vector<uint64_t> x;
  for (S v : floatCorners<S>()) {
    if constexpr (sizeof(S) == 8) x.push_back(std::bit_cast<uint64_t>(v));
    else x.push_back(std::bit_cast<uint32_t>(v));
  }
  for (const Mode& m : kModes)
    compare<uint64_t>(convert<D, S>(std::string(".") + m.name + "i"), x, [&](uint64_t bits) {
      S v;
      std::memcpy(&v, &bits, sizeof v);
      if (v != v) return sizeof(S) == 8 || sizeof(D) == 8 ? uint64_t(int64_t(D(uint64_t(1) << (8 * sizeof(D) - 1)))) : 0;
      const S whole = rounded(m.host, [&] { return S(std::nearbyint(v)); });
      const S low = S(std::numeric_limits<D>::min()), high = std::ldexp(S(1), int(8 * sizeof(D)) - std::is_signed_v<D>);
      return uint64_t(int64_t(whole <= low ? std::numeric_limits<D>::min() : whole >= high ? std::numeric_limits<D>::max() : D(whole)));
    });
}
template <class S, class... D>
void fromInteger() {
  (integerToInteger<D, S>(), ...);
  integerToFloat<float, S>();
  integerToFloat<double, S>();
  floatToInteger<S, float>();
  floatToInteger<S, double>();
}

}  // namespace

TEST("conversions: every bf16 and f16 to f32") {
  compare<uint32_t>("cvt.u16.u32 %rs1, %r10;\ncvt.f32.bf16 %f1, %rs1;\nmov.b32 %r20, %f1;", allSixteenBits(), [](uint32_t u) { return u << 16; });
  compare<uint32_t>("cvt.u16.u32 %rs1, %r10;\ncvt.f32.f16 %f1, %rs1;\nmov.b32 %r20, %f1;", allSixteenBits(),
                    [](uint32_t u) { return sameNan(__half2float(std::bit_cast<__half>(uint16_t(u)))); });
}

TEST("conversions: f32 to bf16 and f16 at every boundary, in every rounding mode") {
  const auto nearBf16 = around([](uint16_t u) { return __bfloat162float(std::bit_cast<__nv_bfloat16>(u)); });
  const auto nearF16 = around([](uint16_t u) { return __half2float(std::bit_cast<__half>(u)); });
  auto body = [](const std::string& cvt) { return "mov.b32 %f1, %r10;\n" + cvt + " %rs1, %f1;\ncvt.u32.u16 %r20, %rs1;"; };
  auto bf16 = [](auto f) { return [f](uint32_t u) { return sameNan16(bitsOf(f(std::bit_cast<float>(u))), 0x7f80); }; };
  auto f16 = [](auto f) { return [f](uint32_t u) { return sameNan16(bitsOf(f(std::bit_cast<float>(u))), 0x7c00); }; };
  compare<uint32_t>(body("cvt.rn.bf16.f32"), nearBf16, bf16([](float x) { return __float2bfloat16_rn(x); }));
  compare<uint32_t>(body("cvt.rz.bf16.f32"), nearBf16, bf16([](float x) { return __float2bfloat16_rz(x); }));
  compare<uint32_t>(body("cvt.rn.f16.f32"), nearF16, f16([](float x) { return __float2half_rn(x); }));
  compare<uint32_t>(body("cvt.rz.f16.f32"), nearF16, f16([](float x) { return __float2half_rz(x); }));
  compare<uint32_t>(body("cvt.rm.f16.f32"), nearF16, f16([](float x) { return __float2half_rd(x); }));
  compare<uint32_t>(body("cvt.rp.f16.f32"), nearF16, f16([](float x) { return __float2half_ru(x); }));
  compare<uint32_t>(body("cvt.rn.relu.bf16.f32"), nearBf16, bf16([](float x) { return __float2bfloat16_rn(x > 0 || x != x ? x : 0); }));
  compare<uint32_t>("mov.b32 %f1, %r10;\nneg.f32 %f2, %f1;\ncvt.rn.bf16x2.f32 %r20, %f2, %f1;", nearBf16, [](uint32_t u) {
    const float x = std::bit_cast<float>(u);
    if (x != x) return 0x7fff7fffu;
    return uint32_t(bitsOf(__float2bfloat16_rn(-x))) << 16 | bitsOf(__float2bfloat16_rn(x));
  });
}

TEST("conversions: arithmetic of bf16 and f16 is rounded once") {
  std::vector<uint32_t> pairs;
  Random random{8};
  for (int i = 0; i < 40000; ++i) pairs.push_back(uint32_t(random.next()));
  auto body = [](const std::string& op) { return "mov.b32 {%rs1, %rs2}, %r10;\n" + op + "\ncvt.u32.u16 %r20, %rs3;"; };
  auto half = [](auto f) {
    return [f](uint32_t u) { return sameNan16(bitsOf(f(std::bit_cast<__half>(uint16_t(u)), std::bit_cast<__half>(uint16_t(u >> 16)))), 0x7c00); };
  };
  compare<uint32_t>(body("add.f16 %rs3, %rs1, %rs2;"), pairs, half([](__half a, __half b) { return __hadd(a, b); }));
  compare<uint32_t>(body("mul.f16 %rs3, %rs1, %rs2;"), pairs, half([](__half a, __half b) { return __hmul(a, b); }));
  // fma: the exact result of a b + a, in integers of 128 bits
  compare<uint32_t>(body("fma.rn.bf16 %rs3, %rs1, %rs2, %rs1;"), pairs, [](uint32_t u) {
    const float a = __bfloat162float(std::bit_cast<__nv_bfloat16>(uint16_t(u))), b = __bfloat162float(std::bit_cast<__nv_bfloat16>(uint16_t(u >> 16)));
    const long double exact = (long double)a * b + a;  // 64 bits hold a (b + 1) unless b is tiny or huge; then the sum is a or the product, to odd
    const long double product = (long double)a * b, rest = std::fabs(product) > std::fabs((long double)a) ? (product - exact) + a : (a - exact) + product;
    float f = float(exact);
    if (f == f && std::fabs(f) < INFINITY) {  // to odd once more, on the way to f32
      if (std::fabs((long double)f) > std::fabs(exact) || (f == exact && rest != 0 && (rest > 0) != (exact > 0))) f = std::nextafter(f, 0.f);
      if (f != exact || rest != 0) f = std::bit_cast<float>(std::bit_cast<uint32_t>(f) | 1);
    }
    return sameNan16(bitsOf(__float2bfloat16_rn(f)), 0x7f80);
  });
}

TEST("conversions: between all integers, and with f32 and f64, in all rounding modes") {
  fromInteger<int8_t, int16_t, uint16_t, int32_t, uint32_t, int64_t, uint64_t>();
  fromInteger<uint8_t, int16_t, uint16_t, int32_t, uint32_t, int64_t, uint64_t>();
  fromInteger<int16_t, int8_t, uint8_t, uint16_t, int32_t, uint32_t, int64_t, uint64_t>();
  fromInteger<uint16_t, int8_t, uint8_t, int16_t, int32_t, uint32_t, int64_t, uint64_t>();
  fromInteger<int32_t, int8_t, uint8_t, int16_t, uint16_t, uint32_t, int64_t, uint64_t>();
  fromInteger<uint32_t, int8_t, uint8_t, int16_t, uint16_t, int32_t, int64_t, uint64_t>();
  fromInteger<int64_t, int8_t, uint8_t, int16_t, uint16_t, int32_t, uint32_t, uint64_t>();
  fromInteger<uint64_t, int8_t, uint8_t, int16_t, uint16_t, int32_t, uint32_t, int64_t>();
}

TEST("conversions: f64 to f32 in all rounding modes, f32 to whole numbers, flushing, saturation") {
  std::vector<uint64_t> doubles;
  std::vector<uint32_t> floats;
  for (double x : floatCorners<double>()) doubles.push_back(std::bit_cast<uint64_t>(x)), doubles.push_back(std::bit_cast<uint64_t>(x * 0x1p-140)), doubles.push_back(std::bit_cast<uint64_t>(x * 0x1p63));
  for (float x : floatCorners<float>()) floats.push_back(std::bit_cast<uint32_t>(x));
  for (const Mode& m : kModes) {
    compare<uint32_t>(std::string("mov.b64 %fd1, %rd10;\ncvt.") + m.name + ".f32.f64 %f1, %fd1;\nmov.b32 %r20, %f1;", doubles,
                      [&](uint64_t x) { return sameNan(rounded(m.host, [&] { return float(std::bit_cast<double>(x)); })); });
    compare<uint32_t>(std::string("mov.b32 %f1, %r10;\ncvt.") + m.name + "i.f32.f32 %f1, %f1;\nmov.b32 %r20, %f1;", floats,
                      [&](uint32_t x) { return sameNan(rounded(m.host, [&] { return std::nearbyint(std::bit_cast<float>(x)); })); });
  }
  compare<uint32_t>("mov.b32 %f1, %r10;\ncvt.sat.f32.f32 %f1, %f1;\nmov.b32 %r20, %f1;", floats, [](uint32_t x) {
    const float f = std::bit_cast<float>(x);
    return std::bit_cast<uint32_t>(f > 0 ? std::min(f, 1.f) : 0.f);
  });
  compare<uint32_t>("mov.b32 %f1, %r10;\ncvt.ftz.sat.f32.f32 %f1, %f1;\nmov.b32 %r20, %f1;", floats, [](uint32_t x) {
    const float f = std::bit_cast<float>(x);
    return std::bit_cast<uint32_t>(f >= 0x1p-126f ? std::min(f, 1.f) : 0.f);
  });
}
