// Every kernel of the package. LANTERN_KERNELS(X) lists X(name, ParameterStruct); each instruction set builds its table from it
// (registry.cpu.cc) and TypeScript reads names and fields through the addon.
#pragma once
#include "adamw.h"
#include "attention.h"
#include "crossEntropy.h"
#include "distillHead.h"
#include "divergence.h"
#include "elementwise.h"
#include "embedding.h"
#include "geglu.h"
#include "gradNorm.h"
#include "layerNorm.h"
#include "matmul.h"
#include "pagedAttention.h"
#include "pooling.h"
#include "rmsNorm.h"
#include "rope.h"
#include "sampling.h"
#include "swiglu.h"

#define LANTERN_KERNELS(X)                                    \
  X(fill, FillParams)                                         \
  X(copy, CopyParams)                                         \
  X(addScaled, AddScaledParams)                               \
  X(multiply, MultiplyParams)                                 \
  X(countNonFinite, CountNonFiniteParams)                     \
  X(attention, AttentionParams)                               \
  X(attentionBackward, AttentionBackwardParams)               \
  X(pagedAttention, PagedAttentionParams)                     \
  X(cacheWrite, CacheWriteParams)                             \
  X(crossEntropy, CrossEntropyParams)                         \
  X(distillHead, DistillHeadParams)                           \
  X(divergence, DivergenceParams)                             \
  X(divergenceBackward, DivergenceBackwardParams)             \
  X(embedding, EmbeddingParams)                               \
  X(embeddingBackward, EmbeddingBackwardParams)               \
  X(geglu, GegluParams)                                       \
  X(gegluBackward, GegluBackwardParams)                       \
  X(layerNorm, LayerNormParams)                               \
  X(layerNormBackward, LayerNormBackwardParams)               \
  X(matmul, MatmulParams)                                     \
  X(activationBackward, ActivationBackwardParams)             \
  X(columnSum, ColumnSumParams)                               \
  X(lastTokenPooling, LastTokenPoolingParams)                 \
  X(lastTokenPoolingBackward, LastTokenPoolingBackwardParams) \
  X(meanPooling, MeanPoolingParams)                           \
  X(meanPoolingBackward, MeanPoolingBackwardParams)           \
  X(gatherRows, GatherRowsParams)                             \
  X(gatherRowsBackward, GatherRowsBackwardParams)             \
  X(l2Normalize, L2NormalizeParams)                           \
  X(l2NormalizeBackward, L2NormalizeBackwardParams)           \
  X(rmsNorm, RmsNormParams)                                   \
  X(rmsNormBackward, RmsNormBackwardParams)                   \
  X(rope, RopeParams)                                         \
  X(swiglu, SwigluParams)                                     \
  X(swigluBackward, SwigluBackwardParams)                     \
  X(adamw, AdamwParams)                                       \
  X(gradNorm, GradNormParams)                                 \
  X(sampling, SamplingParams)
