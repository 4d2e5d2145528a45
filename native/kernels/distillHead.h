// The fused linear distillation head: both output projections, cross entropy, a divergence between student and teacher, and the gradients
// of the student's hidden states and head matrix, in one pass over chunks of tokens. No [tokens, vocab] tensor exists.
//
//   s = hidden weight^T, t = teacherHidden teacherWeight^T                    float32 from the accumulator to the gradient
//   loss = scale * sum over tokens with a label of  lambdaSft * CE(s, label) + lambdaKd * D(softmax(t / T), softmax(s / T))
//   dhidden = d(loss)/d(hidden), dweight += d(loss)/d(weight)                 for an incoming gradient of 1: scale carries any other factor
//
// D by `kind` (DivergenceKind in common/divergenceKind.h; common/divergenceMath.h has the formulae and how they are kept exact under cancellation).
// CE is taken at temperature 1 over all `vocab` rows. D runs over the first `kdVocab` rows; a row that one of the models does not have
// counts as a logit of -inf there. So kdVocab = min(vocab, teacherVocab) truncates and renormalises, the larger of the two masks.
// Tokens whose label is ignoreIndex are neither multiplied nor counted; their dhidden is 0.
#pragma once
#include "common/kernel.h"

namespace lantern {

struct DistillHeadParams {
  const void* hidden;         // [tokens, hiddenSize], hiddenDtype
  const void* weight;         // [vocab, hiddenSize], weightDtype
  const void* teacherHidden;  // [tokens, teacherHiddenSize], teacherHiddenDtype; null when kind is none
  const void* teacherWeight;  // [teacherVocab, teacherHiddenSize], teacherWeightDtype; null when kind is none
  const int32_t* labels;      // [tokens], already shifted
  float* loss;                // [1]
  float* parts;               // [5]: sums of CE, divergence, teacher entropy; number of tokens where the most probable classes agree; valid tokens
  float* tokenLoss;           // [tokens]: lambdaSft * CE + lambdaKd * D, 0 where ignored; may be null
  void* dhidden;              // [tokens, hiddenSize], hiddenDtype; may be null
  float* dweight;             // [vocab, hiddenSize], added to; may be null
  int64_t tokens, hiddenSize, vocab, teacherHiddenSize, teacherVocab, kdVocab;
  int64_t kind, ignoreIndex;
  int64_t hiddenDtype, weightDtype, teacherHiddenDtype, teacherWeightDtype;
  double lambdaSft, lambdaKd, temperature, beta, scale;
};
LANTERN_PARAMS(DistillHeadParams, hidden, weight, teacherHidden, teacherWeight, labels, loss, parts, tokenLoss, dhidden, dweight, tokens,
               hiddenSize, vocab, teacherHiddenSize, teacherVocab, kdVocab, kind, ignoreIndex, hiddenDtype, weightDtype, teacherHiddenDtype,
               teacherWeightDtype, lambdaSft, lambdaKd, temperature, beta, scale)

}  // namespace lantern
