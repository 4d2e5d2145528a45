// Arithmetic, instruction by instruction, against references written another way: corner values in all pairs, then random ones.
#include <cmath>
#include <limits>

#include "support.h"

using namespace lantern::simt;
using namespace lantern::simt::test;
using lantern::test::Random;

namespace {

const std::vector<uint32_t> kInts = {0, 1, 2, 3, 7, 8, 31, 32, 33, 63, 64, 255, 256, 0x7fff, 0x8000, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0x80000001, 0xfffffffe, 0xffffffff};
const std::vector<uint32_t> kFloats = {0, 0x80000000, 1, 0x80000001, 0x007fffff, 0x00800000, 0x80800000, 0x3f800000, 0xbf800000, 0x3f800001, 0x3effffff, 0x3f000000,
                                       0x40490fdb, 0x4b000000, 0x4b800001, 0x4effffff, 0x4f000000, 0xcf000000, 0x4f7fffff, 0x4f800000, 0x5f000000, 0x5f800000,
                                       0x7f7fffff, 0xff7fffff, 0x7f800000, 0xff800000, 0x7fc00000, 0xffc00001, 0x7f800001};
float asFloat(uint32_t u) { return std::bit_cast<float>(u); }
uint32_t bits(float x) { return x != x ? 0x7fffffff : std::bit_cast<uint32_t>(x); }  // PTX has one NaN

// All pairs of the corners (some triples: the third is the sum of the indices) and as many random ones.
struct Inputs {
  std::vector<uint32_t> a, b, c;
  explicit Inputs(const std::vector<uint32_t>& corners) {
    Random random{42};
    for (size_t i = 0; i < corners.size(); ++i)
      for (size_t j = 0; j < corners.size(); ++j) {
        a.push_back(corners[i]), b.push_back(corners[j]), c.push_back(corners[(i + 3 * j) % corners.size()]);
      }
    while (a.size() < 1000) a.push_back(uint32_t(random.next())), b.push_back(uint32_t(random.next())), c.push_back(uint32_t(random.next()));
  }
};
template <class F>
void compare(const std::string& op, const std::vector<uint32_t>& corners, F expected) {
  const Inputs in(corners);
  const auto got = applied<uint32_t>(op, in.a, in.b, in.c);
  int wrong = 0;
  for (size_t n = 0; n < in.a.size(); ++n) {
    const uint32_t want = expected(in.a[n], in.b[n], in.c[n]);
    if (got[n] == want || ++wrong > 3) continue;
    char text[160];
    std::snprintf(text, sizeof text, "%s: (%08x, %08x, %08x) gives %08x, not %08x", op.c_str(), in.a[n], in.b[n], in.c[n], got[n], want);
    lantern::test::failed(__FILE__, __LINE__, text);
  }
}
template <class F>
void compareInts(const std::string& op, F f) { compare(op, kInts, f); }
template <class F>
void compareFloats(const std::string& op, F f) {
  compare("mov.b32 %f10, %r10;\nmov.b32 %f11, %r11;\nmov.b32 %f12, %r12;\n" + op + "\nmov.b32 %r20, %f20;", kFloats,
          [&](uint32_t a, uint32_t b, uint32_t c) { return bits(f(asFloat(a), asFloat(b), asFloat(c))); });
}
float flush(float x) { return std::fpclassify(x) == FP_SUBNORMAL ? std::copysign(0.f, x) : x; }

}  // namespace

