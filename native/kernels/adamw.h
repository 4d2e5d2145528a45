// AdamW, Adam with decoupled weight decay (Loshchilov & Hutter, arXiv 1711.05101), over all tensors of a model in one launch.
//
//   g  = grad * min(1, maxNorm / (norm + 1e-6))                (as torch.nn.utils.clip_grad_norm_)
//   p  = parameter * (1 - learningRate * weightDecay)           (only where the table says decay)
//   m  = beta1 m + (1 - beta1) g
//   v  = beta2 v + (1 - beta2) g^2
//   parameter = p - learningRate / (1 - beta1^step) * m / (sqrt(v / (1 - beta2^step)) + eps)
//
// One pass over memory also writes the bfloat16 copy that the model reads and zeroes the gradients. When the norm is not finite nothing
// happens: parameters, moments and gradients stay what they were, so that the caller can look for the cause. The same after an error of
// the work before that the caller does not know of yet.
#pragma once
#include "common/kernel.h"

namespace lantern {

struct AdamwParams {
  const void* table;  // [tensors] rows of common/parameterTable.h
  const float* norm;  // [1]: the global gradient norm; null: no clipping and no check
  int64_t tensors;
  int64_t step;      // 1 at the first update
  int64_t zeroGrad;  // whether gradients are set to 0 once used
  double learningRate, beta1, beta2, eps, weightDecay;
  double maxNorm;  // 0 or infinity: no clipping
};
LANTERN_PARAMS(AdamwParams, table, norm, tensors, step, zeroGrad, learningRate, beta1, beta2, eps, weightDecay, maxNorm)

}  // namespace lantern
