// Attention over packed sequences of different lengths: no padding, no [tokens, tokens] matrix.
//
// Sequence s covers the tokens cuSeqlens[s] .. cuSeqlens[s + 1] - 1 (a length of 0 is allowed). Query i and key j of one sequence meet iff
//   i - j <= windowLeft  and  j - i <= windowRight        (a negative window is unlimited; causal attention is windowRight = 0)
// Several query heads may share a key/value head (grouped-query attention): head h reads key head h / (heads / kvHeads).
//
//   s_ij = scale * (q_i . k_j)      p_ij = exp(s_ij - lse_i)      lse_i = log(sum over visible j of exp(s_ij))      out_i = sum_j p_ij v_j
//
// The softmax is computed online over blocks of keys (Milakov & Gimelshein 2018, arXiv 1805.02867; tiled as in Dao et al. 2022, arXiv
// 2205.14135): with m the running maximum, l = sum exp(s - m) and o = sum exp(s - m) v, a new block with maximum m' scales l and o by
// exp(m - max(m, m')). Backward, recomputing p from lse, with D_i = dout_i . out_i = sum_j p_ij (dout_i . v_j):
//   dv_j = sum_i p_ij dout_i      ds_ij = p_ij (dout_i . v_j - D_i)      dq_i = scale * sum_j ds_ij k_j      dk_j = scale * sum_i ds_ij q_i
// where the sums over i of dk and dv also run over the query heads of the group.
#pragma once
#include "common/kernel.h"

namespace lantern {

struct AttentionParams {
  const void* q;             // [tokens, heads, headDim], dtype, rows qStride elements apart
  const void* k;             // [tokens, kvHeads, headDim], dtype, rows kStride apart
  const void* v;             // [tokens, kvHeads, headDim], dtype, rows vStride apart
  const int32_t* cuSeqlens;  // [sequences + 1], ascending from 0 to tokens
  void* out;                 // [tokens, heads, headDim], dtype, contiguous
  float* lse;                // [heads, tokens], natural logarithm; may be null
  int64_t tokens, sequences, heads, kvHeads, headDim, qStride, kStride, vStride, windowLeft, windowRight, dtype;
  double scale;  // > 0
};
LANTERN_PARAMS(AttentionParams, q, k, v, cuSeqlens, out, lse, tokens, sequences, heads, kvHeads, headDim, qStride, kStride, vStride,
               windowLeft, windowRight, dtype, scale)

struct AttentionBackwardParams {
  const void* q;             // as in AttentionParams
  const void* k;
  const void* v;
  const int32_t* cuSeqlens;
  const void* out;   // [tokens, heads, headDim], dtype, contiguous
  const float* lse;  // [heads, tokens]
  const void* dout;  // [tokens, heads, headDim], dtype, contiguous
  void* dq;          // [tokens, heads, headDim], dtype, rows dqStride apart
  void* dk;          // [tokens, kvHeads, headDim], dtype, rows dkStride apart
  void* dv;          // [tokens, kvHeads, headDim], dtype, rows dvStride apart
  int64_t tokens, sequences, heads, kvHeads, headDim, qStride, kStride, vStride, dqStride, dkStride, dvStride;
  int64_t windowLeft, windowRight, dtype;
  double scale;
};
LANTERN_PARAMS(AttentionBackwardParams, q, k, v, cuSeqlens, out, lse, dout, dq, dk, dv, tokens, sequences, heads, kvHeads, headDim,
               qStride, kStride, vStride, dqStride, dkStride, dvStride, windowLeft, windowRight, dtype, scale)

}  // namespace lantern