TEST("alu: integers") {
  using u = uint32_t;
  using s = int32_t;
  compareInts("add.s32 %r20, %r10, %r11;", [](u a, u b, u) { return a + b; });
  compareInts("add.sat.s32 %r20, %r10, %r11;", [](u a, u b, u) {
    s r;
    return __builtin_add_overflow(s(a), s(b), &r) ? (s(a) < 0 ? 0x80000000u : 0x7fffffffu) : u(r);
  });
  compareInts("sub.s32 %r20, %r10, %r11;", [](u a, u b, u) { return a - b; });
  compareInts("mul.lo.s32 %r20, %r10, %r11;", [](u a, u b, u) { return a * b; });
  compareInts("mul.hi.u32 %r20, %r10, %r11;", [](u a, u b, u) { return u(uint64_t(a) * b >> 32); });
  compareInts("mul.hi.s32 %r20, %r10, %r11;", [](u a, u b, u) { return u(int64_t(s(a)) * s(b) >> 32); });
  compareInts("mad.lo.s32 %r20, %r10, %r11, %r12;", [](u a, u b, u c) { return a * b + c; });
  compareInts("mad.hi.u32 %r20, %r10, %r11, %r12;", [](u a, u b, u c) { return u(uint64_t(a) * b >> 32) + c; });
  compareInts("mul.wide.s32 %rd1, %r10, %r11;\nmov.b64 {%r19, %r20}, %rd1;", [](u a, u b, u) { return u(int64_t(s(a)) * s(b) >> 32); });
  compareInts("cvt.u64.u32 %rd1, %r12;\nmad.wide.u32 %rd1, %r10, %r11, %rd1;\nshr.u64 %rd1, %rd1, 16;\ncvt.u32.u64 %r20, %rd1;",
              [](u a, u b, u c) { return u((uint64_t(a) * b + c) >> 16); });
  compareInts("div.s32 %r20, %r10, %r11;", [](u a, u b, u) { return b == 0 ? ~0u : u(int64_t(s(a)) / s(b)); });
  compareInts("rem.s32 %r20, %r10, %r11;", [](u a, u b, u) { return b == 0 ? a : u(int64_t(s(a)) % s(b)); });
  compareInts("div.u32 %r20, %r10, %r11;", [](u a, u b, u) { return b == 0 ? ~0u : a / b; });
  compareInts("min.s32 %r20, %r10, %r11;", [](u a, u b, u) { return u(std::min(s(a), s(b))); });
  compareInts("max.u32 %r20, %r10, %r11;", [](u a, u b, u) { return std::max(a, b); });
  compareInts("abs.s32 %r20, %r10;", [](u a, u, u) { return s(a) < 0 ? 0 - a : a; });
  compareInts("neg.s32 %r20, %r10;", [](u a, u, u) { return 0 - a; });
  compareInts("sad.s32 %r20, %r10, %r11, %r12;", [](u a, u b, u c) { return c + u(std::abs(int64_t(s(a)) - s(b))); });
  compareInts("dp4a.s32.u32 %r20, %r10, %r11, %r12;", [](u a, u b, u c) {
    for (int k = 0; k < 32; k += 8) c += u(s(int8_t(a >> k)) * s(uint8_t(b >> k)));
    return c;
  });
  compareInts("cvt.u16.u32 %rs1, %r10;\ncvt.u16.u32 %rs2, %r11;\nmul.wide.s16 %r20, %rs1, %rs2;", [](u a, u b, u) { return u(s(int16_t(a)) * s(int16_t(b))); });
  compareInts("cvt.u16.u32 %rs1, %r10;\ncvt.u16.u32 %rs2, %r11;\nmin.s16 %rs3, %rs1, %rs2;\ncvt.s32.s16 %r20, %rs3;",
              [](u a, u b, u) { return u(s(std::min(int16_t(a), int16_t(b)))); });
  // a 64-bit sum by halves, with carry
  compareInts("add.cc.u32 %r18, %r10, %r11;\naddc.u32 %r20, %r11, %r12;", [](u a, u b, u c) { return b + c + (uint64_t(a) + b > 0xffffffff); });
  compareInts("sub.cc.u32 %r18, %r10, %r11;\nsubc.u32 %r20, %r11, %r12;", [](u a, u b, u c) { return b - c - (a < b); });
}

