// Three launches: previous ids become bits; warps reduce slices of the rows; a block a row picks the id. Only what top-k and top-p may keep
// is looked at again.
#include "common/philox.h"
#include "samplingSelect.cuh"

namespace lantern::cuda {

LANTERN_DEVICE void reduceSlice(const SamplingParams& p, const SamplingScratch& scratch) {
  const int64_t index = int64_t(blockIdx.x) * (kSliceThreads / kWarp) + threadIdx.x / kWarp, row = index / scratch.slices;
  if (row >= p.rows) return;
  const RowSettings settings(p, row);
  const auto v = LogitsRow(p, scratch, row, settings.penalty).packs<kSlicePacks>(index % scratch.slices, 0);
  float top = kMinusInfinity, rawTop = kMinusInfinity;
  bool bad = false;
#pragma unroll
  for (int k = 0; k < kSlicePacks; ++k)
    for (int i = 0; i < kPackWidth; ++i) {
      bad |= !(v.raw[k][i] < INFINITY);
      top = fmaxf(top, v.z[k][i]);
      rawTop = fmaxf(rawTop, v.raw[k][i]);
    }
  top = warpReduce(top, Max{}), rawTop = warpReduce(rawTop, Max{});
  const auto sumExp = [&](const auto& x, float shift, float scale) {
    const float finite = fmaxf(shift, -FLT_MAX);
    float sum = 0;
#pragma unroll
    for (const auto& pack : x)
      for (const float value : pack) sum += expf((value - finite) * scale);
    return warpReduce(sum, Sum{});
  };
  const float sum = settings.greedy ? 0.f : sumExp(v.z, top, 1 / settings.temperature);
  const float rawSum = p.logProbs ? sumExp(v.raw, rawTop, 1.f) : 0.f;
  bad = __any_sync(kAllLanes, bad);
  if (threadIdx.x % kWarp == 0) scratch.stats[index] = {top, sum, bad ? NAN : rawTop, rawSum};
}

// The picking of one row by a block.
struct Picker {
  const SamplingParams& p;
  const RowSettings& settings;
  const LogitsRow& row;
  const SliceStats* stats;
  int64_t slices;
  CandidateList& list;
  float top, scale;
  const int32_t* draw;
  double total = 0;  // of weight(z) over the row

  // In [0, 1).
  LANTERN_DEVICE double uniform() const {
    return philoxUniform(uint32_t(draw[1]), uint32_t(draw[2]), {{uint32_t(draw[4]), uint32_t(draw[3]), 0, 0}});
  }

  LANTERN_DEVICE double weight(float z) const { return double(expf((z - top) * scale)); }
  LANTERN_DEVICE double sliceWeight(int64_t s) const { return weight(stats[s].top) * double(stats[s].sum); }

  // The first column of a slice up to which weight(z) adds up to more than `left`.
  template <class W>
  LANTERN_DEVICE int32_t findInSlice(int64_t s, double left, W&& weight) const {
    const int64_t begin = max(row.start(s), int64_t(0)), end = min(row.start(s + 1), row.limit);
    return int32_t(begin) + findFirst(end - begin, left, [&](int64_t i) { return weight(row.z(begin + i)); });
  }

  LANTERN_DEVICE int32_t best() const {
    const int32_t slice = findFirst(slices, 0, [&](int64_t s) { return double(stats[s].top == top); });
    return findInSlice(slice, 0, [&](float z) { return double(z == top); });
  }

  LANTERN_DEVICE int32_t drawFromAll() const {
    const double u = uniform();
    const int32_t slice = findFirst(slices, u * total, [&](int64_t s) { return sliceWeight(s); });
    double before = 0;
    for (int64_t s = threadIdx.x; s < slice; s += kPickThreads) before += sliceWeight(s);
    return findInSlice(slice, u * total - reduceAll(before, Sum{}), [&](float z) { return weight(z); });
  }

