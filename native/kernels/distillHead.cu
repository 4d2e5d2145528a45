// The distillation head's row-wise kernels: which tokens count, their hidden states side by side, and for each row of logits the loss and
// dlogits. distillHeadShape.h says how they go together.
#include "common/scan.cuh"
#include "distillHeadStats.cuh"

namespace lantern::cuda {

LANTERN_DEVICE bool hasLabel(const DistillHeadParams& p, int64_t token) {
  const int64_t label = p.labels[token];
  return label != p.ignoreIndex && label >= 0 && label < p.vocab;
}

// One block: positions of the tokens with a label, in order.
LANTERN_DEVICE void select(const HeadTask& t, Fault* fault) {
  __shared__ int scratch[kSelectThreads / kWarp];
  const DistillHeadParams& p = t.p;
  int found = 0;
  for (int64_t begin = 0; begin < p.tokens; begin += kSelectThreads) {
    const int64_t token = begin + threadIdx.x;
    const bool counts = token < p.tokens && hasLabel(p, token);
    if (token < p.tokens && !counts && p.labels[token] != p.ignoreIndex)
      report(fault, FaultKind::tokenLabel, "distillHead", p.labels[token], token, p.vocab);
    const Prefix<int> at = blockPrefix(int(counts), scratch);
    if (counts) t.rows[found + at.before] = int32_t(token);
    found += at.all;
    __syncthreads();
  }
  if (threadIdx.x == 0) *t.count = found;
}

// A block a token: zeros where there is no label.
template <class H>
LANTERN_DEVICE void clearToken(const DistillHeadParams& p) {
  const int64_t token = blockIdx.x;
  if (hasLabel(p, token)) return;
  if (p.tokenLoss && threadIdx.x == 0) p.tokenLoss[token] = 0;
  if (!p.dhidden) return;
  H* row = static_cast<H*>(p.dhidden) + token * p.hiddenSize;
  for (int64_t i = threadIdx.x; i < p.hiddenSize; i += kMoveThreads) row[i] = fromFloat<H>(0.f);
}

template <class H, class X>
LANTERN_DEVICE void gatherRow(const HeadTask& t, int first, const void* hidden, int64_t size, void* x) {
  if (int(blockIdx.x) >= chunkCount(t, first)) return;
  const H* from = static_cast<const H*>(hidden) + t.rows[first + blockIdx.x] * size;
  X* to = static_cast<X*>(x) + blockIdx.x * size;
  for (int64_t i = threadIdx.x; i < size; i += kMoveThreads) to[i] = fromFloat<X>(toFloat(from[i]));
}

template <class H>
LANTERN_DEVICE void scatterRow(const HeadTask& t, int first) {
  if (int(blockIdx.x) >= chunkCount(t, first)) return;
  const int64_t size = t.p.hiddenSize;
  const float* from = t.partial + blockIdx.x * size;
  H* to = static_cast<H*>(t.p.dhidden) + t.rows[first + blockIdx.x] * size;
  for (int64_t i = threadIdx.x; i < size; i += kMoveThreads) {
    float sum = 0;
    for (int slice = 0; slice < t.slices; ++slice) sum += from[slice * t.chunkRows * size + i];
    to[i] = fromFloat<H>(sum);
  }
}

struct RowScratch {
  SoftmaxStats stats[kHeadSoftmaxes][kSoftmaxWarps];
  int tops[2][kSoftmaxWarps];
  double sums[3][kSoftmaxWarps];
  RowConstants constants;
  float maxCe, logZCe, labelTerm;
  double crossEntropy;
};
struct Min {
  LANTERN_DEVICE int operator()(int a, int b) const { return min(a, b); }
};

// Statistics of a row from those of its tiles; top is the tile.
LANTERN_DEVICE SoftmaxStats rowStats(const TileStat* tiles, int count, float invT, SoftmaxStats* scratch) {
  SoftmaxStats s{2 * kLowest, count, -1};
  for (int i = threadIdx.x; i < count; i += kHeadThreads) s = merge(s, {tiles[i].max, i, double(tiles[i].rest)}, invT);
  return blockStats(s, invT, scratch);
}
// The first column of a tile that holds its maximum.
LANTERN_DEVICE int topColumn(const float* logits, const SoftmaxStats& s, int columns, int* scratch) {
  const int begin = s.top * kTileCols, col = begin + int(threadIdx.x);
  const bool here = threadIdx.x < kTileCols && col < columns && floored(logits[col], true) == s.max;
  const int top = blockReduce(here ? col : columns, Min{}, scratch);
  return top < columns ? top : begin;  // none where all is NaN
}

struct HeadRow {
  const HeadTask& task;
  float* s;  // this row's logits, and then dlogits
  const float* t;
  int label;
  bool half;  // whether dlogits are bfloat16
  RowScratch& scratch;