TEST("alu: bits") {
  using u = uint32_t;
  compareInts("shl.b32 %r20, %r10, %r11;", [](u a, u n, u) { return n > 31 ? 0 : a << n; });
  compareInts("shr.u32 %r20, %r10, %r11;", [](u a, u n, u) { return n > 31 ? 0 : a >> n; });
  compareInts("shr.s32 %r20, %r10, %r11;", [](u a, u n, u) { return u(int32_t(a) >> std::min(n, 31u)); });
  compareInts("cvt.u64.u32 %rd1, %r10;\nshl.b64 %rd1, %rd1, %r11;\nshr.u64 %rd1, %rd1, 20;\ncvt.u32.u64 %r20, %rd1;", [](u a, u n, u) { return n > 63 ? 0 : u(uint64_t(a) << n >> 20); });
  compareInts("shf.l.wrap.b32 %r20, %r10, %r11, %r12;", [](u a, u b, u n) { return n % 32 ? b << n % 32 | a >> (32 - n % 32) : b; });
  compareInts("shf.r.wrap.b32 %r20, %r10, %r11, %r12;", [](u a, u b, u n) { return n % 32 ? a >> n % 32 | b << (32 - n % 32) : a; });
  compareInts("shf.l.clamp.b32 %r20, %r10, %r11, %r12;", [](u a, u b, u n) { return n >= 32 ? a : n ? b << n | a >> (32 - n) : b; });
  compareInts("shf.r.clamp.b32 %r20, %r10, %r11, %r12;", [](u a, u b, u n) { return n >= 32 ? b : n ? a >> n | b << (32 - n) : a; });
  compareInts("lop3.b32 %r20, %r10, %r11, %r12, 0x96;", [](u a, u b, u c) { return a ^ b ^ c; });
  compareInts("lop3.b32 %r20, %r10, %r11, %r12, 0xe2;", [](u a, u b, u c) { return (b & a) | (c & ~b); });
  compareInts("popc.b32 %r20, %r10;", [](u a, u, u) { return u(__builtin_popcount(a)); });
  compareInts("clz.b32 %r20, %r10;", [](u a, u, u) { return a ? u(__builtin_clz(a)) : 32; });
  compareInts("bfind.u32 %r20, %r10;", [](u a, u, u) { return a ? 31 - u(__builtin_clz(a)) : ~0u; });
  compareInts("bfind.shiftamt.s32 %r20, %r10;", [](u a, u, u) { return (a = a >> 31 ? ~a : a) ? u(__builtin_clz(a)) : ~0u; });
  compareInts("brev.b32 %r20, %r10;", [](u a, u, u) {
    a = (a & 0x55555555) << 1 | (a >> 1 & 0x55555555), a = (a & 0x33333333) << 2 | (a >> 2 & 0x33333333), a = (a & 0x0f0f0f0f) << 4 | (a >> 4 & 0x0f0f0f0f);
    return __builtin_bswap32(a);
  });
  compareInts("bfe.u32 %r20, %r10, %r11, %r12;", [](u a, u p, u n) {
    p &= 255, n &= 255;
    const uint64_t field = p > 31 ? 0 : uint64_t(a) >> p;
    return u(n > 31 ? field : field & ((1ull << n) - 1));
  });
  compareInts("bfe.s32 %r20, %r10, %r11, %r12;", [](u a, u p, u n) {
    p &= 255, n &= 255;
    if (n == 0) return 0u;
    const __int128 wide = (__int128)int32_t(a) >> std::min(p, 127u);  // the sign goes on for ever
    const u length = std::min(n, 32u);
    return p + n > 32 ? u(wide) : u(int32_t(u(wide) << (32 - length)) >> (32 - length));
  });
  compareInts("bfi.b32 %r20, %r10, %r11, %r12, 9;", [](u a, u b, u p) {
    p &= 255;
    for (u k = p; k < std::min(p + 9, 32u); ++k) b = (b & ~(1u << k)) | (a >> (k - p) & 1) << k;
    return b;
  });
  compareInts("prmt.b32 %r20, %r10, %r11, %r12;", [](u a, u b, u c) {
    u r = 0;
    for (int k = 0; k < 4; ++k) {
      const u s = c >> 4 * k & 15, byte = (s & 4 ? b : a) >> 8 * (s & 3) & 255;
      r |= (s & 8 ? (byte >> 7) * 255 : byte) << 8 * k;
    }
    return r;
  });
  compareInts("setp.lt.s32 %p1, %r10, %r11;\nsetp.ge.xor.u32 %p2|%p3, %r10, %r12, %p1;\nselp.b32 %r18, 1, 0, %p2;\nselp.b32 %r19, 2, 0, %p3;\nor.b32 %r20, %r18, %r19;",
              [](u a, u b, u c) { return u((a >= c) != (int32_t(a) < int32_t(b))) | u((a < c) != (int32_t(a) < int32_t(b))) << 1; });
}

