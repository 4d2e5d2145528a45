// Matrices spread over a warp: ldmatrix, movmatrix, mma.
//
// With g = lane / 4 and t = lane % 4, an mma of shape m16n8k16 on 16-bit elements holds
//   a[q]  row g + 8 (q % 2), columns 2t + 8 (q / 2) and the next      b[q]  rows 2t + 8q and the next, column g
//   d     row g + 8 (q / 2), column 2t + q % 2
#include <cstring>

#include "access.h"
#include "floats.h"

namespace lantern::simt {

namespace {

constexpr int kRows = 16, kCols = 8;

// ---- ldmatrix: 8x8 matrices of 16-bit elements; lane l gives the address of row l % 8 of matrix l / 8 ----

void loadMatrix(Warp& w, const Insn& i) {
  uint32_t rows[4][8][4];
  for (int m = 0; m < i.elements; ++m) {
    uint64_t offset[kLanes] = {};
    for (int r = 0; r < 8; ++r) {
      const int lane = m * 8 + r;
      const uint64_t a = i.address32 ? w.reg<uint32_t>(i.operand[kAddressOperand])[lane] : w.reg<uint64_t>(i.operand[kAddressOperand])[lane];
      offset[r] = a + uint64_t(i.immediate);
      if (i.space == Space::generic) offset[r] -= kSharedWindow;
      std::memcpy(rows[m][r], sharedPlace(w, i, offset[r], 16, lane, Access::read), 16);
    }
    countWavefronts(w, i, offset, 0xff, 16);
  }
  for (int m = 0; m < i.elements; ++m) {
    auto* d = w.reg<uint32_t>(i.operand[m]);
    const auto* half = reinterpret_cast<const uint16_t(*)[8]>(rows[m]);
    for (int l = 0; l < kLanes; ++l) {
      const int g = l / 4, t = l % 4;
      d[l] = i.flag ? half[2 * t][g] | uint32_t(half[2 * t + 1][g]) << 16 : rows[m][g][t];
    }
  }
}
void ldmatrix(Decoder& d) {
  if (d.takeType() != "b16" || !d.take("sync") || !d.take("aligned") || !d.take("m8n8")) d.refuse();
  Insn& i = d.insn();
  i.flow = Flow::aligned;
  i.kind = InstructionClass::shared;
  i.elements = d.take("x4") ? 4 : d.take("x2") ? 2 : 1;
  if (i.elements == 1) d.take("x1");
  i.flag = d.take("trans");
  i.space = d.take("shared") || d.take("shared::cta") ? Space::shared : Space::generic;
  d.address(d.operand(1));
  const ptx::Operand& to = d.operand(0);
  if (to.kind == ptx::Operand::Kind::vector ? to.parts.size() != i.elements : i.elements != 1) d.refuse();
  for (int m = 0; m < i.elements; ++m) d.define(m, to.kind == ptx::Operand::Kind::vector ? to.parts[size_t(m)] : to, 4);
  i.run = loadMatrix;
}

// movmatrix.trans: an 8x8 matrix that is spread as ldmatrix leaves it, transposed.
void movmatrix(Decoder& d) {
  if (d.takeType() != "b16" || !d.take("sync") || !d.take("aligned") || !d.take("m8n8") || !d.take("trans")) d.refuse();
  d.insn().flow = Flow::aligned;
  d.insn().kind = InstructionClass::warp;
  sameSize(d, "b32", 1);
  d.insn().run = [](Warp& w, const Insn& i) {
    uint16_t x[8][8];
    std::memcpy(x, w.reg<uint32_t>(i.operand[1]), sizeof x);
    auto* r = w.reg<uint32_t>(i.operand[0]);
    for (int l = 0; l < kLanes; ++l) r[l] = x[2 * (l % 4)][l / 4] | uint32_t(x[2 * (l % 4) + 1][l / 4]) << 16;
  };
}

// ---- mma ----

struct Fragments {
  alignas(64) float a[kRows][16];
  alignas(64) float b[16][kCols];
  alignas(64) float c[kRows][kCols];
};

// Rows r and r + 8 side by side, 16 lanes of a vector.
void multiplyPlain(Fragments& f, int depth) {
  for (int r = 0; r < 8; ++r) {
    alignas(64) float sum[16];
    for (int n = 0; n < 16; ++n) sum[n] = f.c[n < 8 ? r : r + 8][n % 8];
    for (int k = 0; k < depth; ++k) {
      alignas(64) float a[16], b[16];
      for (int n = 0; n < 16; ++n) a[n] = n < 8 ? f.a[r][k] : f.a[r + 8][k];
      for (int n = 0; n < 16; ++n) b[n] = f.b[k][n % 8];
      for (int n = 0; n < 16; ++n) sum[n] = __builtin_fmaf(a[n], b[n], sum[n]);
    }
    for (int n = 0; n < 16; ++n) f.c[n < 8 ? r : r + 8][n % 8] = sum[n];
  }
}
// As tensor cores have been observed to add: products are exact; they and the accumulator are aligned to the largest exponent, cut off below
// 24 bits, summed, and the sum is cut off to float32; eight products at a time.
float truncatedSum(const double* terms, int count) {
  int largest = -10000;
  for (int k = 0; k < count; ++k) {
    if (!(std::fabs(terms[k]) < INFINITY)) {
      double s = 0;
      for (int n = 0; n < count; ++n) s += terms[n];
      return float(s);
    }
    if (terms[k] != 0) largest = std::max(largest, std::ilogb(terms[k]));
  }
  if (largest == -10000) return 0;
  double sum = 0;
  for (int k = 0; k < count; ++k) sum += std::trunc(std::scalbn(terms[k], 23 - largest));
  return float(double(roundTo(kFloatFormat, (long double)std::scalbn(sum, largest - 23), Rounding::zero)));
}
void multiplyTruncating(Fragments& f, int depth) {
  for (int r = 0; r < kRows; ++r)
    for (int n = 0; n < kCols; ++n)
      for (int k = 0; k < depth; k += 8) {
        double terms[9] = {f.c[r][n]};
        const int count = std::min(8, depth - k);
        for (int j = 0; j < count; ++j) terms[1 + j] = double(f.a[r][k + j]) * f.b[k + j][n];
        f.c[r][n] = truncatedSum(terms, count + 1);
      }
}

struct Tf32 {};
template <class T>
inline void unpackPair(uint32_t x, float& low, float& high) {
  low = toFloat(T{uint16_t(x)});
  high = toFloat(T{uint16_t(x >> 16)});
}

// Operands: d 0-3, a from 4, b from 8, c from 10.
template <class T, int kDepth>
void multiplyAdd(Warp& w, const Insn& i) {
  Fragments f;
  for (int l = 0; l < kLanes; ++l) {
    const int g = l / 4, t = l % 4;
    if constexpr (std::is_same_v<T, Tf32>) {  // one element a register, in the upper 19 bits of a float
      auto element = [&](int o) { return std::bit_cast<float>(w.reg<uint32_t>(i.operand[o])[l] & 0xffffe000); };
      for (int q = 0; q < kDepth / 2; ++q) f.a[g + 8 * (q % 2)][t + 4 * (q / 2)] = element(4 + q);
      for (int q = 0; q < kDepth / 4; ++q) f.b[t + 4 * q][g] = element(8 + q);
    } else {
      for (int q = 0; q < kDepth / 4; ++q) {
        float* to = &f.a[g + 8 * (q % 2)][2 * t + 8 * (q / 2)];
        unpackPair<T>(w.reg<uint32_t>(i.operand[4 + q])[l], to[0], to[1]);
      }
      for (int q = 0; q < kDepth / 8; ++q) unpackPair<T>(w.reg<uint32_t>(i.operand[8 + q])[l], f.b[2 * t + 8 * q][g], f.b[2 * t + 8 * q + 1][g]);
    }
    for (int q = 0; q < 4; ++q) f.c[g + 8 * (q / 2)][2 * t + q % 2] = w.reg<float>(i.operand[10 + q])[l];
  }
  if (w.run->options.truncateSums) multiplyTruncating(f, kDepth);
  else multiplyPlain(f, kDepth);
  for (int q = 0; q < 4; ++q) {
    float* d = w.reg<float>(i.operand[q]);
    for (int l = 0; l < kLanes; ++l) d[l] = f.c[l / 4 + 8 * (q / 2)][2 * (l % 4) + q % 2];
  }
  w.run->multiplyAdds += kRows * kCols * kDepth;
}

void mma(Decoder& d) {
  const std::string_view cType = d.takeType(), bType = d.takeType(), aType = d.takeType(), dType = d.takeType();
  if (!d.take("sync") || !d.take("aligned") || !d.take("row") || !d.take("col") || cType != "f32" || dType != "f32" || aType != bType) d.refuse();
  const int depth = d.take("m16n8k16") ? 16 : d.take("m16n8k8") ? 8 : d.take("m16n8k4") ? 4 : 0;
  const bool tf32 = aType == "tf32";
  const size_t a = size_t(tf32 ? depth / 2 : depth / 4), b = size_t(tf32 ? depth / 4 : depth / 8);
  const bool known = tf32 ? depth == 4 || depth == 8 : (aType == "bf16" || aType == "f16") && depth >= 8;
  if (!known || d.operands().size() != 4) d.refuse();
  auto fragment = [&](size_t operand, int slot, size_t count, bool defines) {
    const ptx::Operand& o = d.operand(operand);
    if (o.kind == ptx::Operand::Kind::vector ? o.parts.size() != count : count != 1) d.refuse();
    for (size_t k = 0; k < count; ++k) {
      const ptx::Operand& part = o.kind == ptx::Operand::Kind::vector ? o.parts[k] : o;
      if (defines) d.define(slot + int(k), part, 4);
      else d.use(slot + int(k), part, 4);
    }
  };
  fragment(1, 4, a, false);
  fragment(2, 8, b, false);
  fragment(3, 10, 4, false);
  fragment(0, 0, 4, true);
  d.insn().flow = Flow::aligned;
  d.insn().kind = InstructionClass::matrix;
  if (tf32) d.insn().run = depth == 8 ? multiplyAdd<Tf32, 8> : multiplyAdd<Tf32, 4>;
  else if (aType == "f16") d.insn().run = depth == 16 ? multiplyAdd<Half, 16> : multiplyAdd<Half, 8>;
  else d.insn().run = depth == 16 ? multiplyAdd<Bfloat, 16> : multiplyAdd<Bfloat, 8>;
}

}  // namespace

void matrixOpcodes(OpcodeTable& t) {
  t["ldmatrix"] = ldmatrix;
  t["movmatrix"] = movmatrix;
  t["mma"] = mma;
}

}  // namespace lantern::simt
