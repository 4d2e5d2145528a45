// How the CUDA distillation head divides its work: what its launcher and its kernels share.
//
//   select    the tokens with a label, in order: the host does not know their number, so chunks beyond it find nothing to do
//   per chunk of chunkRows of them
//     gather  their hidden states, side by side                                                      distillHead.cu
//     logits  both models', float32, and the softmax statistics of every tile of kTileCols columns   distillHeadMma.cu, distillHeadFloat.cu
//     rows    statistics of whole rows, loss, dlogits in the student's logits' place                 distillHead.cu
//     dweight += dlogits^T hidden; dhidden = dlogits weight, in slices of the vocabulary             distillHeadMma.cu, distillHeadFloat.cu
//     scatter the sum of the slices to the tokens
//   total     loss and parts, in the order of the tokens
//
// Where hidden states and weights are bfloat16, in rows of whole 16 bytes, the products run on tensor cores and dlogits are rounded to bfloat16
// for them; else all is float32. What a launch adds up has an order that depends on the sizes and the device alone.
#pragma once
#include <algorithm>

#include "common/divergenceKind.h"
#include "distillHead.h"

namespace lantern::cuda {

constexpr int kTileCols = 128;                        // columns of a tile of logits, tensor cores or not
constexpr int kMmaRows = 128, kMmaThreads = 128;      // rows of a tensor-core tile; threads of its block
constexpr int kMmaDepth = 32, kMmaStages = 3;         // of the reduction in a stage of shared memory; stages
constexpr int kMmaShared = kMmaStages * (kMmaRows + kTileCols) * kMmaDepth * 2;
constexpr int kFloatRows = 64, kFloatThreads = 256;   // and of a float32 one
constexpr int kHeadThreads = 512;                     // of a block that takes a row of logits
constexpr int kSelectThreads = 1024, kMoveThreads = 128, kHeadTotalThreads = 256;

// Bound of both planes of logits: 1,280 tokens at a vocabulary of 152,000. Every chunk reads and writes all of dweight, so chunks are large
// enough for the tensor cores, not that, to take the time.
constexpr int64_t kPlaneBytes = int64_t(3) << 29, kMostRows = 1536;

struct TileStat {
  float max, rest;  // the largest logit of a tile's row, and the sum of e^((x - max) / T) beside that one
};
enum HeadSoftmax { kStudent, kTeacher, kLabels, kHeadSoftmaxes };  // kLabels: that of the cross entropy, where it is not kStudent

struct HeadResult {
  double crossEntropy, divergence, entropy, agreement;
};

struct HeadTask {
  DistillHeadParams p;
  float *s, *t;                       // [chunkRows, ld]: logits; s becomes dlogits, of float32 or in the first half of each row bfloat16
  void *x, *xt;                       // [chunkRows, hiddenSize], [chunkRows, teacherHiddenSize]: bfloat16 on tensor cores, else float32
  TileStat* stats[kHeadSoftmaxes];    // [chunkRows, tiles]
  float* partial;                     // [slices, chunkRows, hiddenSize]: dhidden
  int32_t *rows, *count;              // [tokens]: the tokens with a label; [1]: how many
  HeadResult* results;                // [tokens], of rows
  int64_t ld;                         // columns, up to a multiple of four
  int32_t chunkRows, tiles, slices, sliceRows;         // sliceRows: rows of the vocabulary in a slice
  int32_t columns, studentColumns, teacherColumns;     // of logits; of the divergence's softmaxes
  int32_t teacher, split;                              // split: the softmax of the cross entropy is not that of the divergence
  DivergenceScalars scalars;
  int32_t unused = 0;
};

inline int64_t ceilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

// All but the pointers.
inline HeadTask headTask(const DistillHeadParams& p, int multiprocessors) {
  HeadTask t{};
  t.p = p;
  t.teacher = p.kind != kNone;
  t.studentColumns = int32_t(t.teacher ? std::min(p.vocab, p.kdVocab) : p.vocab);
  t.teacherColumns = int32_t(t.teacher ? std::min(p.teacherVocab, p.kdVocab) : 0);
  t.columns = int32_t(t.teacher ? std::max(p.vocab, p.kdVocab) : p.vocab);
  t.split = t.teacher && (p.temperature != 1 || t.studentColumns != p.vocab);
  t.scalars = divergenceScalars(p.temperature, p.beta);
  t.ld = ceilDiv(t.columns, 4) * 4;
  t.tiles = int32_t(ceilDiv(t.columns, kTileCols));
  const int64_t inMemory = kPlaneBytes / (t.ld * 4 * (t.teacher ? 2 : 1)) / kMmaRows * kMmaRows;
  const int64_t most = std::clamp<int64_t>(inMemory, kMmaRows, kMostRows);
  const int64_t tokens = std::max<int64_t>(1, p.tokens), even = ceilDiv(tokens, ceilDiv(tokens, most));
  t.chunkRows = int32_t(std::min(tokens, ceilDiv(even, kMmaRows) * kMmaRows));
  const int64_t tiles = ceilDiv(t.chunkRows, kMmaRows) * ceilDiv(p.hiddenSize, kTileCols);
  const int64_t wanted = std::clamp<int64_t>(2 * multiprocessors / tiles, 1, 16);
  t.sliceRows = int32_t(ceilDiv(ceilDiv(p.vocab, wanted), 64) * 64);
  t.slices = int32_t(ceilDiv(p.vocab, t.sliceRows));
  return t;
}

}  // namespace lantern::cuda
