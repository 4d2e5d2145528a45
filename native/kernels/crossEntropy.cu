// A block a row: one pass takes the softmax's statistics, and with targets their mass; the second writes the gradient and, with targets, sums
// the loss. What the rows contribute waits in workspace and is added in order by crossEntropy_total.
#include "common/rowSoftmax.cuh"
#include "crossEntropy.h"
#include "crossEntropyShape.h"

namespace lantern::cuda {

template <class T, class Q>
constexpr int kPackWidth = sizeof(T) == 2 && sizeof(Q) == 2 ? 8 : 4;

struct RowScratch {
  SoftmaxStats stats[kSoftmaxWarps];
  double sums[2][kSoftmaxWarps];
  float bestValue[kSoftmaxWarps];
  int bestAt[kSoftmaxWarps];
};

// The columns of a row that belong to this thread: fn(first column).
template <int kWidth, class F>
LANTERN_DEVICE void eachPack(const RowPacks<kWidth>& packs, F&& fn) {
  for (int pack = threadIdx.x; pack < packs.packs; pack += blockDim.x) fn(packs.column(pack));
}

template <int kWidth, class T>
LANTERN_DEVICE SoftmaxStats softmaxOf(const RowPacks<kWidth>& packs, const T* x, RowScratch& scratch) {
  SoftmaxPart part;
  eachPack(packs, [&](int col) {
    float v[kWidth];
    packs.logits(packs.fetch(x, col), col, v);
    part.add(v, col, 1.f);
  });
  return blockStats(statsOf(part), 1.f, scratch.stats);
}

template <class T>
LANTERN_DEVICE CrossEntropyRow labelRow(const CrossEntropyParams& p, Fault* fault, bool wide, RowScratch& scratch) {
  constexpr int kWidth = kPackWidth<T, T>;
  const int64_t row = blockIdx.x, label = p.labels[row];
  const RowPacks<kWidth> packs(row, p.classes, wide);
  const T* x = static_cast<const T*>(p.logits) + row * p.classes;
  T* d = p.dlogits ? static_cast<T*>(p.dlogits) + row * p.classes : nullptr;
  const bool outside = label < 0 || label >= p.classes;
  if (label == p.ignoreIndex || outside) {
    if (label != p.ignoreIndex && threadIdx.x == 0) report(fault, FaultKind::rowLabel, "crossEntropy", label, row, p.classes);
    const float zeros[kWidth] = {};
    if (d) eachPack(packs, [&](int col) { packs.store(d, col, zeros); });
    return {};
  }
  const float given = toFloat(x[label]);  // before dlogits, which may be the logits
  const SoftmaxStats s = softmaxOf(packs, x, scratch);
  const double exactLogZ = s.logZ(), weight = p.classWeights ? p.classWeights[label] : 1;
  const double value = exactLogZ - (double(given < kLowest ? kLowest : given) - double(s.max));
  if (d) {
    const float scale = float(p.scale * weight), logZ = float(exactLogZ), atLabel = float(p.scale * weight * std::expm1(-value));
    eachPack(packs, [&](int col) {
      float v[kWidth];
      packs.logits(packs.fetch(x, col), col, v);
#pragma unroll
      for (int i = 0; i < kWidth; ++i) v[i] = col + i == int(label) ? atLabel : scale * expNegative((v[i] - s.max) - logZ);
      packs.store(d, col, v);
    });
  }
  return {weight * value, s.top == int(label), 1};
}

// Where the first of the largest values is, over all threads of the block.
LANTERN_DEVICE int blockFirstLargest(float max, int top, RowScratch& scratch) {
  const auto keep = [&](float otherMax, int otherTop) {
    if (otherMax > max || (otherMax == max && otherTop < top)) max = otherMax, top = otherTop;
  };
#pragma unroll
  for (int step = kWarp / 2; step > 0; step /= 2) {
    const float otherMax = __shfl_xor_sync(kAllLanes, max, step);
    const int otherTop = __shfl_xor_sync(kAllLanes, top, step);
    keep(otherMax, otherTop);
  }
  if (threadIdx.x % kWarp == 0) scratch.bestValue[threadIdx.x / kWarp] = max, scratch.bestAt[threadIdx.x / kWarp] = top;
  __syncthreads();
  for (int w = 0; w < int(blockDim.x) / kWarp; ++w) keep(scratch.bestValue[w], scratch.bestAt[w]);
  return top;
}

template <class T, class Q>
LANTERN_DEVICE CrossEntropyRow targetRow(const CrossEntropyParams& p, bool wide, RowScratch& scratch) {
  constexpr int kWidth = kPackWidth<T, Q>;
  const int64_t row = blockIdx.x;
  const RowPacks<kWidth> packs(row, p.classes, wide);
  const T* x = static_cast<const T*>(p.logits) + row * p.classes;
  const Q* q = static_cast<const Q*>(p.targets) + row * p.classes;
  T* d = p.dlogits ? static_cast<T*>(p.dlogits) + row * p.classes : nullptr;
  const auto weightOf = [&](int col) { return p.classWeights ? p.classWeights[col] : 1.f; };
  double mass = 0, value = 0;
  float best = -1;
  int bestAt = int(p.classes);
  SoftmaxPart part;
  eachPack(packs, [&](int col) {
    float v[kWidth];
    packs.logits(packs.fetch(x, col), col, v);
    part.add(v, col, 1.f);
    const Pack<kWidth, Q> target = packs.fetch(q, col);
#pragma unroll
    for (int i = 0; i < kWidth; ++i)
      if (packs.holds(col + i)) {
        const float t = toFloat(target.x[i]);
        mass += double(t) * double(weightOf(col + i));
        if (t > best) best = t, bestAt = col + i;
      }
  });
  const SoftmaxStats s = blockStats(statsOf(part), 1.f, scratch.stats);
  mass = blockReduce(mass, Sum{}, scratch.sums[0]);
  bestAt = blockFirstLargest(best, bestAt, scratch);
  const double exactLogZ = s.logZ();
  const float scale = float(p.scale), total = float(mass), logZ = float(exactLogZ);
  eachPack(packs, [&](int col) {
    float v[kWidth];
    packs.logits(packs.fetch(x, col), col, v);
    const Pack<kWidth, Q> target = packs.fetch(q, col);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      if (!packs.holds(col + i)) continue;
      const double t = toFloat(target.x[i]), weighted = t * double(weightOf(col + i));
      if (t > 0) value += weighted * (std::log(t) - ((double(v[i]) - double(s.max)) - exactLogZ));
      v[i] = scale * (total * expNegative((v[i] - s.max) - logZ) - weightOf(col + i) * toFloat(target.x[i]));
    }
    if (d) packs.store(d, col, v);
  });
  return {blockReduce(value, Sum{}, scratch.sums[1]), s.top == bestAt, 1};
}