  // Softmaxes, cross entropy and what the divergence is taken relative to; whether the most probable classes agree.
  LANTERN_DEVICE bool prepare(int local) const {
    const DistillHeadParams& p = task.p;
    const auto stats = [&](int which, float invT) {
      return rowStats(task.stats[which] + int64_t(local) * task.tiles, task.tiles, invT, scratch.stats[which]);
    };
    const SoftmaxStats student = stats(kStudent, task.teacher ? task.scalars.invT : 1.f);
    const SoftmaxStats labels = task.split ? stats(kLabels, 1.f) : student;
    SoftmaxStats teacher{};
    int topS = 0, topT = 0;
    if (task.teacher) {
      teacher = stats(kTeacher, task.scalars.invT);
      topS = topColumn(s, student, task.studentColumns, scratch.tops[0]);
      topT = topColumn(t, teacher, task.teacherColumns, scratch.tops[1]);
    }
    if (threadIdx.x == 0) {
      const double logZCe = labels.logZ(), ce = logZCe - (double(floored(s[label], true)) - double(labels.max));
      scratch.maxCe = labels.max, scratch.logZCe = float(logZCe), scratch.labelTerm = float(std::expm1(-ce)), scratch.crossEntropy = ce;
      if (task.teacher) {
        const double logZS = student.logZ(), logZT = teacher.logZ();
        const float teacherAtTop = topS < task.teacherColumns ? floored(t[topS], true) : kLowest;
        RowConstants& r = scratch.constants;
        r = {student.max, teacher.max, float(logZS), float(logZT), teacherAtTop,
             topRatio(teacherAtTop, teacher.max, logZS, logZT, p.temperature), 0, 0};
        forDivergence(p.kind, [&](auto kind) { r.gTop = gOf<kind()>(rowPair(r, kind(), task.scalars), r.refRatio); });
      }
    }
    __syncthreads();
    return topS == topT;
  }

  // One pass over the row. kSum: the divergence's sums (h, value, entropy). kWrite: dlogits, with sumH from such a pass before; bfloat16
  // overwrites logits that the block has read by then.
  template <int64_t kKind, bool kSum, bool kWrite>
  LANTERN_DEVICE void pass(CompensatedSum (&sums)[3]) const {
    const DistillHeadParams& p = task.p;
    RowPair pair{};
    if constexpr (kKind != kNone) pair = rowPair(scratch.constants, kKind, task.scalars);
    const float sumH = scratch.constants.sumH, factor = gScale(kKind, task.scalars.beta), maxCe = scratch.maxCe, logZCe = scratch.logZCe;
    const float ce = float(p.scale * p.lambdaSft), kd = float(p.scale * p.lambdaKd) * task.scalars.invT;
    const int kdColumns = int(p.kdVocab), vocab = int(p.vocab), columns = kSum ? max(kdColumns, kWrite ? vocab : 0) : vocab;
#pragma unroll 1
    for (int begin = 0; begin < columns; begin += kHeadThreads * 4) {
      const int col = begin + int(threadIdx.x) * 4;
      const bool inside = col < columns;
      float x[4] = {}, y[4] = {}, packs[3] = {};
      if (inside) {
        loadPack(s + col, x);
        if constexpr (kKind != kNone) loadPack(t + col, y);
      }
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float v = floored(x[i], col + i < vocab);
        Element e{};
        if constexpr (kKind != kNone) {
          if (inside && col + i < kdColumns) {
            const float given = col + i < vocab ? v : kLowest;
            e = divergenceElement<kKind>(pair, given, col + i < task.teacherColumns ? floored(y[i], true) : kLowest);
            if constexpr (kSum) packs[0] += e.h, packs[1] += e.value, packs[2] -= e.pt * e.lt;
          }
        }
        if constexpr (kWrite) {
          const float probability = kKind != kNone && !task.split ? e.ps : expNegative((v - maxCe) - logZCe);
          const float ofLabel = col + i == label ? scratch.labelTerm : probability;
          const float d = ce * ofLabel + kd * (factor * (e.h - e.ps * sumH) + e.direct);
          x[i] = col + i < vocab ? d : 0.f;
        }
      }
      if constexpr (kSum)
#pragma unroll
        for (int k = 0; k < 3; ++k) sums[k].add(packs[k]);
      if constexpr (kWrite) {
        if (half) __syncthreads();
        if (inside && col < vocab) half ? storePack(reinterpret_cast<bf16*>(s) + col, x) : storePack(s + col, x);
      }
    }
  }

