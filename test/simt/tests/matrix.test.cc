// Layouts of ldmatrix and mma: each element of shared memory, or of a fragment, set alone.
#include <set>

#include "support.h"

using namespace lantern::simt;
using namespace lantern::simt::test;

namespace {

// ldmatrix of four 8x8 matrices that hold their own positions: 64 m + 8 row + column.
std::vector<uint32_t> loadMatrices(const std::string& trans) {
  Machine m(kernelText(".param .u64 x, .param .u64 y",
                       ".shared .align 16 .b8 s[512];\n" + elementOf("x", 16) + "ld.global.v4.u32 {%r2, %r3, %r4, %r5}, [%rd2];\nshl.b32 %r6, %r1, 4;\nmov.u32 %r7, s;\n"
                       "add.s32 %r6, %r7, %r6;\nst.shared.v4.u32 [%r6], {%r2, %r3, %r4, %r5};\nbar.sync 0;\n"
                       "ldmatrix.sync.aligned.m8n8.x4" + trans + ".shared.b16 {%r8, %r9, %r10, %r11}, [%r6];\n" + elementOf("y", 16) +
                       "st.global.v4.u32 [%rd2], {%r8, %r9, %r10, %r11};"));
  std::vector<uint16_t> x(256);
  for (uint16_t i = 0; i < 256; ++i) x[i] = i;
  const uint64_t in = m.array(x), out = m.memory.allocate(512);
  m.run({1}, {32}, 0, in, out);
  CHECK(m.report.findings.empty() && m.report.total.wavefronts == 4 + 4);
  return m.read<uint32_t>(out, 128);
}

struct Shape {
  const char* name;
  const char* type;
  int depth, bits;  // of an element
};
constexpr Shape kShapes[] = {{"m16n8k16", "bf16", 16, 16}, {"m16n8k16", "f16", 16, 16}, {"m16n8k8", "bf16", 8, 16}, {"m16n8k8", "f16", 8, 16},
                             {"m16n8k8", "tf32", 8, 32},   {"m16n8k4", "tf32", 4, 32}};

// An mma whose fragments are given register by register: 32 lanes each.
class Product {
 public:
  explicit Product(const Shape& s)
      : aRegisters(16 * s.depth * s.bits / 32 / 32), bRegisters(8 * s.depth * s.bits / 32 / 32), machine_(text(s, aRegisters, bRegisters)) {
    a_ = machine_.memory.allocate(32 * 16), b_ = machine_.memory.allocate(32 * 8), c_ = machine_.memory.allocate(32 * 16), d_ = machine_.memory.allocate(32 * 16);
  }
  std::vector<float> operator()(const std::vector<uint32_t>& a, const std::vector<uint32_t>& b, const std::vector<float>& c) {
    machine_.memory.copyIn(a_, a.data(), a.size() * 4);
    machine_.memory.copyIn(b_, b.data(), b.size() * 4);
    machine_.memory.copyIn(c_, c.data(), c.size() * 4);
    machine_.run({1}, {32}, 0, a_, b_, c_, d_);
    return machine_.read<float>(d_, 128);
  }
  const int aRegisters, bRegisters;
  Machine& machine() { return machine_; }

 private:
  static std::string text(const Shape& s, int aRegisters, int bRegisters) {
    std::string body, a, b;
    auto load = [&](const char* from, int count, int first, std::string& list) {
      body += elementOf(from, 4 * count);
      for (int q = 0; q < count; ++q) {
        const std::string r = "%r" + std::to_string(first + q);
        body += "ld.global.u32 " + r + ", [%rd2+" + std::to_string(4 * q) + "];\n";
        list += (q ? ", " : "") + r;
      }
      list = "{" + list + "}";
    };
    load("a", aRegisters, 10, a);
    load("b", bRegisters, 20, b);
    body += elementOf("c", 16) + "ld.global.v4.f32 {%f1, %f2, %f3, %f4}, [%rd2];\nmma.sync.aligned." + s.name + ".row.col.f32." + s.type + "." + s.type + ".f32 {%f1, %f2, %f3, %f4}, " + a +
            ", " + b + ", {%f1, %f2, %f3, %f4};\n" + elementOf("d", 16) + "st.global.v4.f32 [%rd2], {%f1, %f2, %f3, %f4};";
    return kernelText(".param .u64 a, .param .u64 b, .param .u64 c, .param .u64 d", body);
  }
  Machine machine_;
  uint64_t a_, b_, c_, d_;
};
uint32_t element(const Shape& s, float x) {
  return std::string_view(s.type) == "f16" ? std::bit_cast<uint16_t>(_Float16(x)) : std::bit_cast<uint32_t>(x) >> (s.bits == 16 ? 16 : 0);
}

// Where lane, register and half of a fragment lie, after the tables in the PTX manual.
void placeOfA(const Shape& s, int lane, int q, int half, int& row, int& k) {
  row = lane / 4 + 8 * (q % 2);
  k = s.bits == 16 ? 2 * (lane % 4) + 8 * (q / 2) + half : lane % 4 + 4 * (q / 2);
}
void placeOfB(const Shape& s, int lane, int q, int half, int& k, int& column) {
  column = lane / 4;
  k = s.bits == 16 ? 2 * (lane % 4) + 8 * q + half : lane % 4 + 4 * q;
}

}  // namespace

