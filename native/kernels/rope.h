// Rotary position embedding, rotate-half layout (Su et al. 2021, arXiv 2104.09864; the layout of GPT-NeoX, Llama, Qwen2).
//
// With half = headDim / 2 and c, s the cosine and sine of position * frequency[j], each head of each token turns by pairs (j, j + half):
//   y[j]        = x[j] * c - x[j + half] * s
//   y[j + half] = x[j + half] * c + x[j] * s
// A rotation is orthogonal, so the backward is the rotation by the negative angle: direction = -1 changes the sign of s.
// Queries and keys turn in one launch. Outputs may be the inputs.
#pragma once
#include "common/kernel.h"

namespace lantern {

struct RopeParams {
  const void* q;             // [tokens, heads, headDim], dtype, rows qStride elements apart; may be null (with heads = 0)
  const void* k;             // [tokens, kvHeads, headDim], dtype, rows kStride apart; may be null (with kvHeads = 0)
  void* qOut;                // [tokens, heads, headDim], dtype, rows qOutStride apart
  void* kOut;                // [tokens, kvHeads, headDim], dtype, rows kOutStride apart
  const int32_t* positions;  // [tokens], each in 0 .. maxPosition - 1
  const float* table;        // [maxPosition, headDim]: headDim / 2 cosines, then as many sines
  int64_t tokens, heads, kvHeads, headDim, maxPosition, qStride, kStride, qOutStride, kOutStride, dtype;
  int64_t direction;  // 1 forward, -1 backward
};
LANTERN_PARAMS(RopeParams, q, k, qOut, kOut, positions, table, tokens, heads, kvHeads, headDim, maxPosition, qStride, kStride,
               qOutStride, kOutStride, dtype, direction)

}  // namespace lantern
