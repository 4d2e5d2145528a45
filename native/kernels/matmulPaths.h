// Shared by the files of the matrix product: its epilogue and its three ways through memory.
//
//   up to kVectorRows of x W^T  matmulVector.cpu.cc   rows of W times rows of x, as dot products
//   up to kFewRows of x W^T     matmulFewRows.cpu.cc  tokens in lanes, of which fewer would leave half empty; W is read once, where it lies
//   the rest                    matmul.cpu.cc         both operands packed into panels
#pragma once
#include "common/activation.h"
#include "common/tile.h"
#include "matmul.h"

namespace lantern::LANTERN_ISA {

constexpr int64_t kVectorRows = kLanes / 2, kFewRows = 64;

Status matmulVector(const MatmulParams& p, Context& c);
Status matmulFewRows(const MatmulParams& p, Context& c);

LANTERN_INLINE vfloat loadAs(const void* p, int64_t dtype, int64_t index, int64_t count) {
  return dtype == kFloat32 ? loadPart(static_cast<const float*>(p) + index, count) : loadPart(static_cast<const bf16*>(p) + index, count);
}

// From the product at [row, col...] to y; `count` > 0 lanes of v are inside the matrix.
template <class Y>
LANTERN_INLINE void finish(const MatmulParams& p, int64_t row, int64_t col, vfloat v, int64_t count) {
  if (p.bias) v += loadAs(p.bias, p.biasDtype, col, count);
  if (p.z) storePart(static_cast<Y*>(p.z) + row * p.ldy + col, v, count);
  if (p.activation == kSilu) v = silu(v);
  else if (p.activation == kGelu) v = gelu(v);
  if (p.residual) v += loadPart(static_cast<const Y*>(p.residual) + row * p.ldResidual + col, count);
  storePart(static_cast<Y*>(p.y) + row * p.ldy + col, v, count);
}

// A run of `cols` products to y[row][col...].
template <class Y>
LANTERN_INLINE void finishRow(const MatmulParams& p, int64_t row, int64_t col, const float* product, int64_t cols) {
  if (p.bias || p.z || p.activation || p.residual) {
    for (int64_t c = 0; c < cols; c += kLanes) finish<Y>(p, row, col + c, load(product + c), cols - c);
    return;
  }
  Y* y = static_cast<Y*>(p.y) + row * p.ldy + col;
  for (int64_t c = 0; c < cols; c += kLanes) storePart(y + c, load(product + c), cols - c);
}

}  // namespace lantern::LANTERN_ISA