// In one access: field by field, a warp would touch every sector twice.
LANTERN_DEVICE CrossEntropyRow loadRow(const CrossEntropyRow* row) {
  static_assert(sizeof(CrossEntropyRow) == sizeof(int4));
  const int4 bits = *reinterpret_cast<const int4*>(row);
  return {__hiloint2double(bits.y, bits.x), bits.z, bits.w};
}

}  // namespace lantern::cuda

using namespace lantern;
using namespace lantern::cuda;

#define LANTERN_CROSS_ENTROPY_LABELS(suffix, T)                                                                            \
  extern "C" __global__ void __launch_bounds__(kCrossEntropyThreads, 2) crossEntropy_labels##suffix(                          \
      const __grid_constant__ CrossEntropyParams p, Fault* fault, int wide, CrossEntropyRow* rows) {                       \
    __shared__ RowScratch scratch;                                                                                         \
    const CrossEntropyRow row = labelRow<T>(p, fault, wide, scratch);                                                      \
    if (threadIdx.x == 0) rows[blockIdx.x] = row;                                                                          \
  }
#define LANTERN_CROSS_ENTROPY_TARGETS(suffix, T, Q)                                                                        \
  extern "C" __global__ void __launch_bounds__(kCrossEntropyThreads, 2)                                                       \
      crossEntropy_targets##suffix(const __grid_constant__ CrossEntropyParams p, int wide, CrossEntropyRow* rows) {        \
    __shared__ RowScratch scratch;                                                                                         \
    const CrossEntropyRow row = targetRow<T, Q>(p, wide, scratch);                                                         \
    if (threadIdx.x == 0) rows[blockIdx.x] = row;                                                                          \
  }

LANTERN_CROSS_ENTROPY_LABELS(F32, float)
LANTERN_CROSS_ENTROPY_LABELS(Bf16, bf16)
LANTERN_CROSS_ENTROPY_TARGETS(F32F32, float, float)
LANTERN_CROSS_ENTROPY_TARGETS(F32Bf16, float, bf16)
LANTERN_CROSS_ENTROPY_TARGETS(Bf16F32, bf16, float)
LANTERN_CROSS_ENTROPY_TARGETS(Bf16Bf16, bf16, bf16)

extern "C" __global__ void __launch_bounds__(kCrossEntropyTotalThreads)
    crossEntropy_total(const __grid_constant__ CrossEntropyParams p, const CrossEntropyRow* rows) {
  __shared__ double loss[kCrossEntropyTotalThreads / kWarp];
  __shared__ int64_t counts[2][kCrossEntropyTotalThreads / kWarp];
  double total = 0;
  int64_t correct = 0, valid = 0;
  for (int64_t i = threadIdx.x; i < p.rows; i += kCrossEntropyTotalThreads) {
    const CrossEntropyRow row = loadRow(rows + i);
    total += row.loss, correct += row.correct, valid += row.counts;
  }
  total = blockReduce(total, Sum{}, loss);
  correct = blockReduce(correct, Sum{}, counts[0]);
  valid = blockReduce(valid, Sum{}, counts[1]);
  if (threadIdx.x != 0) return;
  p.parts[0] = float(total), p.parts[1] = float(correct), p.parts[2] = float(valid);
  *p.loss = float(p.scale * total);
}