TEST("matrix: ldmatrix gives lane l elements 2 (l % 4) and the next of row l / 4, transposed of column l / 4") {
  const auto plain = loadMatrices(""), trans = loadMatrices(".trans");
  for (uint32_t l = 0; l < 32; ++l)
    for (uint32_t m = 0; m < 4; ++m) {
      const uint32_t g = l / 4, t = l % 4, first = 64 * m + 8 * g + 2 * t;
      CHECK(plain[4 * l + m] == (first | (first + 1) << 16));
      const uint32_t down = 64 * m + 8 * (2 * t) + g;
      CHECK(trans[4 * l + m] == (down | (down + 8) << 16));
    }
}

TEST("matrix: one element of a, one of b, everywhere: the product is where the manual says and nowhere else") {
  for (const Shape& s : kShapes) {
    Product product(s);
    const int halves = 32 / s.bits;
    // All of b is 2^(k % 8) in row k, all of a's but one element zero: the product shows the element's row and k.
    std::vector<uint32_t> b(size_t(32 * product.bRegisters));
    for (int lane = 0; lane < 32; ++lane)
      for (int q = 0; q < product.bRegisters; ++q)
        for (int half = 0; half < halves; ++half) {
          int k, column;
          placeOfB(s, lane, q, half, k, column);
          b[size_t(lane * product.bRegisters + q)] |= element(s, float(1 + k) + 32 * float(column)) << (16 * half);
        }
    std::set<std::pair<int, int>> seen;
    for (int lane = 0; lane < 32; ++lane)
      for (int q = 0; q < product.aRegisters; ++q)
        for (int half = 0; half < halves; ++half) {
          std::vector<uint32_t> a(size_t(32 * product.aRegisters));
          a[size_t(lane * product.aRegisters + q)] = element(s, 1) << (16 * half);
          int row, k;
          placeOfA(s, lane, q, half, row, k);
          seen.insert({row, k});
          const auto d = product(a, b, std::vector<float>(128, 0));
          for (int l = 0; l < 32; ++l)
            for (int r = 0; r < 4; ++r) {
              const int dRow = l / 4 + 8 * (r / 2), column = 2 * (l % 4) + r % 2;
              const float expected = float(1 + k) + 32 * float(column);  // at most 8 bits: exact in every type
              CHECK(d[size_t(4 * l + r)] == (dRow == row ? expected : 0));
            }
        }
    CHECK(int(seen.size()) == 16 * s.depth);
    CHECK(product.machine().report.multiplyAdds == uint64_t(16 * 8 * s.depth));
  }
}

TEST("matrix: sums are float32, or cut off as tensor cores do") {
  const Shape& s = kShapes[0];
  Product product(s);
  // Floats below 2^25 are 2 apart: fma rounds the first product's half step to even, upwards; cut off, no product leaves a trace.
  const std::vector<uint32_t> ones(128, 0x3f803f80), b(64, 0x3f803f80);
  const std::vector<float> c(128, 0x1p25f - 6);
  const auto plain = product(ones, b, c);
  product.machine().options.truncateSums = true;
  const auto cut = product(ones, b, c);
  CHECK(plain[0] == c[0] + 2);
  CHECK(cut[0] == c[0]);
  const auto exact = product(ones, b, std::vector<float>(128, 3));
  CHECK(exact[0] == 19);
}
