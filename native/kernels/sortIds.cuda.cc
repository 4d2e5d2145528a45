#include "sortIds.h"

#include <bit>
#include <utility>

#include "common/launch.h"

namespace lantern::cuda {

Status sortIds(const int32_t* ids, int64_t count, int64_t limit, SortedBy by, Context& c, SortedIds& sorted) {
  const int32_t blocks = int32_t((count + kSortTile - 1) / kSortTile);
  const int64_t offsets = int64_t(kSortBins) * blocks;
  auto* memory = static_cast<int32_t*>(c.workspace(size_t(offsets + 4 * count) * sizeof(int32_t)));
  if (!memory) return noWorkspace(by == SortedBy::embeddingBackward ? "embeddingBackward" : "gatherRowsBackward");
  int32_t *to = memory + offsets, *other = to + 2 * count;  // ids, then positions

  SortPass pass{ids, nullptr, to, to + count, reinterpret_cast<uint32_t*>(memory), count, limit, blocks, 0};
  for (const int bits = std::bit_width(uint64_t(limit)); pass.shift < bits || pass.shift == 0; pass.shift += kSortDigit) {
    LANTERN_TRY(c.launch("sortIds_count", {unsigned(blocks)}, kSortThreads, 0, pass, by, c.fault()));
    LANTERN_TRY(c.launch("sortIds_scan", {blocks ? 1u : 0u}, 1024, 0, pass.offsets, offsets));
    LANTERN_TRY(c.launch("sortIds_move", {unsigned(blocks)}, kSortThreads, 0, pass));
    sorted = {pass.sortedIds, pass.sortedPositions};
    pass.ids = to, pass.positions = to + count;
    std::swap(to, other);
    pass.sortedIds = to, pass.sortedPositions = to + count;
  }
  return Status::fine();
}

}  // namespace lantern::cuda
