// SwiGLU, the gated activation of the feed-forward block (Shazeer 2020, arXiv 2002.05202).
//
//   s = sigmoid(gate),  y = gate * s * up
//
// Backward, s computed again rather than kept:
//   dup   = dy * gate * s
//   dgate = dy * up * s * (1 + gate * (1 - s))
//
// Strides are elements from one row to the next, so that gate and up may be the two halves of one projection. dgate and dup may be the
// memory of gate and up: every element is read before it is written.
#pragma once
#include "common/kernel.h"

namespace lantern {

struct SwigluParams {
  const void* gate;  // [rows, cols], dtype
  const void* up;    // [rows, cols], dtype
  void* y;           // [rows, cols], dtype
  int64_t rows, cols, gateStride, upStride, yStride, dtype;
};
LANTERN_PARAMS(SwigluParams, gate, up, y, rows, cols, gateStride, upStride, yStride, dtype)

struct SwigluBackwardParams {
  const void* dy;    // [rows, cols], dtype
  const void* gate;  // [rows, cols], dtype
  const void* up;    // [rows, cols], dtype
  void* dgate;       // [rows, cols], dtype
  void* dup;         // [rows, cols], dtype
  int64_t rows, cols, dyStride, gateStride, upStride, dgateStride, dupStride, dtype;
};
LANTERN_PARAMS(SwigluBackwardParams, dy, gate, up, dgate, dup, rows, cols, dyStride, gateStride, upStride, dgateStride, dupStride, dtype)

}  // namespace lantern
