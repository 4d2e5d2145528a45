// Forward: a block a row. One pass takes the statistics of both softmaxes, one the sums of the divergence; between the two the row stays in
// shared memory where it fits, else it is read again. Backward: one pass over packs, with what the forward kept of each row.
#include "common/packs.cuh"
#include "common/rowSoftmax.cuh"
#include "divergence.h"
#include "divergenceShape.h"

namespace lantern::cuda {

static_assert(sizeof(RowConstants) == kDivergenceStats * sizeof(float));

// A row of logits in packs of 16 bytes. T is bf16, or float for a row of either dtype, whose packs have four columns.
template <class T>
struct Row {
  static constexpr int kWidth = 16 / sizeof(T);
  using Logits = Pack<kWidth, T>;
  const void* base;
  int64_t dtype, first;  // first: element of `base`
  RowPacks<kWidth> packs;

  LANTERN_DEVICE Row(const void* base, int64_t dtype, int64_t row, int64_t columns, bool wide)
      : base(base), dtype(dtype), first(row * columns), packs(row, columns, wide) {}
  LANTERN_DEVICE Logits fetch(int col) const {
    if constexpr (sizeof(T) == 4)
      if (dtype == kFloat32) return packs.fetch(static_cast<const float*>(base) + first, col);
    return convert<T>(packs.fetch(static_cast<const bf16*>(base) + first, col));
  }
  LANTERN_DEVICE float at(int col) const {
    return dtype == kFloat32 ? static_cast<const float*>(base)[first + col] : toFloat(static_cast<const bf16*>(base)[first + col]);
  }
  LANTERN_DEVICE void store(int col, const float (&x)[kWidth]) const {
    void* to = const_cast<void*>(base);
    if constexpr (sizeof(T) == 4)
      if (dtype == kFloat32) return packs.store(static_cast<float*>(to) + first, col, x);
    packs.store(static_cast<bf16*>(to) + first, col, x);
  }
};

LANTERN_DEVICE DivergenceScalars scalarsOf(const DivergenceTask& task) { return {task.invT, task.beta, task.logRest}; }

struct RowScratch {
  SoftmaxStats s[kSoftmaxWarps], t[kSoftmaxWarps];
  double h[kSoftmaxWarps], value[kSoftmaxWarps];
  RowConstants constants;
};

// A row of both models, for both passes of the forward.
template <class T>
struct RowReader {
  static constexpr int kWidth = Row<T>::kWidth;
  using Logits = typename Row<T>::Logits;
  Row<T> student, teacher;
  Logits *keptS, *keptT;  // in shared memory, or null

  // fn(first column, logits of the student, of the teacher)
  template <bool kAgain, class F>
  LANTERN_DEVICE void each(F&& fn) const {
    for (int pack = threadIdx.x; pack < student.packs.packs; pack += blockDim.x) {
      const int col = student.packs.column(pack);
      Logits s, t;
      if (kAgain && keptS) {
        s = keptS[pack], t = keptT[pack];  // this thread's own: no barrier
      } else {
        s = student.fetch(col), t = teacher.fetch(col);
        if (!kAgain && keptS) keptS[pack] = s, keptT[pack] = t;
      }
      float x[kWidth], y[kWidth];
      student.packs.logits(s, col, x);
      student.packs.logits(t, col, y);
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

template <class T>
LANTERN_DEVICE void forward(const DivergenceParams& p, const DivergenceTask& task, bool resident) {
  extern __shared__ __align__(16) unsigned char memory[];
  __shared__ RowScratch scratch;
  const int64_t row = blockIdx.x;
  const Row<T> student(p.student, p.studentDtype, row, p.vocab, task.wide), teacher(p.teacher, p.teacherDtype, row, p.vocab, task.wide);
  auto* kept = resident ? reinterpret_cast<typename Row<T>::Logits*>(memory) : nullptr;
  const RowReader<T> reader{student, teacher, kept, resident ? kept + student.packs.packs : nullptr};
  SoftmaxPart partS, partT;
  reader.template each<false>([&](int col, const auto& x, const auto& y) {
    partS.add(x, col, task.invT);
    partT.add(y, col, task.invT);
  });
  const SoftmaxStats s = blockStats(statsOf(partS), task.invT, scratch.s), t = blockStats(statsOf(partT), task.invT, scratch.t);
  if (threadIdx.x == 0) {
    const float given = teacher.at(s.top), teacherAtTop = given < kLowest ? kLowest : given;
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
template <int64_t kKind, class T>
LANTERN_DEVICE void backward(const DivergenceBackwardParams& p, const DivergenceTask& task, int parts) {
  constexpr int kWidth = Row<T>::kWidth;
  const int64_t row = blockIdx.x / unsigned(parts);
  const Row<T> student(p.student, p.studentDtype, row, p.vocab, task.wide), teacher(p.teacher, p.teacherDtype, row, p.vocab, task.wide);
  const Row<T> dstudent(p.dstudent, p.studentDtype, row, p.vocab, task.wide);
  const RowPacks<kWidth>& packs = student.packs;
  const RowConstants r = reinterpret_cast<const RowConstants*>(p.stats)[row];
  const RowPair pair = rowPair(r, kKind, scalarsOf(task));
  const float scale = float(p.dvalue[row] * task.factor), c = gScale(kKind, task.beta);
  const int first = int(blockIdx.x % unsigned(parts)) * kGradientThreads * kGradientPacks;
#pragma unroll 1
  for (int k = 0; k < kGradientPacks; ++k) {
    const int pack = first + k * kGradientThreads + int(threadIdx.x), col = packs.column(pack);
    if (pack >= packs.packs) return;
    float x[kWidth], y[kWidth];
    packs.logits(student.fetch(col), col, x);
    packs.logits(teacher.fetch(col), col, y);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      const Element e = divergenceElement<kKind>(pair, x[i], y[i]);
      x[i] = scale * (c * (e.h - e.ps * r.sumH) + e.direct);
    }
    dstudent.store(col, x);
  }
}

}  // namespace lantern::cuda

using namespace lantern;
using namespace lantern::cuda;

#define LANTERN_DIVERGENCE(suffix, T)                                                                                                       \
  extern "C" __global__ void __launch_bounds__(kDivergenceThreads, 2) divergence_forward##suffix(                                           \
      const __grid_constant__ DivergenceParams p, const __grid_constant__ DivergenceTask task, bool resident) {                             \
    forward<T>(p, task, resident);                                                                                                          \
  }                                                                                                                                         \
  extern "C" __global__ void __launch_bounds__(kGradientThreads, kGradientBlocks) divergence_backward##suffix(                              \
      const __grid_constant__ DivergenceBackwardParams p, const __grid_constant__ DivergenceTask task, int parts) {                         \
    forDivergence(p.kind, [&](auto kind) { backward<kind(), T>(p, task, parts); });                                                         \
  }

LANTERN_DIVERGENCE(Bf16, bf16)
LANTERN_DIVERGENCE(Any, float)
