// Token embedding: one row of a table per token.
//
//   y[i, :] = weight[ids[i], :]
//
// Backward: dweight[ids[i], :] += dy[i, :], in the order of i whatever the number of threads (threads own columns, never tokens).
// An id outside [0, vocab) fails before anything is written.
#pragma once
#include "common/kernel.h"

namespace lantern {

struct EmbeddingParams {
  const void* weight;  // [vocab, hidden], weightDtype
  const int32_t* ids;  // [tokens]
  void* y;             // [tokens, hidden], dtype
  int64_t tokens, vocab, hidden, dtype, weightDtype;
};
LANTERN_PARAMS(EmbeddingParams, weight, ids, y, tokens, vocab, hidden, dtype, weightDtype)

struct EmbeddingBackwardParams {
  const void* dy;      // [tokens, hidden], dtype
  const int32_t* ids;  // [tokens]
  float* dweight;      // [vocab, hidden], added to
  int64_t tokens, vocab, hidden, dtype;
};
LANTERN_PARAMS(EmbeddingBackwardParams, dy, ids, dweight, tokens, vocab, hidden, dtype)

}  // namespace lantern
