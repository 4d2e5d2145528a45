// How the distillation head divides its work, and where its buffers lie.
//
// Tokens live in vector lanes: logits are stored [row of the vocabulary][lane], so that every softmax statistic is lane-wise and the head
// matrices are broadcast from memory as they lie. Rows go in blocks; what a block adds up is kept per block and summed in order afterwards,
// so that no result depends on which thread ran what.
#pragma once
#include <algorithm>

#include "common/headTile.h"
#include "common/laneSoftmax.h"
#include "distillHead.h"

namespace lantern::LANTERN_ISA {

constexpr int64_t kBlock = 16 * kTileRows;                  // rows of a block of logits: 144, 96
constexpr int64_t kGradientBlock = kLanes == 16 ? 144 : 48;  // rows whose dlogits and weights stay in the cache
constexpr int64_t kStepRows = 2 * kAddRows;                  // rows of dweight between turns of dhidden
constexpr int64_t kGroup = std::max(16, 2 * kLanes) / (kLanes == 16 ? 2 : 1);  // lanes come in multiples of this
constexpr int64_t kPlaneBytes = 58'500'000;                 // bound of the two planes of logits: 48 tokens at 152,000 rows
constexpr int64_t kPartialBytes = 2'500'000;                 // about what the partial dhidden of all slices take
constexpr int64_t kSums = 3;                                // h, value, entropy

struct Sizes {  // `lanes` of the largest chunk, or of one chunk
  int64_t chunks, groups;  // groups: of kGroup tokens, in all chunks together
  int64_t lanes, rows, studentRows, teacherRows, blocks, columns, slices, gradientBlocks;
  bool teacher, split;  // split: the softmax of the cross entropy is not that of the divergence
};

struct Lane {  // one chunk, arrays of [lanes]
  float *maxS, *maxT, *maxCe, *logZS, *logZT, *logZCe, *refGap, *refError, *refRatio, *gTop, *shift, *ce, *kd, *sumH, *labelTerm;
  int32_t *row, *label, *topS, *topT;
  double *exactS, *exactT, *exactCe;  // logZ before rounding
};

inline Sizes sizesOf(const DistillHeadParams& p, int64_t valid) {
  Sizes z{};
  z.teacher = p.kind != kNone;
  z.studentRows = z.teacher ? std::min(p.vocab, p.kdVocab) : p.vocab;
  z.teacherRows = z.teacher ? std::min(p.teacherVocab, p.kdVocab) : 0;
  z.rows = z.teacher ? std::max(p.vocab, p.kdVocab) : p.vocab;
  z.split = z.teacher && (p.temperature != 1 || z.studentRows != p.vocab);
  z.blocks = (z.rows + kBlock - 1) / kBlock;
  z.columns = (p.hiddenSize + kAddColumns - 1) / kAddColumns * kAddColumns;
  const int64_t inMemory = kPlaneBytes / (z.rows * 4 * (z.teacher ? 2 : 1));
  const int64_t inCache = std::max<int64_t>(96, 98304 / std::max(p.hiddenSize, p.teacherHiddenSize));
  const int64_t most = std::max<int64_t>(1, std::min({inMemory, inCache, int64_t(512)}) / kGroup);
  z.groups = std::max<int64_t>(1, (valid + kGroup - 1) / kGroup);
  z.chunks = (z.groups + most - 1) / most;
  z.lanes = (z.groups + z.chunks - 1) / z.chunks * kGroup;
  z.gradientBlocks = (p.vocab + kGradientBlock - 1) / kGradientBlock;
  z.slices = std::min(z.gradientBlocks, std::clamp<int64_t>(kPartialBytes / (z.lanes * z.columns * 4), 8, 32));
  return z;
}

// The sizes of one chunk: the groups of tokens are shared out evenly, so that no chunk is mostly idle lanes.
inline Sizes sizesOfChunk(Sizes z, int64_t chunk) {
  z.lanes = ((chunk + 1) * z.groups / z.chunks - chunk * z.groups / z.chunks) * kGroup;
  return z;
}

// Every buffer of a chunk in one allocation: called with base = null it only measures.
struct Buffers {
  float *s, *q, *xs, *xt, *xo, *stats[3], *sums, *dh;
  Lane lane;
  size_t bytes = 0;
  char* base;

  Buffers(const DistillHeadParams& p, const Sizes& z, void* at) : base(static_cast<char*>(at)) {
    const int64_t l = z.lanes;
    take(s, z.rows * l);
    take(q, z.teacher ? z.rows * l : 0);
    take(xs, (p.hiddenSize + 1) * l);
    take(xt, z.teacher ? (p.teacherHiddenSize + 1) * l : 0);
    take(xo, z.columns * l);
    const size_t before = bytes;
    for (int k = 0; k < 3; ++k) take(stats[k], (k == 0 || (k == 1 ? z.teacher : z.split)) ? z.blocks * kLaneStats * l : 0);
    const size_t after = bytes;
    bytes = before;  // the sums are taken when the statistics have been merged
    take(sums, z.teacher ? z.blocks * kSums * l : 0);
    bytes = std::max(bytes, after);
    take(dh, z.slices * z.columns * l);
    for (float** x : {&lane.maxS, &lane.maxT, &lane.maxCe, &lane.logZS, &lane.logZT, &lane.logZCe, &lane.refGap, &lane.refError, &lane.refRatio,
                      &lane.gTop, &lane.shift, &lane.ce, &lane.kd, &lane.sumH, &lane.labelTerm})
      take(*x, l);
    for (int32_t** x : {&lane.row, &lane.label, &lane.topS, &lane.topT}) take(*x, l);
    for (double** x : {&lane.exactS, &lane.exactT, &lane.exactCe}) take(*x, l);
  }
  template <class T>
  void take(T*& pointer, int64_t count) {
    pointer = base ? reinterpret_cast<T*>(base + bytes) : nullptr;
    bytes += (size_t(count) * sizeof(T) + 63) / 64 * 64;
  }
};

}  // namespace lantern::LANTERN_ISA