  // Candidates are the columns within a margin of the best, widened until they hold what is wanted: topK columns, or the mass of topP.
  LANTERN_DEVICE int32_t drawTruncated() const {
    const bool byCount = settings.topK > 0 && settings.topK < p.limit;
    int64_t found;
    double mass;
    for (float margin = 4;; margin *= 2) {
      const bool all = margin > 128;
      found = collect(row, stats, slices, all ? kMinusInfinity : top - margin * (byCount ? 1.f : settings.temperature), list,
                      [&](float z) { return weight(z); }, mass);
      if (all || (byCount ? found >= settings.topK : mass >= settings.topP * total)) break;
    }
    const bool listed = found <= kMostCandidates;
    const Candidates candidates{row, list, listed ? found : p.limit, listed};
    Cut cut;
    double kept = total;
#pragma unroll 1
    for (int step = 0; step < 2; ++step) {  // top-k, then top-p of what is left: one text for both, since it is long
      const bool counts = step == 0;
      if (!(counts ? byCount : settings.topP < 1)) continue;
      cut = candidates.select(cut, counts ? settings.topK : settings.topP * kept, [&](float z) { return counts ? 1.0 : weight(z); });
      kept = candidates.mass([&](float z, int32_t id) { return cut.keeps(z, id) ? weight(z) : 0; });
    }
    return candidates.id(findFirst(candidates.count, uniform() * kept, [&](int64_t i) {
      return cut.keeps(candidates.z(i), candidates.id(i)) ? weight(candidates.z(i)) : 0;
    }));
  }
};

LANTERN_DEVICE void pick(const SamplingParams& p, const SamplingScratch& scratch, Fault* fault) {
  __shared__ CandidateList list;
  const int64_t at = blockIdx.x;
  const RowSettings settings(p, at);
  const LogitsRow row(p, scratch, at, settings.penalty);
  const SliceStats* stats = scratch.stats + at * scratch.slices;
  float top = kMinusInfinity, rawTop = kMinusInfinity;
  bool bad = false;
  for (int64_t s = threadIdx.x; s < scratch.slices; s += kPickThreads) {
    top = fmaxf(top, stats[s].top), rawTop = fmaxf(rawTop, stats[s].rawTop);
    bad |= isnan(stats[s].rawTop);
  }
  top = reduceAll(top, Max{}), rawTop = reduceAll(rawTop, Max{});
  bad = __syncthreads_or(bad);
  const bool nothing = !bad && rawTop == kMinusInfinity;
  if (bad || nothing || !isfinite(top)) {  // top: an absurd penalty
    if (threadIdx.x) return;
    report(fault, FaultKind::logits, "sampling", nothing, at);
    p.ids[at] = 0;
    if (p.logProbs) p.logProbs[at] = NAN;
    return;
  }

  Picker picker{p, settings, row, stats, scratch.slices, list, top, settings.greedy ? 1.f : 1 / settings.temperature, p.draws + at * 5};
  double rawTotal = 0;
  for (int64_t s = threadIdx.x; s < scratch.slices; s += kPickThreads) {
    picker.total += picker.sliceWeight(s);
    rawTotal += double(expf(stats[s].rawTop - rawTop)) * double(stats[s].rawSum);
  }
  picker.total = reduceAll(picker.total, Sum{}), rawTotal = reduceAll(rawTotal, Sum{});
  int32_t id;
  if (settings.greedy) id = picker.best();
  else id = settings.whole ? picker.drawFromAll() : picker.drawTruncated();
  if (threadIdx.x) return;
  p.ids[at] = id;
  if (p.logProbs) p.logProbs[at] = float(double(row.raw(id)) - rawTop - log(rawTotal));
}

}  // namespace lantern::cuda

using namespace lantern;
using namespace lantern::cuda;

extern "C" __global__ void __launch_bounds__(kSliceThreads, 1)
    sampling_penalise(const __grid_constant__ SamplingParams p, const __grid_constant__ SamplingScratch scratch, Fault* fault) {
  const int64_t row = blockIdx.x;
  if (p.settings[row * 3 + 2] == 1) return;
  for (int64_t i = p.cuPrevious[row] + int(threadIdx.x); i < p.cuPrevious[row + 1]; i += kSliceThreads) {
    const int32_t id = p.previous[i];
    if (id < 0 || id >= p.cols) report(fault, FaultKind::previousId, "sampling", id, row, p.cols);
    else if (id < p.limit) atomicOr(scratch.penalised + row * scratch.words + id / 32, 1u << (id % 32));
  }
}

extern "C" __global__ void __launch_bounds__(kSliceThreads, 1)
    sampling_slice(const __grid_constant__ SamplingParams p, const __grid_constant__ SamplingScratch scratch) {
  reduceSlice(p, scratch);
}
extern "C" __global__ void __launch_bounds__(kPickThreads, 1)
    sampling_pick(const __grid_constant__ SamplingParams p, const __grid_constant__ SamplingScratch scratch, Fault* fault) {
  pick(p, scratch, fault);
}
