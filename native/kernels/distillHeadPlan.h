// How the distillation head divides its work, and where its buffers lie.
//
// Tokens live in vector lanes: logits are stored [row of the vocabulary][lane], so that every softmax statistic is lane-wise and the head
// matrices are broadcast from memory as they lie. Rows go in blocks; what a block adds up is kept per block and summed in order afterwards,
// so that no result depends on which thread ran what.
#pragma once
#include <algorithm>
#include <limits>

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

struct Sizes {  // of all chunks: `lanes` and the like of the largest; or of one chunk
  int64_t groups, chunks, passes;  // groups: of kGroup tokens, in all chunks together
  int64_t lanes, passLanes;        // tokens of a chunk, and of its pass
  int64_t kept, from;              // lanes of the pass before its last chunk, and before this one
  int64_t rows, studentRows, teacherRows, blocks, columns, slices, gradientBlocks;
  bool teacher, split;  // split: the softmax of the cross entropy is not that of the divergence
  bool pairs;           // the student's products are of bfloat16 pairs, and dlogits are rounded to bfloat16 for them
};

struct Lane {  // one chunk, arrays of [lanes]; row: of [passLanes]
  float *maxS, *maxT, *maxCe, *logZS, *logZT, *logZCe, *refGap, *refError, *refRatio, *gTop, *shift, *ce, *kd, *sumH, *labelTerm;
  int32_t *row, *label, *topS, *topT;
  double *exactS, *exactT, *exactCe;  // logZ before rounding
};

// bfloat16 pairs are multiplied directly where the processor can and both sides are bfloat16; else everything is float32.
inline bool multipliesPairs(int64_t hiddenDtype, int64_t weightDtype, int64_t dim) {
  return kDotBf16 && hiddenDtype == kBfloat16 && weightDtype == kBfloat16 && dim % 2 == 0;
}

// Chunks and passes. Every chunk reads the weights of both models, every pass those of the student, and reads and writes dweight. Float32
// logits of two models take four times what bfloat16 dlogits do: of all divisions that fit, the one that moves the fewest bytes.
inline void divide(Sizes& z, const DistillHeadParams& p) {
  const int64_t studentBytes = p.hiddenSize * (p.weightDtype == kFloat32 ? 4 : 2);
  const int64_t chunkBytes = studentBytes + (z.teacher ? p.teacherHiddenSize * (p.teacherWeightDtype == kFloat32 ? 4 : 2) : 0);
  const int64_t passBytes = (p.dhidden ? studentBytes : 0) + (p.dweight ? 8 * p.hiddenSize : 0);
  const int64_t planes = z.rows * 4 * (z.teacher ? 2 : 1) * kGroup, dlogits = p.vocab * (z.pairs ? 2 : 4) * kGroup;
  const int64_t inCache = std::max<int64_t>(96, 98304 / std::max(p.hiddenSize, p.teacherHiddenSize));
  const int64_t most = std::min<int64_t>(inCache, 512) / kGroup;
  int64_t least = std::numeric_limits<int64_t>::max();
  for (int64_t size = 1; size <= std::max<int64_t>(1, std::min(most, kPlaneBytes / planes)); ++size) {
    const int64_t chunks = (z.groups + size - 1) / size;
    const int64_t more = std::min((kPlaneBytes - size * planes) / (size * dlogits), most / size - 1);
    const int64_t parts = 1 + (passBytes ? std::max<int64_t>(0, more) : 0);
    const int64_t passes = (chunks + parts - 1) / parts, bytes = chunks * chunkBytes + passes * passBytes;
    if (bytes > least) continue;
    least = bytes;
    z.chunks = chunks;
    z.passes = passes;
  }
}