TEST("alu: floats") {
  using f = float;
  compareFloats("add.f32 %f20, %f10, %f11;", [](f a, f b, f) { return a + b; });
  compareFloats("sub.ftz.f32 %f20, %f10, %f11;", [](f a, f b, f) { return flush(flush(a) - flush(b)); });
  compareFloats("mul.rn.f32 %f20, %f10, %f11;", [](f a, f b, f) { return a * b; });
  compareFloats("mul.ftz.sat.f32 %f20, %f10, %f11;", [](f a, f b, f) {
    const f x = flush(flush(a) * flush(b));
    return x != x || x <= 0 ? 0 : std::min(x, 1.f);
  });
  compareFloats("fma.rn.f32 %f20, %f10, %f11, %f12;", [](f a, f b, f c) { return std::fma(a, b, c); });
  compareFloats("div.rn.f32 %f20, %f10, %f11;", [](f a, f b, f) { return a / b; });
  compareFloats("rcp.rn.f32 %f20, %f10;", [](f a, f, f) { return 1 / a; });
  compareFloats("sqrt.rn.f32 %f20, %f10;", [](f a, f, f) { return std::sqrt(a); });
  compareFloats("abs.f32 %f20, %f10;\nadd.f32 %f20, %f20, 0f80000000;", [](f a, f, f) { return std::fabs(a); });
  compareFloats("neg.f32 %f20, %f10;\nmul.f32 %f20, %f20, 0f3F800000;", [](f a, f, f) { return -a; });
  auto least = [](f a, f b) { return a != a ? b : b != b ? a : a == b ? (std::signbit(a) ? a : b) : std::min(a, b); };
  compareFloats("min.f32 %f20, %f10, %f11;", [&](f a, f b, f) { return least(a, b); });
  compareFloats("max.f32 %f20, %f10, %f11;", [&](f a, f b, f) { return -least(-a, -b); });
  compareFloats("max.NaN.f32 %f20, %f10, %f11;", [&](f a, f b, f) { return a != a || b != b ? NAN : -least(-a, -b); });
  // Directed rounding of what is exact in double; adding needs more bits than that, so only where the exponents are close.
  auto directed = [](double x, int way) {
    const f near = f(x);
    if (double(near) == x || x != x) return near;
    const bool up = double(near) > x;
    const bool wantUp = way > 0 || (way == 0 && x < 0);
    return up == wantUp ? near : std::nextafter(near, wantUp ? INFINITY : -INFINITY);
  };
  compareFloats("mul.rz.f32 %f20, %f10, %f11;", [&](f a, f b, f) { return directed(double(a) * b, 0); });
  compareFloats("mul.rm.f32 %f20, %f10, %f11;", [&](f a, f b, f) { return directed(double(a) * b, -1); });
  compareFloats("mul.rp.f32 %f20, %f10, %f11;", [&](f a, f b, f) { return directed(double(a) * b, 1); });
  compareFloats("mul.f32 %f1, %f11, 0f00800000;\ndiv.rn.f32 %f1, %f1, %f11;\nadd.rz.f32 %f20, 0f3F800000, %f1;", [&](f, f b, f) {
    const f x = b * 0x1p-126f / b;  // tiny or NaN
    return x != x ? x : x < 0 ? 1 - 0x1p-24f : 1.f;
  });
}

TEST("alu: comparisons of floats, ordered and not") {
  struct {
    const char* name;
    bool less, equal, greater, unordered;
  } relations[] = {{"eq", 0, 1, 0, 0},  {"ne", 1, 0, 1, 0},  {"lt", 1, 0, 0, 0},  {"le", 1, 1, 0, 0},  {"gt", 0, 0, 1, 0},  {"ge", 0, 1, 1, 0},  {"equ", 0, 1, 0, 1},
                   {"neu", 1, 0, 1, 1}, {"ltu", 1, 0, 0, 1}, {"leu", 1, 1, 0, 1}, {"gtu", 0, 0, 1, 1}, {"geu", 0, 1, 1, 1}, {"num", 1, 1, 1, 0}, {"nan", 0, 0, 0, 1}};
  for (const auto& r : relations)
    for (bool ftz : {false, true})
      compareFloats(std::string("setp.") + r.name + (ftz ? ".ftz" : "") + ".f32 %p1, %f10, %f11;\nselp.f32 %f20, 0f3F800000, 0f00000000, %p1;", [&](float a, float b, float) {
        if (ftz) a = flush(a), b = flush(b);
        return float(a < b ? r.less : a > b ? r.greater : a == b ? r.equal : r.unordered);
      });
}

