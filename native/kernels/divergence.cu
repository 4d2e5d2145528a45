// Forward: a block a row. One pass takes the statistics of both softmaxes, one the sums of the divergence; between the two the row stays in
// shared memory where it fits, else it is read again. Backward: one pass over packs, with what the forward kept of each row.
#include "common/rowSoftmax.cuh"
#include "divergence.h"
#include "divergenceShape.h"

namespace lantern::cuda {

static_assert(sizeof(RowConstants) == kDivergenceStats * sizeof(float));

// Packs of 16 bytes of the wider dtype.
template <class S, class T>
constexpr int kPackWidth = sizeof(S) == 2 && sizeof(T) == 2 ? 8 : 4;

LANTERN_DEVICE DivergenceScalars scalarsOf(const DivergenceTask& task) { return {task.invT, task.beta, task.logRest}; }

struct RowScratch {
  SoftmaxStats s[kSoftmaxWarps], t[kSoftmaxWarps];
  double h[kSoftmaxWarps], value[kSoftmaxWarps];
  RowConstants constants;
};

// The packs of a row, for both passes of the forward.
template <bool kResident, class S, class T>
struct RowReader {
  static constexpr int kWidth = kPackWidth<S, T>;
  using PackS = Pack<kWidth, S>;
  using PackT = Pack<kWidth, T>;
  const S* student;
  const T* teacher;
  RowPacks<kWidth> packs;
  PackS* keptS;  // in shared memory, if kResident
  PackT* keptT;

