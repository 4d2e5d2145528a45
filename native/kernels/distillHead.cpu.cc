#include "distillHead.h"

#include <algorithm>
#include <cmath>

#include "common/divergenceMath.h"
#include "common/headTile.h"
#include "common/laneSoftmax.h"
#include "common/types.h"

namespace lantern::LANTERN_ISA {

namespace {

// Tokens live in vector lanes: logits are stored [row of the vocabulary][lane], so that every softmax statistic is lane-wise and the head
// matrices are broadcast from memory as they lie. Rows go in blocks; what a block adds up is kept per block and summed in order afterwards,
// so that no result depends on which thread ran what.
constexpr int64_t kBlock = 16 * kTileRows;                  // rows of a block of logits: 144, 96
constexpr int64_t kGradientBlock = kLanes == 16 ? 144 : 48;  // rows whose dlogits and packed weights stay in the cache
constexpr int64_t kGroup = std::max(16, 2 * kLanes) / (kLanes == 16 ? 2 : 1);  // lanes come in multiples of this
constexpr int64_t kPlaneBytes = 58'500'000;                 // bound of the two planes of logits: 48 tokens at 152,000 rows
constexpr int64_t kPartialBytes = 2'500'000;                 // about what the partial dhidden of all slices take
constexpr int64_t kSums = 3;                                // h, value, entropy

struct Sizes {
  int64_t lanes, rows, studentRows, teacherRows, blocks, columns, slices, gradientBlocks;
  bool teacher, split;  // split: the softmax of the cross entropy is not that of the divergence
};

struct Lane {  // one chunk, arrays of [lanes]
  float *maxS, *maxT, *maxCe, *logZS, *logZT, *logZCe, *refGap, *refError, *refRatio, *gTop, *shift, *ce, *kd, *sumH, *labelTerm;
  int32_t *row, *label, *topS, *topT;
  double *exactS, *exactT, *exactCe;  // logZ before rounding
};

Sizes sizesOf(const DistillHeadParams& p, int64_t valid) {
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
  const int64_t groups = (valid + kGroup - 1) / kGroup, chunks = std::max<int64_t>(1, (groups + most - 1) / most);
  z.lanes = std::max<int64_t>(1, (groups + chunks - 1) / chunks) * kGroup;
  z.gradientBlocks = (p.vocab + kGradientBlock - 1) / kGradientBlock;
  z.slices = std::min(z.gradientBlocks, std::clamp<int64_t>(kPartialBytes / (z.lanes * z.columns * 4), 8, 32));
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

struct Head {
  const DistillHeadParams& p;
  Context& c;
  const Sizes z;
  const Buffers b;
  const float invT;
  const bool gradients;
  double total[4] = {};  // CE, divergence, teacher entropy, agreement

  template <bool kPair, class H, class W>
  void logits(const void* hidden, const void* weight, int64_t dim, int64_t own, int64_t n, float* x, float* plane, bool student) {
    packTokens<kPair>(x, static_cast<const H*>(hidden), dim, b.lane.row, n, z.lanes);
    const W* w = static_cast<const W*>(weight);
    c.pool.parallel(z.blocks, [&](int64_t block, int thread) {
      float* scratch = static_cast<float*>(c.workspace.local(thread, 0));
      const int64_t first = block * kBlock, end = std::min(z.rows, first + kBlock), mine = std::clamp(own, first, end);
      float* out = plane + first * z.lanes;
      logitRows<kPair>(w + first * dim, dim, mine - first, own - first, x, z.lanes, out, scratch);
      std::fill(out + (mine - first) * z.lanes, out + (end - first) * z.lanes, kLowest);
      const auto stats = [&](int which, int64_t rows, float t) {
        blockStats(out, std::clamp(rows - first, int64_t(0), end - first), z.lanes, t, b.stats[which] + block * kLaneStats * z.lanes);
      };
      if (!student) return stats(1, z.teacherRows, invT);
      stats(0, z.studentRows, z.teacher ? invT : 1.f);
      if (z.split) stats(2, p.vocab, 1.f);
    });
  }

  // bfloat16 pairs are multiplied directly where the processor can and both sides are bfloat16; else everything is float32.
  template <class F>
  Status forSide(int64_t hiddenDtype, int64_t weightDtype, int64_t dim, F&& fn) {
    return forTypes(hiddenDtype, weightDtype, [&](auto h, auto w) {
      if constexpr (kDotBf16 && sizeof(h) == 2 && sizeof(w) == 2)
        if (dim % 2 == 0) return fn(std::true_type{}, h, w), Status::fine();
      return fn(std::false_type{}, h, w), Status::fine();
    });
  }

  RowPair rowPair(int64_t i) const {
    const Lane& l = b.lane;
    return {load(l.maxS + i),     load(l.maxT + i), load(l.logZS + i), load(l.logZT + i), load(l.refGap + i), load(l.refError + i),
            load(l.refRatio + i), load(l.gTop + i), load(l.shift + i), splat(invT),       float(p.beta)};
  }

  // Row statistics to lane constants: label terms, the factors of the two losses (0 in idle lanes), g at the student's top class.
  void finishStats(int64_t n) {
    const Lane& l = b.lane;
    mergeStats(b.stats[0], b.s, z.blocks, z.rows, kBlock, z.lanes, z.teacher ? invT : 1.f, l.maxS, z.teacher ? l.topS : nullptr, l.exactS);
    if (z.teacher) mergeStats(b.stats[1], b.q, z.blocks, z.rows, kBlock, z.lanes, invT, l.maxT, l.topT, l.exactT);
    if (z.split) mergeStats(b.stats[2], b.s, z.blocks, z.rows, kBlock, z.lanes, 1.f, l.maxCe, nullptr, l.exactCe);
    for (int64_t i = 0; i < z.lanes; ++i) {
      if (!z.split) l.maxCe[i] = l.maxS[i], l.exactCe[i] = l.exactS[i];
      l.logZCe[i] = float(l.exactCe[i]);
      const bool live = i < n;
      l.ce[i] = live ? float(p.scale * p.lambdaSft) : 0.f;
      l.kd[i] = live ? float(p.scale * p.lambdaKd / p.temperature) : 0.f;  // of the gradient: the softmax divides by T
      l.sumH[i] = 0;
      l.labelTerm[i] = live ? float(std::expm1(-crossEntropy(i))) : 0.f;
    }
    if (z.teacher) finishReference();
  }

  // What the divergence is taken relative to: the student's most probable class of every lane.
  void finishReference() {
    const Lane& l = b.lane;
    for (int64_t i = 0; i < z.lanes; ++i) {
      const float teacherAtTop = b.q[l.topS[i] * z.lanes + i];
      l.logZS[i] = float(l.exactS[i]);
      l.logZT[i] = float(l.exactT[i]);
      l.refGap[i] = teacherAtTop;  // for now
      l.refRatio[i] = topRatio(teacherAtTop, l.maxT[i], l.exactS[i], l.exactT[i], p.temperature);
      l.shift[i] = mixtureShift(p.kind, l.refRatio[i], p.beta);
      l.gTop[i] = 0;
    }
    for (int64_t i = 0; i < z.lanes; i += kLanes) {
      const vfloat t = load(l.refGap + i), s = load(l.maxS + i);
      store(l.refGap + i, t - s);
      store(l.refError + i, differenceError(t, s, t - s));
      forDivergence(p.kind, [&](auto kind) { store(l.gTop + i, gOf<kind>(rowPair(i), load(l.refRatio + i))); });
    }
  }

  double crossEntropy(int64_t i) const {
    const Lane& l = b.lane;
    return l.exactCe[i] - (double(b.s[l.label[i] * z.lanes + i]) - double(l.maxCe[i]));
  }

  // One block of the divergence's sums. With gradients, s becomes p_s and q everything of dlogits that needs no sum over the row.
  template <int64_t kKind>
  void reduceBlock(int64_t block) const {
    const int64_t first = block * kBlock, end = std::min(z.rows, first + kBlock), kdEnd = std::clamp(p.kdVocab, first, end);
    const Lane& l = b.lane;
    const float factor = gScale(kKind, float(p.beta));
    float* sums = b.sums + block * kSums * z.lanes;
    for (int64_t i = 0; i < z.lanes; i += kLanes) {
      const RowPair pair = rowPair(i);
      const vfloat ce = load(l.ce + i), kd = load(l.kd + i), maxCe = load(l.maxCe + i), logZCe = load(l.logZCe + i);
      const vfloat labelTerm = load(l.labelTerm + i);
      vint label;
      memcpy(&label, l.label + i, sizeof label);
      vfloat h = {}, value = {}, entropy = {};
      for (int64_t r = first; r < end; ++r) {
        float *ps = b.s + r * z.lanes + i, *pq = b.q + r * z.lanes + i;
        const vfloat s = load(ps), t = load(pq);
        Element e{};
        if (r < kdEnd) {
          e = divergenceElement<kKind>(pair, s, t);
          h += e.h;
          value += e.value;
          entropy -= e.pt * e.lt;
        }
        if (!gradients) continue;
        const vfloat pce = z.split ? expNegative((s - maxCe) - logZCe) : e.ps;
        store(ps, e.ps);
        store(pq, ce * select(label == int32_t(r), labelTerm, pce) + kd * (factor * e.h + e.direct));
      }
      store(sums + i, h);
      store(sums + z.lanes + i, value);
      store(sums + 2 * z.lanes + i, entropy);
    }
  }

  void reduce(int64_t n) {
    const Lane& l = b.lane;
    const auto add = [&](int64_t i, double ce, double kd) {
      total[0] += ce;
      total[1] += kd;
      if (p.tokenLoss) p.tokenLoss[l.row[i]] = float(p.lambdaSft * ce + p.lambdaKd * kd);
    };
    if (!z.teacher) {
      for (int64_t i = 0; i < n; ++i) add(i, crossEntropy(i), 0);
      return;
    }
    for (int64_t i = 0; i < n; ++i) l.exactCe[i] = crossEntropy(i);  // before the planes are overwritten
    forDivergence(p.kind, [&](auto kind) { c.pool.parallel(z.blocks, [&](int64_t block, int) { reduceBlock<kind>(block); }); });
    for (int64_t i = 0; i < n; ++i) {
      double sums[kSums] = {};
      for (int64_t block = 0; block < z.blocks; ++block)
        for (int k = 0; k < kSums; ++k) sums[k] += b.sums[(block * kSums + k) * z.lanes + i];
      add(i, l.exactCe[i], divergenceValue(p.kind, p.beta, double(l.gTop[i]) - l.shift[i], sums[0], sums[1]));
      total[2] += sums[2];
      total[3] += l.topS[i] == l.topT[i];
      l.sumH[i] = float(double(l.kd[i]) * gScale(p.kind, float(p.beta)) * sums[0]);
    }
  }

  // dlogits of rows [first, first + rows), times scale.
  void dlogits(int64_t first, int64_t rows, float* out) const {
    const Lane& l = b.lane;
    for (int64_t i = 0; i < z.lanes; i += kLanes) {
      const vfloat sumH = load(l.sumH + i), ce = load(l.ce + i), maxCe = load(l.maxCe + i), logZCe = load(l.logZCe + i);
      const vfloat labelTerm = load(l.labelTerm + i);
      vint label;
      memcpy(&label, l.label + i, sizeof label);
      for (int64_t r = 0; r < rows; ++r) {
        const int64_t at = (first + r) * z.lanes + i;
        const vfloat s = load(b.s + at);
        if (z.teacher) store(out + r * z.lanes + i, load(b.q + at) - sumH * s);
        else store(out + r * z.lanes + i, ce * select(label == int32_t(first + r), labelTerm, expNegative((s - maxCe) - logZCe)));
      }
    }
  }

  template <bool kPair, class W>
  void gradientSlice(int64_t slice, int thread) const {
    float* dl = static_cast<float*>(c.workspace.local(thread, 0));
    float* byToken = dl + kGradientBlock * z.lanes;  // kPair: the same in pairs of tokens, then in pairs of rows
    float* byRow = byToken + (kPair ? kGradientBlock * z.lanes / 2 : 0);
    float* packed = byRow + (kPair ? (kGradientBlock / 2) * z.lanes : 0);
    float* dh = b.dh + slice * z.columns * z.lanes;
    if (p.dhidden) std::fill_n(dh, z.columns * z.lanes, 0.f);
    const int64_t last = (slice + 1) * z.gradientBlocks / z.slices;
    for (int64_t block = slice * z.gradientBlocks / z.slices; block < last; ++block) {
      const int64_t first = block * kGradientBlock, rows = std::min(kGradientBlock, p.vocab - first);
      dlogits(first, rows, dl);
      if constexpr (kPair) {
        bf16* rounded = reinterpret_cast<bf16*>(byToken);
        for (int64_t i = 0; i < rows * z.lanes; i += kLanes) store(rounded + i, load(dl + i));
        for (int64_t k = 0; k < units<true>(rows); ++k)
          for (int64_t i = 0; i < z.lanes; i += kLanes) {
            const bf16* low = rounded + 2 * k * z.lanes + i;
            store(byRow + k * z.lanes + i, pairRows(load(low), 2 * k + 1 < rows ? load(low + z.lanes) : vfloat{}));
          }
      }
      if (p.dweight) addWeightGradient<kPair>(kPair ? byToken : dl, first, rows);
      if (!p.dhidden) continue;
      packRows<kPair>(packed, static_cast<const W*>(p.weight) + first * p.hiddenSize, p.hiddenSize, rows);
      addHiddenGradient<kPair>(kPair ? byRow : dl, rows, packed, dh);
    }
  }

  template <bool kPair>
  void addWeightGradient(const float* dl, int64_t first, int64_t rows) const {
    const int64_t tokens = units<kPair>(z.lanes), hs = p.hiddenSize;
    forTileRows(rows, [&](int64_t r, auto count) {
      const bool fetch = first + r + 2 * kAddRows <= p.vocab;
      for (int64_t j = 0; j < z.columns; j += kAddColumns)
        tileAdd<kPair, decltype(count)::value, true>(tokens, dl + r * tokens, tokens, 1, b.xo + j * tokens,
                                                     p.dweight + (first + r) * hs + j, hs, hs - j, fetch);
    });
  }

  template <bool kPair>
  void addHiddenGradient(const float* dl, int64_t rows, const float* packed, float* dh) const {
    const int64_t ku = units<kPair>(rows);
    forTileRows(z.lanes, [&](int64_t r, auto count) {
      for (int64_t j = 0; j < z.columns; j += kAddColumns)
        tileAdd<kPair, decltype(count)::value, false>(ku, dl + r, 1, z.lanes, packed + j * ku, dh + r * z.columns + j, z.columns,
                                                      kAddColumns, false);
    });
  }

  template <bool kPair, class H, class W>
  void backward(int64_t n) {
    if (p.dweight) packColumns<kPair>(b.xo, static_cast<const H*>(p.hidden), p.hiddenSize, b.lane.row, n, z.lanes);
    c.pool.parallel(z.slices, [&](int64_t slice, int thread) { gradientSlice<kPair, W>(slice, thread); });
    if (p.dhidden)
      for (int64_t i = 0; i < n; ++i) {
        H* out = static_cast<H*>(p.dhidden) + int64_t(b.lane.row[i]) * p.hiddenSize;
        for (int64_t j = 0; j < p.hiddenSize; j += kLanes) {
          vfloat sum = {};
          for (int64_t slice = 0; slice < z.slices; ++slice) sum += load(b.dh + (slice * z.lanes + i) * z.columns + j);
          storePart(out + j, sum, p.hiddenSize - j);
        }
      }
  }

  Status chunk(int64_t n) {
    Status status = forSide(p.hiddenDtype, p.weightDtype, p.hiddenSize, [&](auto pair, auto h, auto w) {
      logits<pair, decltype(h), decltype(w)>(p.hidden, p.weight, p.hiddenSize, p.vocab, n, b.xs, b.s, true);
    });
    if (!status.ok()) return status;
    if (z.teacher) {
      status = forSide(p.teacherHiddenDtype, p.teacherWeightDtype, p.teacherHiddenSize, [&](auto pair, auto h, auto w) {
        logits<pair, decltype(h), decltype(w)>(p.teacherHidden, p.teacherWeight, p.teacherHiddenSize, z.teacherRows, n, b.xt, b.q, false);
      });
      if (!status.ok()) return status;
    }
    finishStats(n);
    reduce(n);
    if (!gradients) return Status::fine();
    return forSide(p.hiddenDtype, p.weightDtype, p.hiddenSize,
                   [&](auto pair, auto h, auto w) { backward<pair, decltype(h), decltype(w)>(n); });
  }
};

}  // namespace

Status distillHead(const DistillHeadParams& p, Context& c) {
  int64_t valid = 0;
  const int64_t rowBytes = p.hiddenSize * (p.hiddenDtype == kFloat32 ? 4 : 2);
  for (int64_t i = 0; i < p.tokens; ++i) {
    if (p.labels[i] == p.ignoreIndex) continue;
    if (p.labels[i] < 0 || p.labels[i] >= p.vocab)
      return Status::error(Code::outOfRange, "distillHead: label " + std::to_string(p.labels[i]) + " of token " + std::to_string(i) +
                                                 " is not in a vocabulary of " + std::to_string(p.vocab) +
                                                 "; check the tokenizer, or use the ignore index for tokens without a label");
    ++valid;
  }
  for (int64_t i = 0; i < p.tokens; ++i)
    if (p.labels[i] == p.ignoreIndex) {
      if (p.tokenLoss) p.tokenLoss[i] = 0;
      if (p.dhidden) memset(static_cast<char*>(p.dhidden) + i * rowBytes, 0, size_t(rowBytes));
    }
  const Sizes z = sizesOf(p, valid);
  const bool gradients = p.dhidden || p.dweight;
  void* memory = c.workspace.shared(Buffers(p, z, nullptr).bytes);
  const size_t local = size_t(std::max(kTileRows * std::max(p.hiddenSize, p.teacherHiddenSize) + kLanes,
                                       gradients ? kGradientBlock * (2 * z.lanes + z.columns) : 0)) * sizeof(float);
  bool fits = memory != nullptr;
  for (int thread = 0; thread < c.pool.threads(); ++thread) fits = c.workspace.local(thread, local) && fits;
  if (!fits) return Status::error(Code::outOfMemory, "distillHead: no memory for the logits of one chunk of tokens; free some, or use a smaller batch elsewhere");

  Head head{p, c, z, Buffers(p, z, memory), float(1 / p.temperature), gradients};
  const Lane& lane = head.b.lane;
  int64_t n = 0;
  std::fill_n(lane.label, z.lanes, -1);
  for (int64_t i = 0, seen = 0; seen < valid; ++i) {
    if (p.labels[i] == p.ignoreIndex) continue;
    lane.row[n] = int32_t(i);
    lane.label[n++] = p.labels[i];
    if (++seen < valid && n < z.lanes) continue;
    std::fill_n(lane.label + n, z.lanes - n, -1);
    if (Status status = head.chunk(n); !status.ok()) return status;
    n = 0;
  }
  for (int k = 0; k < 4; ++k) p.parts[k] = float(head.total[k]);
  p.parts[4] = float(valid);
  *p.loss = float(p.scale * (p.lambdaSft * head.total[0] + p.lambdaKd * head.total[1]));
  return Status::fine();
}

}  // namespace lantern::LANTERN_ISA