  template <int64_t kKind>
  LANTERN_DEVICE void run(bool gradients, double (&total)[3]) const {
    CompensatedSum sums[3];
    const auto reduce = [&] {
      for (int k = 0; k < 3; ++k) total[k] = blockReduce(sums[k].value(), Sum{}, scratch.sums[k]);
    };
    if constexpr (kKind == kNone) {
      if (gradients) pass<kNone, false, true>(sums);
    } else if constexpr (kKind == kForwardKL) {  // its gradient needs no sum
      if (gradients) pass<kKind, true, true>(sums);
      else pass<kKind, true, false>(sums);
      reduce();
    } else {
      pass<kKind, true, false>(sums);
      reduce();
      if (!gradients) return;
      if (threadIdx.x == 0) scratch.constants.sumH = float(total[0]);
      __syncthreads();
      pass<kKind, false, true>(sums);
    }
  }
};

LANTERN_DEVICE void headRow(const HeadTask& t, int first, bool half, RowScratch& scratch) {
  const int local = blockIdx.x;
  if (local >= chunkCount(t, first)) return;
  const DistillHeadParams& p = t.p;
  const int64_t token = t.rows[first + local];
  const HeadRow row{t, t.s + local * t.ld, t.teacher ? t.t + local * t.ld : nullptr, p.labels[token], half, scratch};
  if (threadIdx.x == 0) scratch.constants.sumH = 0;
  const bool agrees = row.prepare(local), gradients = p.dhidden || p.dweight;
  double total[3] = {};
  if (t.teacher) forDivergence(p.kind, [&](auto kind) { row.run<kind()>(gradients, total); });
  else row.run<kNone>(gradients, total);
  if (threadIdx.x != 0) return;
  HeadResult result{scratch.crossEntropy, 0, total[2], double(t.teacher && agrees)};
  if (t.teacher) {
    const RowConstants& r = scratch.constants;
    const float shift = mixtureShift(p.kind, r.refRatio, t.scalars.logRest);
    result.divergence = divergenceValue(p.kind, p.beta, double(r.gTop) - shift, total[0], total[1]);
  }
  t.results[first + local] = result;
  if (p.tokenLoss) p.tokenLoss[token] = float(p.lambdaSft * result.crossEntropy + p.lambdaKd * result.divergence);
}

LANTERN_DEVICE void total(const HeadTask& t) {
  __shared__ double scratch[4][kHeadTotalThreads / kWarp];
  const int count = *t.count;
  double sums[4] = {};
  for (int i = threadIdx.x; i < count; i += kHeadTotalThreads) {
    const HeadResult r = t.results[i];
    sums[0] += r.crossEntropy, sums[1] += r.divergence, sums[2] += r.entropy, sums[3] += r.agreement;
  }
  for (int k = 0; k < 4; ++k) sums[k] = blockReduce(sums[k], Sum{}, scratch[k]);
  if (threadIdx.x != 0) return;
  for (int k = 0; k < 4; ++k) t.p.parts[k] = float(sums[k]);
  t.p.parts[4] = float(count);
  *t.p.loss = float(t.p.scale * (t.p.lambdaSft * sums[0] + t.p.lambdaKd * sums[1]));
}

}  // namespace lantern::cuda

using namespace lantern;
using namespace lantern::cuda;

extern "C" __global__ void __launch_bounds__(kSelectThreads) distillHead_select(const __grid_constant__ HeadTask t, Fault* fault) {
  select(t, fault);
}
extern "C" __global__ void __launch_bounds__(kHeadThreads, 2) distillHead_rows(const __grid_constant__ HeadTask t, int first, bool half) {
  __shared__ RowScratch scratch;
  headRow(t, first, half, scratch);
}
extern "C" __global__ void __launch_bounds__(kHeadTotalThreads) distillHead_total(const __grid_constant__ HeadTask t) { total(t); }

#define LANTERN_HEAD_HIDDEN(suffix, H)                                                                                            \
  extern "C" __global__ void __launch_bounds__(kMoveThreads) distillHead_clear##suffix(const __grid_constant__ HeadTask t) {      \
    clearToken<H>(t.p);                                                                                                           \
  }                                                                                                                               \
  extern "C" __global__ void __launch_bounds__(kMoveThreads) distillHead_scatter##suffix(const __grid_constant__ HeadTask t, int first) { \
    scatterRow<H>(t, first);                                                                                                      \
  }
LANTERN_HEAD_HIDDEN(F32, float)
LANTERN_HEAD_HIDDEN(Bf16, bf16)

#define LANTERN_HEAD_GATHER(suffix, H, X)                                                                                         \
  extern "C" __global__ void __launch_bounds__(kMoveThreads) distillHead_gather##suffix(const __grid_constant__ HeadTask t, int first,    \
                                                                                        const void* hidden, int64_t size, void* x) {     \
    gatherRow<H, X>(t, first, hidden, size, x);                                                                                   \
  }
LANTERN_HEAD_GATHER(F32F32, float, float)
LANTERN_HEAD_GATHER(Bf16F32, bf16, float)
LANTERN_HEAD_GATHER(Bf16Bf16, bf16, bf16)
