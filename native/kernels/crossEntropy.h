// Softmax cross entropy over rows of logits, with labels or with target probabilities, and its gradient.
//
//   labels:   loss = scale * sum over rows of  w[y] (-l[y])                       dlogits = scale w[y] (p - onehot(y))
//   targets:  loss = scale * sum over rows of  sum_j w[j] q[j] (log q[j] - l[j])  dlogits = scale ((sum_j w[j] q[j]) p - w q)
//
// with l the log-softmax, p the softmax, w the class weights (1 without). With targets it is the forward KL from them: 0 where they agree.
// p[y] - 1 is expm1(l[y]), exact however confident the row is. -inf marks a class that is masked.
#pragma once
#include "common/kernel.h"

namespace lantern {

struct CrossEntropyParams {
  const void* logits;         // [rows, classes], dtype
  const int32_t* labels;      // [rows]; a row with ignoreIndex is left out. Null with targets
  const void* targets;        // [rows, classes], targetsDtype, not negative; null with labels
  const float* classWeights;  // [classes]; may be null
  float* loss;                // [1]
  float* parts;               // [3]: the sum before scale; rows whose most probable class is right; rows that count
  void* dlogits;              // [rows, classes], dtype; may be null
  int64_t rows, classes, ignoreIndex, dtype, targetsDtype;
  double scale;
};
LANTERN_PARAMS(CrossEntropyParams, logits, labels, targets, classWeights, loss, parts, dlogits, rows, classes, ignoreIndex, dtype, targetsDtype,
               scale)

}  // namespace lantern
