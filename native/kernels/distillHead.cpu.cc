#include "distillHead.h"

#include <algorithm>
#include <cmath>

#include "common/divergenceMath.h"
#include "common/types.h"
#include "distillHeadPlan.h"

namespace lantern::LANTERN_ISA {

namespace {

struct Head {
  const DistillHeadParams& p;
  Context& c;
  const Sizes z;
  const Buffers b;
  const float invT;
  const bool gradients;
  double (&total)[4];  // CE, divergence, teacher entropy, agreement

  // fn(block, first block after the run, thread): every thread takes runs of blocks, so that it needs itself what it fetches ahead.
  template <class F>
  void forBlocks(F&& fn) const {
    const int64_t runs = std::min<int64_t>(z.blocks, 32 * c.pool.threads());
    c.pool.parallel(runs, [&](int64_t run, int thread) {
      const int64_t last = (run + 1) * z.blocks / runs;
      for (int64_t block = run * z.blocks / runs; block < last; ++block) fn(block, last, thread);
    });
  }

  template <bool kPair, class H, class W>
  void logits(const void* hidden, const void* weight, int64_t dim, int64_t own, int64_t n, float* x, float* plane, bool student) {
    packTokens<kPair>(x, static_cast<const H*>(hidden), dim, b.lane.row + z.from, n, z.lanes);
    const W* w = static_cast<const W*>(weight);
    forBlocks([&](int64_t block, int64_t, int thread) {
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

  template <class F>
  Status forSide(int64_t hiddenDtype, int64_t weightDtype, int64_t dim, F&& fn) {
    return forTypes(hiddenDtype, weightDtype, [&](auto h, auto w) {
      if constexpr (kDotBf16 && sizeof(h) == 2 && sizeof(w) == 2)
        if (multipliesPairs(hiddenDtype, weightDtype, dim)) return fn(std::true_type{}, h, w), Status::fine();
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
    const float logRest = divergenceScalars(p.temperature, p.beta).logRest;
    for (int64_t i = 0; i < z.lanes; ++i) {
      const float teacherAtTop = b.q[l.topS[i] * z.lanes + i];
      l.logZS[i] = float(l.exactS[i]);
      l.logZT[i] = float(l.exactT[i]);
      l.refGap[i] = teacherAtTop;  // for now
      l.refRatio[i] = topRatio(teacherAtTop, l.maxT[i], l.exactS[i], l.exactT[i], p.temperature);
      l.shift[i] = mixtureShift(p.kind, l.refRatio[i], logRest);
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

  // One block of the divergence's sums. With gradients, q becomes everything of dlogits that needs no sum over the row, and s, where there is
  // such a sum, p_s.
  template <int64_t kKind>
  void reduceBlock(int64_t block, bool fetchNext) const {
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
        if (fetchNext) {  // a vector of the next block for every one of this, in the order they lie
          const int64_t line = end * z.lanes + (i / kLanes * (end - first) + (r - first)) * kLanes;
          __builtin_prefetch(b.s + line, 1, 2);
          __builtin_prefetch(b.q + line, 1, 2);
        }
        Element e{};
        if (r < kdEnd) {
          e = divergenceElement<kKind>(pair, s, t);
          h += e.h;
          value += e.value;
          entropy -= e.pt * e.lt;
        }
        if (!gradients) continue;
        const vfloat pce = z.split ? expNegative((s - maxCe) - logZCe) : e.ps;
        if constexpr (kKind != kForwardKL) store(ps, e.ps);
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
      if (p.tokenLoss) p.tokenLoss[l.row[z.from + i]] = float(p.lambdaSft * ce + p.lambdaKd * kd);
    };
    if (!z.teacher) {
      for (int64_t i = 0; i < n; ++i) add(i, crossEntropy(i), 0);
      return;
    }
    for (int64_t i = 0; i < n; ++i) l.exactCe[i] = crossEntropy(i);  // before the planes are overwritten
    forDivergence(p.kind, [&](auto kind) {
      forBlocks([&](int64_t block, int64_t last, int) { reduceBlock<kind>(block, block + 1 < last && (block + 2) * kBlock <= z.rows); });
    });
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

  // dlogits of the kLanes tokens from i on, times scale.
  LANTERN_INLINE vfloat dlogits(int64_t row, int64_t i) const {
    const Lane& l = b.lane;
    const int64_t at = row * z.lanes + i;
    if (p.kind == kForwardKL) return load(b.q + at);
    if (z.teacher) return load(b.q + at) - load(l.sumH + i) * load(b.s + at);
    vint label;
    memcpy(&label, l.label + i, sizeof label);
    const vfloat probability = expNegative((load(b.s + at) - load(l.maxCe + i)) - load(l.logZCe + i));
    return load(l.ce + i) * select(label == int32_t(row), load(l.labelTerm + i), probability);
  }

  template <bool kPair>
  using Dlogit = std::conditional_t<kPair, bf16, float>;

  template <bool kPair>
  Dlogit<kPair>* kept(int64_t row) const {
    return static_cast<Dlogit<kPair>*>(b.kept) + row * z.kept;
  }

  // Keeps a chunk's dlogits until the last chunk of the pass.
  template <bool kPair>
  void keep() const {
    forBlocks([&](int64_t block, int64_t, int) {
      const int64_t end = std::min(p.vocab, (block + 1) * kBlock);
      for (int64_t r = block * kBlock; r < end; ++r)
        for (int64_t i = 0; i < z.lanes; i += kLanes) store(kept<kPair>(r) + z.from + i, dlogits(r, i));
    });
  }

  // dlogits of rows [first, first + rows) as the two products take them: byToken[rows][units of lanes] and byRow[units of rows][lanes],
  // which is the same where a unit is one float.
  template <bool kPair>
  void packDlogits(int64_t first, int64_t rows, float* byToken, [[maybe_unused]] float* byRow) const {
    const int64_t lanes = z.passLanes;
    Dlogit<kPair>* out = reinterpret_cast<Dlogit<kPair>*>(byToken);
    for (int64_t r = 0; r < rows; ++r, out += lanes) {
      memcpy(out, kept<kPair>(first + r), size_t(z.kept) * sizeof *out);
      for (int64_t i = 0; i < z.lanes; i += kLanes) store(out + z.kept + i, dlogits(first + r, i));
      if constexpr (kPair)
        if (r % 2 || r + 1 == rows)
          for (int64_t i = 0; i < lanes; i += kLanes) {
            const vfloat here = load(out + i);
            store(byRow + r / 2 * lanes + i, asFloat(r % 2 ? pairRows(load(out - lanes + i), here) : pairRows(here, vfloat{})));
          }
    }
  }

  template <bool kPair, class W>
  void gradientSlice(int64_t slice, int thread) const {
    float* byToken = static_cast<float*>(c.workspace.local(thread, 0));
    float* byRow = kPair ? byToken + kGradientBlock * z.passLanes / 2 : byToken;
    float* packed = byToken + kGradientBlock * z.passLanes;
    float* dh = b.dh + slice * z.columns * z.passLanes;
    if (p.dhidden) std::fill_n(dh, z.columns * z.passLanes, 0.f);
    const int64_t last = (slice + 1) * z.gradientBlocks / z.slices;
    for (int64_t block = slice * z.gradientBlocks / z.slices; block < last; ++block) {
      const int64_t first = block * kGradientBlock, rows = std::min(kGradientBlock, p.vocab - first);
      packDlogits<kPair>(first, rows, byToken, byRow);
      // Both gradients take turns, and either fetches what the other needs next.
      const W* w = static_cast<const W*>(p.weight);
      const int64_t panels = z.columns / kAddColumns, steps = (rows + kStepRows - 1) / kStepRows;
      for (int64_t step = 0; step < steps; ++step) {
        const int64_t r = step * kStepRows, stepRows = std::min(kStepRows, rows - r);
        const int64_t panel = step * panels / steps, panelEnd = (step + 1) * panels / steps;
        Ahead ahead = afterStep<kPair>(w, first + r);
        ahead.spread((p.dweight ? panels * (kStepRows / kAddRows) * (units<kPair>(z.passLanes) / kFetchUnits) : 0) +
                     (p.dhidden ? (panelEnd - panel) * (z.passLanes / kAddRows) * (units<kPair>(rows) / kFetchUnits) : 0));
        if (p.dweight) addWeightGradient<kPair>(byToken + r * units<kPair>(z.passLanes), first + r, stepRows, ahead);
        if (p.dhidden) addHiddenGradient<kPair>(byRow, rows, w + first * p.hiddenSize, packed, panel, panelEnd, dh, ahead);
      }
    }
  }

  // What follows the step that begins at `row`: the next step's rows of dweight, which are read and written back, and a share of the next
  // block's logits and weights.
  template <bool kPair, class W>
  Ahead afterStep(const W* w, int64_t row) const {
    Ahead ahead;
    const auto add = [&](const auto* matrix, int64_t dim, int64_t from) {
      if (from < p.vocab) ahead.add(matrix + from * dim, std::min(kStepRows, p.vocab - from) * dim * int64_t(sizeof *matrix));
    };
    if (z.teacher) add(b.q, z.lanes, row + kGradientBlock);
    if (p.kind != kForwardKL) add(b.s, z.lanes, row + kGradientBlock);
    if (z.kept) add(kept<kPair>(0), z.kept, row + kGradientBlock);
    if (p.dhidden) add(w, p.hiddenSize, row + kGradientBlock);
    if (p.dweight) add(p.dweight, p.hiddenSize, row + kStepRows);
    return ahead;
  }

  // dweight of rows [first, first + rows) from their dlogits.
  template <bool kPair>
  void addWeightGradient(const float* dl, int64_t first, int64_t rows, Ahead& ahead) const {
    const int64_t tokens = units<kPair>(z.passLanes), hs = p.hiddenSize;
    for (int64_t j = 0; j < z.columns; j += kAddColumns)
      forTileRows(rows, [&](int64_t r, auto count) {
        tileAdd<kPair, decltype(count)::value, true>(tokens, dl + r * tokens, tokens, 1, b.xo + j * tokens, p.dweight + (first + r) * hs + j, hs,
                                                     hs - j, ahead);
      });
  }

  // Panels of columns of dh from a block of `rows` rows of w and of their dlogits. A panel is packed when its turn comes: it stays in the
  // innermost cache for all tiles.
  template <bool kPair, class W>
  void addHiddenGradient(const float* dl, int64_t rows, const W* w, float* packed, int64_t panel, int64_t panelEnd, float* dh,
                         Ahead& ahead) const {
    for (int64_t j = panel * kAddColumns; j < panelEnd * kAddColumns; j += kAddColumns) {
      packRows<kPair>(packed, w + j, p.hiddenSize, rows, std::min<int64_t>(kAddColumns, p.hiddenSize - j));
      forTileRows(z.passLanes, [&](int64_t r, auto count) {
        tileAdd<kPair, decltype(count)::value, false>(units<kPair>(rows), dl + r, 1, z.passLanes, packed, dh + r * z.columns + j, z.columns,
                                                      kAddColumns, ahead);
      });
    }
  }

  template <bool kPair, class H, class W>
  void backward(int64_t n) {
    if (p.dweight) packColumns<kPair>(b.xo, static_cast<const H*>(p.hidden), p.hiddenSize, b.lane.row, n, z.passLanes);
    c.pool.parallel(z.slices, [&](int64_t slice, int thread) { gradientSlice<kPair, W>(slice, thread); });
    if (p.dhidden)
      for (int64_t i = 0; i < n; ++i) {
        H* out = static_cast<H*>(p.dhidden) + int64_t(b.lane.row[i]) * p.hiddenSize;
        for (int64_t j = 0; j < p.hiddenSize; j += kLanes) {
          vfloat sum = {};
          for (int64_t slice = 0; slice < z.slices; ++slice) sum += load(b.dh + (slice * z.passLanes + i) * z.columns + j);
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
    return forSide(p.hiddenDtype, p.weightDtype, p.hiddenSize, [&](auto pair, auto h, auto w) {
      if (z.from < z.kept) keep<pair>();
      else backward<pair, decltype(h), decltype(w)>(z.kept + n);
    });
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
                                       gradients ? kGradientBlock * (z.passLanes + kAddColumns) : 0)) * sizeof(float);
  bool fits = memory != nullptr;
  for (int thread = 0; thread < c.pool.threads(); ++thread) fits = c.workspace.local(thread, local) && fits;
  if (!fits) return Status::error(Code::outOfMemory, "distillHead: no memory for the logits of one chunk of tokens; free some, or use a smaller batch elsewhere");

  double total[4] = {};
  int64_t row = 0, left = valid;
  for (int64_t chunk = 0; left > 0; ++chunk) {
    const Sizes own = sizesOfChunk(z, chunk);
    Head head{p, c, own, Buffers(p, z, memory), float(1 / p.temperature), gradients, total};
    const Lane& lane = head.b.lane;
    const int64_t n = std::min(own.lanes, left);
    for (int64_t i = 0; i < n; ++row) {
      if (p.labels[row] == p.ignoreIndex) continue;
      lane.row[own.from + i] = int32_t(row);
      lane.label[i++] = p.labels[row];
    }
    std::fill_n(lane.label + n, own.lanes - n, -1);
    if (Status status = head.chunk(n); !status.ok()) return status;
    left -= n;
  }
  for (int k = 0; k < 4; ++k) p.parts[k] = float(total[k]);
  p.parts[4] = float(valid);
  *p.loss = float(p.scale * (p.lambdaSft * total[0] + p.lambdaKd * total[1]));
  return Status::fine();
}

}  // namespace lantern::LANTERN_ISA
