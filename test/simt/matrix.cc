// Matrices spread over a warp: ldmatrix, movmatrix, mma.
//
// With g = lane / 4 and t = lane % 4, an mma of shape m16n8k16 on 16-bit elements holds
//   a[q]  row g + 8 (q % 2), columns 2t + 8 (q / 2) and the next      b[q]  rows 2t + 8q and the next, column g
//   d     row g + 8 (q / 2), column 2t + q % 2
#include <cstring>

#include "access.h"
#include "count.h"
#include "floats.h"

namespace lantern::simt {

namespace {

constexpr int kRows = 16, kCols = 8;

// ---- ldmatrix: 8x8 matrices of 16-bit elements; lane l gives the address of row l % 8 of matrix l / 8 ----

void loadMatrix(Warp& w, const Insn& i) {
  uint64_t offset[kLanes];
  addressesOf(w, i, kAddressOperand, offset);
  if (i.space == Space::generic)
    for (uint64_t& o : offset) o -= kSharedWindow;
  const Request r(offset, i.elements == 4 ? kAllLanes : (1u << 8 * i.elements) - 1, 16, Access::read);
  Places places;
  sharedPlaces(w, i, r, places);
  countWavefronts(w, i, r);
  uint32_t rows[4][8][4];
  for (int l = 0; l < 8 * i.elements; ++l) std::memcpy(rows[l / 8][l % 8], places.at[l], 16);
  for (int m = 0; m < i.elements; ++m) {
    auto* d = w.reg<uint32_t>(i.operand[m]);
    const auto* half = reinterpret_cast<const uint16_t(*)[8]>(rows[m]);
    if (!i.flag) std::memcpy(d, rows[m], sizeof rows[m]);  // lane 4 g + t holds word t of row g
    else
      for (int l = 0; l < kLanes; ++l) d[l] = half[2 * (l % 4)][l / 4] | uint32_t(half[2 * (l % 4) + 1][l / 4]) << 16;
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
  alignas(64) float a[16][kRows];  // by column
  alignas(64) float b[kCols][16];  // by column
  alignas(64) float c[kCols][kRows];
};

// Column by column of the result; the 16 rows of one are a vector.
template <int kDepth>
void multiplyPlain(Fragments& f) {
  for (int n = 0; n < kCols; ++n)
    for (int k = 0; k < kDepth; ++k)
      for (int r = 0; r < kRows; ++r) f.c[n][r] = __builtin_fmaf(f.a[k][r], f.b[n][k], f.c[n][r]);
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
        double terms[9] = {f.c[n][r]};
        const int count = std::min(8, depth - k);
        for (int j = 0; j < count; ++j) terms[1 + j] = double(f.a[k + j][r]) * f.b[n][k + j];
        f.c[n][r] = truncatedSum(terms, count + 1);
      }
}

struct Tf32 {};  // one element a register, in the upper 19 bits of a float

// Words that lie one to a lane, as columns: lane 4 g + t of `upper` holds row g, of `lower` row g + 8, of column t.
using Columns = uint32_t[4][kRows];
inline void toColumns(const uint32_t* upper, const uint32_t* lower, Columns& to) {
  for (int g = 0; g < 8; ++g)
    for (int t = 0; t < 4; ++t) to[t][g] = upper[4 * g + t];
  for (int g = 0; g < 8; ++g)
    for (int t = 0; t < 4; ++t) to[t][8 + g] = lower[4 * g + t];
}
inline void fromColumns(const Columns& from, uint32_t* upper, uint32_t* lower) {
  for (int g = 0; g < 8; ++g)
    for (int t = 0; t < 4; ++t) upper[4 * g + t] = from[t][g];
  for (int g = 0; g < 8; ++g)
    for (int t = 0; t < 4; ++t) lower[4 * g + t] = from[t][8 + g];
}

// Operands: d 0-3, a from 4, b from 8, c from 10.
template <class T, int kDepth>
void multiplyAdd(Warp& w, const Insn& i) {
  Fragments f;
  Columns words;
  auto lanes = [&](int operand) { return w.reg<uint32_t>(i.operand[operand]); };
  if constexpr (std::is_same_v<T, Tf32>) {
    for (int k = 0; k < kDepth; k += 4) {
      toColumns(lanes(4 + k / 2), lanes(5 + k / 2), words);
      for (int t = 0; t < 4; ++t)
        for (int r = 0; r < kRows; ++r) f.a[k + t][r] = std::bit_cast<float>(words[t][r] & 0xffffe000);
      for (int l = 0; l < kLanes; ++l) f.b[l / 4][k + l % 4] = std::bit_cast<float>(lanes(8 + k / 4)[l] & 0xffffe000);
    }
  } else {  // two elements a register
    for (int k = 0; k < kDepth; k += 8) {
      toColumns(lanes(4 + k / 4), lanes(5 + k / 4), words);
      for (int t = 0; t < 4; ++t)
        for (int r = 0; r < kRows; ++r) {
          f.a[k + 2 * t][r] = toFloat(T{uint16_t(words[t][r])});
          f.a[k + 2 * t + 1][r] = toFloat(T{uint16_t(words[t][r] >> 16)});
        }
      for (int n = 0; n < kCols; ++n)
        for (int t = 0; t < 4; ++t) {
          const uint32_t pair = lanes(8 + k / 8)[4 * n + t];
          f.b[n][k + 2 * t] = toFloat(T{uint16_t(pair)});
          f.b[n][k + 2 * t + 1] = toFloat(T{uint16_t(pair >> 16)});
        }
    }
  }
  for (int odd = 0; odd < 2; ++odd) {
    toColumns(lanes(10 + odd), lanes(12 + odd), words);
    for (int t = 0; t < 4; ++t) std::memcpy(f.c[2 * t + odd], words[t], sizeof words[t]);
  }
  if (w.run->options.truncateSums) multiplyTruncating(f, kDepth);
  else multiplyPlain<kDepth>(f);
  for (int odd = 0; odd < 2; ++odd) {
    for (int t = 0; t < 4; ++t) std::memcpy(words[t], f.c[2 * t + odd], sizeof words[t]);
    fromColumns(words, lanes(odd), lanes(2 + odd));
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
