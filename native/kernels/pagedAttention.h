// Attention of new tokens over a key/value cache kept in blocks (PagedAttention, Kwon et al. 2023, arXiv 2309.06180), and the write into it.
//
// Slot p of the cache is row p % blockSize of block p / blockSize. Position t of sequence s lives in block blockTables[s, t / blockSize] at row
// t % blockSize. A sequence attends with its last n tokens, n = cuSeqlens[s + 1] - cuSeqlens[s] (1 each when cuSeqlens is null; 0 is allowed),
// whose keys and values are in the cache already: query i sits at position contextLens[s] - n + i and sees the keys up to its own, at most
// windowLeft before it. Formulas as in attention.h. Long contexts are cut into pieces of a fixed number of keys whose partial sums (maximum,
// sum of weights, weighted values) are merged in order, so the result does not depend on the number of threads.
#pragma once
#include "common/kernel.h"

namespace lantern {

struct PagedAttentionParams {
  const void* q;               // [tokens, heads, headDim], dtype, rows qStride elements apart
  const void* kCache;          // [blocks, blockSize, kvHeads, headDim], cacheDtype
  const void* vCache;          // [blocks, blockSize, kvHeads, headDim], cacheDtype
  const int32_t* blockTables;  // [sequences, maxBlocks]; entries behind the context are not read
  const int32_t* contextLens;  // [sequences], the new tokens included
  const int32_t* cuSeqlens;    // [sequences + 1], ascending from 0 to tokens; may be null
  void* out;                   // [tokens, heads, headDim], dtype, contiguous
  int64_t tokens, sequences, heads, kvHeads, headDim, qStride, blocks, blockSize, maxBlocks, windowLeft, dtype, cacheDtype;
  double scale;  // > 0
};
LANTERN_PARAMS(PagedAttentionParams, q, kCache, vCache, blockTables, contextLens, cuSeqlens, out, tokens, sequences, heads, kvHeads,
               headDim, qStride, blocks, blockSize, maxBlocks, windowLeft, dtype, cacheDtype, scale)

struct CacheWriteParams {
  const void* k;               // [tokens, cols], dtype, rows kStride apart; cols = kvHeads * headDim
  const void* v;               // [tokens, cols], dtype, rows vStride apart
  const int32_t* slotMapping;  // [tokens]: the slot of each token, -1 to leave it out; no slot twice
  void* kCache;                // [slots, cols], cacheDtype
  void* vCache;                // [slots, cols], cacheDtype
  int64_t tokens, cols, slots, kStride, vStride, dtype, cacheDtype;
};
LANTERN_PARAMS(CacheWriteParams, k, v, slotMapping, kCache, vCache, tokens, cols, slots, kStride, vStride, dtype, cacheDtype)

}  // namespace lantern