inline Sizes sizesOf(const DistillHeadParams& p, int64_t valid) {
  Sizes z{};
  z.teacher = p.kind != kNone;
  z.pairs = multipliesPairs(p.hiddenDtype, p.weightDtype, p.hiddenSize);
  z.studentRows = z.teacher ? std::min(p.vocab, p.kdVocab) : p.vocab;
  z.teacherRows = z.teacher ? std::min(p.teacherVocab, p.kdVocab) : 0;
  z.rows = z.teacher ? std::max(p.vocab, p.kdVocab) : p.vocab;
  z.split = z.teacher && (p.temperature != 1 || z.studentRows != p.vocab);
  z.blocks = (z.rows + kBlock - 1) / kBlock;
  z.columns = (p.hiddenSize + kAddColumns - 1) / kAddColumns * kAddColumns;
  z.groups = std::max<int64_t>(1, (valid + kGroup - 1) / kGroup);
  divide(z, p);
  const int64_t parts = (z.chunks + z.passes - 1) / z.passes;
  z.lanes = (z.groups + z.chunks - 1) / z.chunks * kGroup;
  z.passLanes = parts * z.lanes;
  z.kept = z.passLanes - z.lanes;
  z.gradientBlocks = (p.vocab + kGradientBlock - 1) / kGradientBlock;
  z.slices = std::min(z.gradientBlocks, std::clamp<int64_t>(kPartialBytes / (z.passLanes * z.columns * 4), 8, 32));
  return z;
}

// The sizes of one chunk: groups are shared out evenly among chunks, so that none is mostly idle lanes, and chunks among passes.
inline Sizes sizesOfChunk(Sizes z, int64_t chunk) {
  const auto lanesBefore = [&](int64_t c) { return c * z.groups / z.chunks * kGroup; };
  const int64_t pass = ((chunk + 1) * z.passes - 1) / z.chunks;
  const int64_t first = pass * z.chunks / z.passes, end = (pass + 1) * z.chunks / z.passes;
  z.lanes = lanesBefore(chunk + 1) - lanesBefore(chunk);
  z.passLanes = lanesBefore(end) - lanesBefore(first);
  z.kept = lanesBefore(end - 1) - lanesBefore(first);
  z.from = lanesBefore(chunk) - lanesBefore(first);
  return z;
}

// Every buffer in one allocation: called with base = null it only measures.
struct Buffers {
  float *s, *q, *xs, *xt, *xo, *stats[3], *sums, *dh;
  void* kept;  // [vocab][kept lanes]: dlogits of the pass's earlier chunks, as the products take them
  Lane lane;
  size_t bytes = 0;
  char* base;

  Buffers(const DistillHeadParams& p, const Sizes& z, void* at) : base(static_cast<char*>(at)) {
    const int64_t l = z.lanes;
    take(s, z.rows * l);
    take(q, z.teacher ? z.rows * l : 0);
    take(xs, (p.hiddenSize + 1) * l);
    take(xt, z.teacher ? (p.teacherHiddenSize + 1) * l : 0);
    take(xo, z.columns * z.passLanes);
    take(kept, p.vocab * z.kept * (z.pairs ? 2 : 4));
    const size_t before = bytes;
    for (int k = 0; k < 3; ++k) take(stats[k], (k == 0 || (k == 1 ? z.teacher : z.split)) ? z.blocks * kLaneStats * l : 0);
    const size_t after = bytes;
    bytes = before;  // the sums are taken when the statistics have been merged
    take(sums, z.teacher ? z.blocks * kSums * l : 0);
    bytes = std::max(bytes, after);
    take(dh, z.slices * z.columns * z.passLanes);
    for (float** x : {&lane.maxS, &lane.maxT, &lane.maxCe, &lane.logZS, &lane.logZT, &lane.logZCe, &lane.refGap, &lane.refError, &lane.refRatio,
                      &lane.gTop, &lane.shift, &lane.ce, &lane.kd, &lane.sumH, &lane.labelTerm})
      take(*x, l);
    take(lane.row, z.passLanes);
    for (int32_t** x : {&lane.label, &lane.topS, &lane.topT}) take(*x, l);
    for (double** x : {&lane.exactS, &lane.exactT, &lane.exactCe}) take(*x, l);
  }
  void take(void*& pointer, int64_t size) {
    char* chars = nullptr;
    take(chars, size);
    pointer = chars;
  }
  template <class T>
  void take(T*& pointer, int64_t count) {
    pointer = base ? reinterpret_cast<T*>(base + bytes) : nullptr;
    bytes += (size_t(count) * sizeof(T) + 63) / 64 * 64;
  }
};

}  // namespace lantern::LANTERN_ISA
