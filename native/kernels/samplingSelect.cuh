// What a block of kPickThreads does over the candidates of a row: collect them in the order of ids, find the cut of top-k and top-p, draw.
// Sums are added in the same order every time, and a sum over fewer terms is never larger: cuts are exact for the weights as they are.
#pragma once
#include "common/scan.cuh"
#include "samplingRow.cuh"

namespace lantern::cuda {

struct Least {
  template <class T>
  LANTERN_DEVICE T operator()(T a, T b) const { return a < b ? a : b; }
};
struct Greatest {
  template <class T>
  LANTERN_DEVICE T operator()(T a, T b) const { return a > b ? a : b; }
};

template <class T, class F>
LANTERN_DEVICE T reduceAll(T x, F f) {
  __shared__ T scratch[kPickThreads / kWarp];
  __syncthreads();
  return blockReduce(x, f, scratch);
}
template <class T>
LANTERN_DEVICE Prefix<T> prefixAll(T x) {
  __shared__ T scratch[kPickThreads / kWarp];
  __syncthreads();
  return blockPrefix(x, scratch);
}

// The first of [0, count) up to which weight(i) adds up to more than `left`; where rounding leaves too little, the last with any weight.
template <class W>
LANTERN_DEVICE int32_t findFirst(int64_t count, double left, W&& weight) {
  double before = 0;
  int32_t last = -1;
  for (int64_t first = 0; first < count; first += kPickThreads) {
    const int32_t i = int32_t(first + threadIdx.x);
    const double mine = i < count ? weight(i) : 0;
    const Prefix<double> prefix = prefixAll(mine);
    const int32_t found = reduceAll(mine > 0 && before + prefix.upTo > left ? i : INT32_MAX, Least{});
    if (found != INT32_MAX) return found;
    if (mine > 0) last = i;
    before += prefix.all;
  }
  return reduceAll(last, Greatest{});
}

struct CandidateList {
  float z[kMostCandidates];
  int32_t ids[kMostCandidates];
};

// The candidates in the order of ids: those of the list, or all columns of a row that has more than the list holds.
struct Candidates {
  const LogitsRow& row;
  const CandidateList& list;
  int64_t count;
  bool listed;

  LANTERN_DEVICE float z(int64_t i) const { return listed ? list.z[i] : row.z(i); }
  LANTERN_DEVICE int32_t id(int64_t i) const { return listed ? list.ids[i] : int32_t(i); }

  template <class F>
  LANTERN_DEVICE void each(F&& fn) const {
#pragma unroll 1
    for (int64_t i = threadIdx.x; i < count; i += kPickThreads) fn(z(i), id(i));
  }
  template <class W>  // weight(z) summed over the candidates that fn(rank, z, id) takes
  LANTERN_DEVICE double mass(W&& fn) const {
    double sum = 0;
    each([&](float v, int32_t i) { sum += fn(v, i); });
    return reduceAll(sum, Sum{});
  }

  // The cut that keeps the fewest best of those within another cut whose weight(z) together reach `target`; at least one.
  template <class W>
  LANTERN_DEVICE Cut select(const Cut& within, double target, W&& weight) const {
    uint32_t low = 0xffffffffu, high = 0;
    each([&](float v, int32_t i) {
      if (!within.keeps(v, i)) return;
      low = min(low, rankOf(v)), high = max(high, rankOf(v));
    });
    low = reduceAll(low, Least{}), high = reduceAll(high, Greatest{});
    while (low < high) {
      const uint32_t middle = low + (high - low) / 2;
      const double reached = mass([&](float v, int32_t i) { return rankOf(v) <= middle && within.keeps(v, i) ? weight(v) : 0; });
      if (reached >= target) high = middle;
      else low = middle + 1;
    }
    const auto tie = [&](float v, int32_t i) { return rankOf(v) == low && within.keeps(v, i); };
    const double above = mass([&](float v, int32_t) { return rankOf(v) < low ? weight(v) : 0; });  // ranks before `low` are all within
    const double ties = mass([&](float v, int32_t i) { return double(tie(v, i)); });
    const double one = weight(valueOf(low)), wanted = one > 0 ? fmax(ceil((target - above) / one), 1.0) : ties;
    if (wanted >= ties) return {low, low == within.rank ? within.id : INT32_MAX};
    return {low, id(findFirst(count, wanted - 1, [&](int64_t i) { return double(tie(z(i), id(i))); }))};
  }
};

// Fills the list with the columns of z >= threshold, as many as it holds. Returns how many there are; `mass`: the sum of their weight(z).
template <class W>
LANTERN_DEVICE int64_t collect(const LogitsRow& row, const SliceStats* stats, int64_t slices, float threshold, CandidateList& list, W&& weight,
                               double& mass) {
  constexpr int kWarps = kPickThreads / kWarp, kPart = 4;  // kPart: packs in registers at a time
  static_assert(kSlicePacks * kPackWidth == 32 && kSlicePacks % kPart == 0);
  __shared__ int32_t totals[kWarps];
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  int64_t found = 0;
  double sum = 0;
  for (int64_t round = 0; round < slices; round += kWarps) {
    const int64_t s = round + warp;
    const bool reaches = s < slices && stats[s].top >= threshold && stats[s].top > kMinusInfinity;
    uint32_t taken = 0;  // a bit an element
    int32_t total = 0;
    if (reaches) {
#pragma unroll 1
      for (int begin = 0; begin < kSlicePacks; begin += kPart) {
        const auto v = row.packs<kPart>(s, begin);
#pragma unroll
        for (int k = 0; k < kPart; ++k)
          for (int i = 0; i < kPackWidth; ++i)
            if (v.z[k][i] >= threshold && v.z[k][i] > kMinusInfinity) {
              taken |= 1u << ((begin + k) * kPackWidth + i);
              sum += weight(v.z[k][i]);
            }
      }
      total = warpReduce(__popc(taken), Sum{});
    }
    __syncthreads();
    if (lane == 0) totals[warp] = total;
    __syncthreads();
    int64_t at = found;
    for (int w = 0; w < kWarps; ++w) {
      at += w < warp ? totals[w] : 0;
      found += totals[w];
    }
    if (total == 0) continue;
#pragma unroll 1
    for (int k = 0; k < kSlicePacks; ++k) {
      const uint32_t mine = taken >> (k * kPackWidth) & ((1u << kPackWidth) - 1);
      int32_t upTo = __popc(mine);
      for (int step = 1; step < kWarp; step *= 2) {
        const int32_t below = __shfl_up_sync(kAllLanes, upTo, step);
        if (lane >= step) upTo += below;
      }
      int64_t place = at + upTo - __popc(mine);
      for (int i = 0; i < kPackWidth; ++i) {
        if (!(mine >> i & 1)) continue;
        const int64_t col = row.start(s) + (k * kWarp + lane) * kPackWidth + i;
        if (place < kMostCandidates) list.z[place] = row.z(col), list.ids[place] = int32_t(col);
        ++place;
      }
      at += __shfl_sync(kAllLanes, upTo, kWarp - 1);
    }
  }
  mass = reduceAll(sum, Sum{});  // its barrier publishes the list
  return found;
}

}  // namespace lantern::cuda