TEST("alu: approximations are close, and noisy within their bounds when asked") {
  std::vector<uint32_t> x;
  Random random{1};
  for (int i = 0; i < 1000; ++i) x.push_back(std::bit_cast<uint32_t>(float(random.uniform(0.01, 20))));
  struct {
    const char* op;
    double (*f)(double);
    double relative, absolute;  // error without noise
  } functions[] = {{"ex2.approx.f32", std::exp2, 1e-7, 0}, {"lg2.approx.f32", std::log2, 1e-7, 1e-8}, {"rcp.approx.f32", [](double a) { return 1 / a; }, 1e-7, 0},
                   {"rsqrt.approx.f32", [](double a) { return 1 / std::sqrt(a); }, 1e-7, 0}, {"sqrt.approx.f32", std::sqrt, 1e-7, 0}, {"sin.approx.f32", std::sin, 1e-7, 0},
                   {"cos.approx.f32", std::cos, 1e-7, 0}, {"tanh.approx.f32", std::tanh, 1e-7, 0}};
  for (const auto& fn : functions) {
    Machine m(kernelText(".param .u64 x, .param .u64 y", elementOf("x", 4) + "ld.global.f32 %f1, [%rd2];\n" + fn.op + " %f1, %f1;\n" + elementOf("y", 4) + "st.global.f32 [%rd2], %f1;"));
    const uint64_t in = m.array(x), out = m.memory.allocate(4000);
    m.run({1}, {1000}, 0, in, out);
    const auto plain = m.read<float>(out, 1000);
    m.options.approxNoise = true;
    m.run({1}, {1000}, 0, in, out);
    const auto noisy = m.read<float>(out, 1000);
    m.options.seed = 77;
    m.run({1}, {1000}, 0, in, out);
    CHECK(noisy == m.read<float>(out, 1000));  // the same inputs, the same noise, in whatever order things run
    int moved = 0;
    for (size_t i = 0; i < 1000; ++i) {
      const double want = fn.f(double(asFloat(x[i])));
      CHECK(std::fabs(plain[i] - want) <= fn.relative * std::fabs(want) + fn.absolute);
      const double bound = std::string_view(fn.op).starts_with("tanh") ? 0x1p-10 * std::fabs(want) : 0x1p-20 + 3e-7 * std::fabs(want);
      CHECK(std::fabs(noisy[i] - want) <= bound);
      moved += noisy[i] != plain[i];
    }
    CHECK(moved > 300);
  }
}

TEST("alu: products and sums are fused only when asked, and only where ptxas may") {
  auto run = [](const std::string& body, bool contract) {
    Machine m(kernelText(".param .u64 y", "ld.param.u64 %rd1, [y];\nmov.f32 %f1, 0f3F800800;\nmov.f32 %f2, 0f3F801000;\n" + body + "\nst.global.f32 [%rd1], %f4;"));
    m.options.contract = contract;
    const uint64_t y = m.memory.allocate(4);
    m.run({1}, {1}, 0, y);
    return m.read<float>(y, 1)[0];
  };
  // (1 + 2^-12)^2 - (1 + 2^-11) is 2^-24 if the product is not rounded
  for (const char* body : {"mul.f32 %f3, %f1, %f1;\nsub.f32 %f4, %f3, %f2;", "neg.f32 %f5, %f2;\nmul.f32 %f3, %f1, %f1;\nadd.f32 %f4, %f5, %f3;"}) {
    CHECK(run(body, false) == 0);
    CHECK(run(body, true) == 0x1p-24f);
  }
  CHECK(run("mul.f32 %f3, %f1, %f1;\nsub.f32 %f4, %f2, %f3;", true) == -0x1p-24f);
  CHECK(run("mul.rn.f32 %f3, %f1, %f1;\nsub.f32 %f4, %f3, %f2;", true) == 0);
  CHECK(run("mul.f32 %f3, %f1, %f1;\nsub.rn.f32 %f4, %f3, %f2;", true) == 0);
  CHECK(run("mul.f32 %f3, %f1, %f1;\nmov.f32 %f1, 0f00000000;\nsub.f32 %f4, %f3, %f2;", true) == 0);  // the factors are gone: not fused here
}
