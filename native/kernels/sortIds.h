// Integer ids in ascending order, each with the position it came from; equal ids keep their order. The gradients of what rows were gathered
// by (embedding, gatherRows) are sums over runs of equal ids: with sorted ids a run is added by its own threads in the order of positions,
// without atomics on floats.
//
// A radix sort from the lowest digit: per digit every block counts its tile of ids, one block turns the counts into offsets, and every block
// moves its tile. Ids outside [0, limit) are a fault and count as `limit`, so that they come last.
#pragma once
#include <cstdint>

namespace lantern {
struct Status;
}

namespace lantern::cuda {

class Context;

constexpr int kSortThreads = 256;
constexpr int kSortRounds = 8;                           // ids of a thread
constexpr int kSortTile = kSortThreads * kSortRounds;    // ids of a block
constexpr int kSortDigit = 9;                            // bits: two passes for 262144 ids
constexpr int kSortBins = 1 << kSortDigit;

enum class SortedBy : int32_t { embeddingBackward, gatherRowsBackward };  // whose ids: what a fault is called

struct SortPass {
  const int32_t* ids;        // [count]
  const int32_t* positions;  // [count]; null in the first pass: position i is i
  int32_t *sortedIds, *sortedPositions;
  uint32_t* offsets;         // [kSortBins, blocks]: counts, then where the block's first id of that digit goes
  int64_t count, limit;
  int32_t blocks, shift;
};

struct SortedIds {
  const int32_t *ids, *positions;  // [count], in workspace
};

// Host side: enqueues the sort of ids [count] for the launcher of `by`.
Status sortIds(const int32_t* ids, int64_t count, int64_t limit, SortedBy by, Context& c, SortedIds& sorted);

}  // namespace lantern::cuda
