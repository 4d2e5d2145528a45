// The next token of every row of logits.
//
// In this order, each row with its own settings:
//   1. only the columns below `limit` take part (the vocabulary may be padded beyond the tokenizer's size)
//   2. repetition penalty r (Keskar et al. 2019, arXiv 1909.05858): z / r where z > 0, z * r elsewhere, once for every previous id
//   3. temperature T: p = softmax(z / T)
//   4. top-k: the k largest stay, and p is normalised again (0: all)
//   5. top-p (Holtzman et al. 2020, arXiv 1904.09751): the fewest largest that together reach topP stay (1: all); always at least one
//   6. the draw: u from Philox(seed; sequence, step), inverse of the cumulative sum over what stayed, by id
//
// A temperature below 1e-5 is greedy. Equal logits rank by id, the lower first: greedy, top-k and top-p cut there.
// The log probability is the model's own: log softmax of the row as it came (below `limit`, without 2 to 5).
//
// A row with NaN, +infinity or nothing but -infinity fails, and so does a previous id outside the columns, each named.
#pragma once
#include "common/kernel.h"

namespace lantern {

struct SamplingParams {
  const void* logits;         // [rows, cols], dtype
  const float* settings;      // [rows, 3]: temperature, topP, repetition penalty
  const int32_t* draws;       // [rows, 5]: topK, seed (low and high 32 bits), sequence, step
  const int32_t* previous;    // the rows' previous ids, one row after the other; may be null
  const int32_t* cuPrevious;  // [rows + 1]: where each row's previous ids start; null when previous is
  int32_t* ids;               // [rows]
  float* logProbs;            // [rows]; may be null
  int64_t rows, cols, limit, dtype;
};
LANTERN_PARAMS(SamplingParams, logits, settings, draws, previous, cuPrevious, ids, logProbs, rows, cols, limit, dtype)

}  // namespace lantern
