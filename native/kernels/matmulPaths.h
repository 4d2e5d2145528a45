// Shared by the files of the matrix product: its epilogue and its three ways through memory.
//
//   one or few rows of x W^T    matmulVector.cpu.cc   rows of W times rows of x, as dot products
//   up to kFewRows of x W^T     matmulFewRows.cpu.cc  tokens in lanes; W is read once, where it lies
//   the rest                    matmul.cpu.cc         both operands packed into panels
#pragma once
#include "common/activation.h"
#include "common/tile.h"
#include "matmul.h"

namespace lantern::LANTERN_ISA {

constexpr int64_t kVectorRows = 3, kFewRows = 64;

Status matmulVector(const MatmulParams& p, Context& c);
Status matmulFewRows(const MatmulParams& p, Context& c);

LANTERN_INLINE vfloat loadAs(const void* p, int64_t dtype, int64_t index, int64_t count) {
  return dtype == kFloat32 ? loadPart(static_cast<const float*>(p) + index, count) : loadPart(static_cast<const bf16*>(p) + index, count);
}
LANTERN_INLINE void storeAs(void* p, int64_t dtype, int64_t index, vfloat v, int64_t count) {
  if (dtype == kFloat32) storePart(static_cast<float*>(p) + index, v, count);
  else storePart(static_cast<bf16*>(p) + index, v, count);
}

// From the product at [row, col...] to y; `count` > 0 lanes of v are inside the matrix.
LANTERN_INLINE void finish(const MatmulParams& p, int64_t row, int64_t col, vfloat v, int64_t count) {
  if (p.bias) v += loadAs(p.bias, p.biasDtype, col, count);
  if (p.z) storeAs(p.z, p.yDtype, row * p.ldy + col, v, count);
  if (p.activation == kSilu) v = silu(v);
  else if (p.activation == kGelu) v = gelu(v);
  if (p.residual) v += loadAs(p.residual, p.yDtype, row * p.ldResidual + col, count);
  storeAs(p.y, p.yDtype, row * p.ldy + col, v, count);
}

// A block of products [rows][stride] in scratch memory, of which [rows][cols] are inside the matrix.
inline void finishBlock(const MatmulParams& p, int64_t row, int64_t col, const float* block, int64_t stride, int64_t rows, int64_t cols) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < cols; c += kLanes) finish(p, row + r, col + c, load(block + r * stride + c), cols - c);
}

}  // namespace lantern::LANTERN_ISA