  // fn(first column, logits of the student, of the teacher)
  template <bool kAgain, class F>
  LANTERN_DEVICE void each(F&& fn) const {
    for (int pack = threadIdx.x; pack < packs.packs; pack += blockDim.x) {
      const int col = packs.column(pack);
      PackS s;
      PackT t;
      if constexpr (kResident && kAgain) {
        s = keptS[pack], t = keptT[pack];  // this thread's own: no barrier
      } else {
        s = packs.fetch(student, col), t = packs.fetch(teacher, col);
        if constexpr (kResident) keptS[pack] = s, keptT[pack] = t;
      }
      float x[kWidth], y[kWidth];
      packs.logits(s, col, x);
      packs.logits(t, col, y);
      fn(col, x, y);
    }
  }
};

template <int64_t kKind, class Reader>
LANTERN_DEVICE void sumRow(const Reader& reader, const RowPair& pair, double& h, double& value) {
  CompensatedSum sumH, sumValue;
  reader.template each<true>([&](int, const auto& x, const auto& y) {
    float packH = 0, packValue = 0;
#pragma unroll
    for (int i = 0; i < Reader::kWidth; ++i) {
      const Element e = divergenceElement<kKind>(pair, x[i], y[i]);
      packH += e.h;
      packValue += e.value;
    }
    sumH.add(packH);
    sumValue.add(packValue);
  });
  h = sumH.value(), value = sumValue.value();
}

template <bool kResident, class S, class T>
LANTERN_DEVICE void forward(const DivergenceParams& p, const DivergenceTask& task) {
  using Reader = RowReader<kResident, S, T>;
  extern __shared__ __align__(16) unsigned char memory[];
  __shared__ RowScratch scratch;
  const int64_t row = blockIdx.x;
  const RowPacks<Reader::kWidth> packs(row, p.vocab, task.wide);
  auto* keptS = reinterpret_cast<typename Reader::PackS*>(memory);
  const Reader reader{static_cast<const S*>(p.student) + row * p.vocab, static_cast<const T*>(p.teacher) + row * p.vocab, packs, keptS,
                      reinterpret_cast<typename Reader::PackT*>(keptS + packs.packs)};
  SoftmaxPart partS, partT;
  reader.template each<false>([&](int col, const auto& x, const auto& y) {
    partS.add(x, col, task.invT);
    partT.add(y, col, task.invT);
  });
  const SoftmaxStats s = blockStats(statsOf(partS), task.invT, scratch.s), t = blockStats(statsOf(partT), task.invT, scratch.t);
  if (threadIdx.x == 0) {
    const float given = toFloat(reader.teacher[s.top]), teacherAtTop = given < kLowest ? kLowest : given;
    const double logZS = s.logZ(), logZT = t.logZ();
    RowConstants& r = scratch.constants;
    r = {s.max, t.max, float(logZS), float(logZT), teacherAtTop, topRatio(teacherAtTop, t.max, logZS, logZT, p.temperature), 0, 0};
    forDivergence(p.kind, [&](auto kind) { r.gTop = gOf<kind()>(rowPair(r, kind(), scalarsOf(task)), r.refRatio); });
  }
  __syncthreads();
  const RowPair pair = rowPair(scratch.constants, p.kind, scalarsOf(task));
  double h = 0, value = 0;
  forDivergence(p.kind, [&](auto kind) { sumRow<kind()>(reader, pair, h, value); });
  h = blockReduce(h, Sum{}, scratch.h);
  value = blockReduce(value, Sum{}, scratch.value);
  if (threadIdx.x != 0) return;
  RowConstants r = scratch.constants;
  r.sumH = float(h);
  p.value[row] = float(p.factor * divergenceValue(p.kind, p.beta, double(r.gTop) - pair.shift, h, value));
  if (p.stats) reinterpret_cast<RowConstants*>(p.stats)[row] = r;
}

// blockIdx.x: rows, and parts of kGradientThreads * kGradientPacks packs in each.
template <int64_t kKind, class S, class T>
LANTERN_DEVICE void backward(const DivergenceBackwardParams& p, const DivergenceTask& task, int parts) {
  constexpr int kWidth = kPackWidth<S, T>;
  const int64_t row = blockIdx.x / unsigned(parts);
  const RowPacks<kWidth> packs(row, p.vocab, task.wide);
  const S* student = static_cast<const S*>(p.student) + row * p.vocab;
  const T* teacher = static_cast<const T*>(p.teacher) + row * p.vocab;
  S* dstudent = static_cast<S*>(p.dstudent) + row * p.vocab;
  const RowConstants r = reinterpret_cast<const RowConstants*>(p.stats)[row];
  const RowPair pair = rowPair(r, kKind, scalarsOf(task));
  const float scale = float(p.dvalue[row] * task.factor), c = gScale(kKind, task.beta);
  const int first = int(blockIdx.x % unsigned(parts)) * kGradientThreads * kGradientPacks;
#pragma unroll 1
  for (int k = 0; k < kGradientPacks; ++k) {
    const int pack = first + k * kGradientThreads + int(threadIdx.x), col = packs.column(pack);
    if (pack >= packs.packs) return;
    float x[kWidth], y[kWidth];
    packs.logits(packs.fetch(student, col), col, x);
    packs.logits(packs.fetch(teacher, col), col, y);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      const Element e = divergenceElement<kKind>(pair, x[i], y[i]);
      x[i] = scale * (c * (e.h - e.ps * r.sumH) + e.direct);
    }
    packs.store(dstudent, col, x);
  }
}

}  // namespace lantern::cuda

using namespace lantern;
using namespace lantern::cuda;

#define LANTERN_DIVERGENCE(suffix, S, T)                                                                                      \
  extern "C" __global__ void __launch_bounds__(kDivergenceThreads, 2)                                                            \
      divergence_resident##suffix(const __grid_constant__ DivergenceParams p, const __grid_constant__ DivergenceTask task) {  \
    forward<true, S, T>(p, task);                                                                                             \
  }                                                                                                                           \
  extern "C" __global__ void __launch_bounds__(kDivergenceThreads, 2)                                                            \
      divergence_streamed##suffix(const __grid_constant__ DivergenceParams p, const __grid_constant__ DivergenceTask task) {  \
    forward<false, S, T>(p, task);                                                                                            \
  }                                                                                                                           \
  extern "C" __global__ void __launch_bounds__(kGradientThreads) divergence_backward##suffix(                                 \
      const __grid_constant__ DivergenceBackwardParams p, const __grid_constant__ DivergenceTask task, int parts) {           \
    forDivergence(p.kind, [&](auto kind) { backward<kind(), S, T>(p, task, parts); });                                        \
  }

LANTERN_DIVERGENCE(F32F32, float, float)
LANTERN_DIVERGENCE(F32Bf16, float, bf16)
LANTERN_DIVERGENCE(Bf16F32, bf16, float)
LANTERN_DIVERGENCE(Bf16Bf16, bf16, bf16)
