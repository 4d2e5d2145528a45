#include "common/scan.cuh"
#include "sortIds.h"

namespace lantern::cuda {

// The id at `i`, `limit` for all that are out of range.
LANTERN_DEVICE uint32_t keyAt(const SortPass& p, int64_t i) {
  const int64_t id = p.ids[i];
  return uint32_t(id >= 0 && id < p.limit ? id : p.limit);
}
LANTERN_DEVICE uint32_t digitOf(const SortPass& p, uint32_t key) { return key >> p.shift & (kSortBins - 1); }

}  // namespace lantern::cuda

using namespace lantern::cuda;

extern "C" __global__ void __launch_bounds__(kSortThreads) sortIds_count(const __grid_constant__ SortPass p, SortedBy by, Fault* fault) {
  __shared__ uint32_t counts[kSortBins];
  for (int b = threadIdx.x; b < kSortBins; b += kSortThreads) counts[b] = 0;
  __syncthreads();
  const int64_t begin = int64_t(blockIdx.x) * kSortTile, end = min(p.count, begin + kSortTile);
  for (int64_t i = begin + threadIdx.x; i < end; i += kSortThreads) {
    const uint32_t key = keyAt(p, i);
    atomicAdd(&counts[digitOf(p, key)], 1u);
    if (key == p.limit && !p.positions)
      report(fault, FaultKind::index, by == SortedBy::embeddingBackward ? "embeddingBackward: id" : "gatherRowsBackward: row", p.ids[i], i, p.limit);
  }
  __syncthreads();
  for (int b = threadIdx.x; b < kSortBins; b += kSortThreads) p.offsets[int64_t(b) * p.blocks + blockIdx.x] = counts[b];
}

// Exclusive prefix sums of all counts, digit by digit and block by block within a digit. One block.
extern "C" __global__ void __launch_bounds__(1024) sortIds_scan(uint32_t* offsets, int64_t count) {
  __shared__ uint32_t scratch[kWarp];
  uint32_t before = 0;
  for (int64_t first = 0; first < count; first += 4 * 1024) {
    const int64_t at = first + 4 * threadIdx.x;  // count is a multiple of kSortBins
    uint4 v = at < count ? *reinterpret_cast<const uint4*>(offsets + at) : uint4{};
    const Prefix<uint32_t> prefix = blockPrefix(v.x + v.y + v.z + v.w, scratch);
    const uint32_t start = before + prefix.before;
    v = {start, start + v.x, start + v.x + v.y, start + v.x + v.y + v.z};
    if (at < count) *reinterpret_cast<uint4*>(offsets + at) = v;
    before += prefix.all;
    __syncthreads();
  }
}

// A warp takes neighbouring ids, 32 at a time; an id's rank within its digit is the number of equal digits in the rounds before and in the
// lanes below. Ranks become places once the warps before are counted.
extern "C" __global__ void __launch_bounds__(kSortThreads) sortIds_move(const __grid_constant__ SortPass p) {
  constexpr int kWarps = kSortThreads / kWarp;
  __shared__ uint32_t next[kWarps][kSortBins];
  for (int b = threadIdx.x; b < kWarps * kSortBins; b += kSortThreads) next[b / kSortBins][b % kSortBins] = 0;
  __syncthreads();

  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  const int64_t begin = int64_t(blockIdx.x) * kSortTile + warp * (kSortTile / kWarps) + lane;
  uint32_t key[kSortRounds], rank[kSortRounds];
#pragma unroll
  for (int r = 0; r < kSortRounds; ++r) {
    const int64_t i = begin + r * kWarp;
    key[r] = i < p.count ? keyAt(p, i) : 0;
    const uint32_t digit = digitOf(p, key[r]);
    const unsigned equal = __match_any_sync(kAllLanes, i < p.count ? digit : uint32_t(kSortBins)), below = equal & ((1u << lane) - 1);
    const uint32_t seen = next[warp][digit];
    rank[r] = seen + __popc(below);
    __syncwarp();
    if (i < p.count && below == 0) next[warp][digit] = seen + __popc(equal);
    __syncwarp();
  }
  __syncthreads();
  for (int b = threadIdx.x; b < kSortBins; b += kSortThreads) {
    uint32_t place = p.offsets[int64_t(b) * p.blocks + blockIdx.x];
    for (int w = 0; w < kWarps; ++w) {
      const uint32_t count = next[w][b];
      next[w][b] = place;
      place += count;
    }
  }
  __syncthreads();
#pragma unroll
  for (int r = 0; r < kSortRounds; ++r) {
    const int64_t i = begin + r * kWarp;
    if (i >= p.count) break;
    const uint32_t place = next[warp][digitOf(p, key[r])] + rank[r];
    p.sortedIds[place] = int32_t(key[r]);
    p.sortedPositions[place] = p.positions ? p.positions[i] : int32_t(i);
  }
}
