#include "pooling.h"

#include "common/launch.h"
#include "common/rowBlock.h"
#include "poolingShape.h"
#include "sortIds.h"

namespace lantern::cuda {

namespace {

bool isFloat(int64_t dtype) { return dtype == kFloat32 || dtype == kBfloat16; }

// Copies look at the width of the dtype only.
std::string bitsEntry(const char* stem, int64_t dtype) { return std::string(stem) + (dtype == kFloat32 ? "32" : "16"); }

template <class P>
Status checkSequences(const P& p, PooledBy by, Context& c) {
  if (!isFloat(p.dtype)) return unknownDType();
  return c.launch("pooling_check", {unsigned((p.sequences + kPoolThreads - 1) / kPoolThreads)}, kPoolThreads, 0, p.cuSeqlens, p.sequences, p.tokens,
                  by, c.fault());
}

}  // namespace

Status lastTokenPooling(const LastTokenPoolingParams& p, Context& c) {
  LANTERN_TRY(checkSequences(p, PooledBy::lastTokenPooling, c));
  const RowWalk w = walkRows(p.sequences, p.cols, {{p.x, p.dtype, p.cols}, {p.y, p.dtype, p.cols}});
  return c.launch(bitsEntry("pooling_last", p.dtype).c_str(), {blocksOf(w)}, kWalkThreads, 0, p, w);
}

Status lastTokenPoolingBackward(const LastTokenPoolingBackwardParams& p, Context& c) {
  LANTERN_TRY(checkSequences(p, PooledBy::lastTokenPoolingBackward, c));
  const RowWalk w = walkRows(p.tokens, p.cols, {{p.dy, p.dtype, p.cols}, {p.dx, p.dtype, p.cols}});
  return c.launch(bitsEntry("pooling_lastBackward", p.dtype).c_str(), {blocksOf(w)}, kWalkThreads, 0, p, w);
}

Status meanPooling(const MeanPoolingParams& p, Context& c) {
  LANTERN_TRY(checkSequences(p, PooledBy::meanPooling, c));
  const int width = packWidth({{p.x, p.dtype, p.cols}});
  const int64_t cols = kPoolLanes * width;
  const uint32_t tiles = uint32_t((p.cols + cols - 1) / cols);
  return c.launch(entryOf("pooling_mean", {p.dtype}).c_str(), {unsigned(p.sequences * tiles)}, kPoolThreads, 0, p, width, tiles);
}

Status meanPoolingBackward(const MeanPoolingBackwardParams& p, Context& c) {
  LANTERN_TRY(checkSequences(p, PooledBy::meanPoolingBackward, c));
  const RowWalk w = walkRows(p.tokens, p.cols, {{p.dy, p.dtype, p.cols}, {p.dx, p.dtype, p.cols}});
  return c.launch(entryOf("pooling_meanBackward", {p.dtype}).c_str(), {blocksOf(w)}, kWalkThreads, 0, p, w);
}

Status gatherRows(const GatherRowsParams& p, Context& c) {
  if (!isFloat(p.dtype)) return unknownDType();
  const RowWalk w = walkRows(p.count, p.cols, {{p.x, p.dtype, p.cols}, {p.y, p.dtype, p.cols}});
  return c.launch(bitsEntry("pooling_gather", p.dtype).c_str(), {blocksOf(w)}, kWalkThreads, 0, p, w, c.fault());
}

Status gatherRowsBackward(const GatherRowsBackwardParams& p, Context& c) {
  if (!isFloat(p.dtype)) return unknownDType();
  SortedIds sorted;
  LANTERN_TRY(sortIds(p.rows, p.count, p.xRows, SortedBy::gatherRowsBackward, c, sorted));
  const RowWalk w = walkRows(p.xRows, p.cols, {{p.dy, p.dtype, p.cols}, {p.dx, p.dtype, p.cols}});
  return c.launch(entryOf("pooling_gatherBackward", {p.dtype}).c_str(), {blocksOf(w)}, kWalkThreads, 0, p, w, sorted);
}

Status l2Normalize(const L2NormalizeParams& p, Context& c) {
  if (!isFloat(p.dtype)) return unknownDType();
  const RowBlock b = rowBlock(p.cols, {{p.x, p.dtype, p.cols}, {p.y, p.dtype, p.cols}});
  return c.launch(entryOf("pooling_l2", {p.dtype}).c_str(), {unsigned(p.rows)}, unsigned(b.threads), 0, p, b.width);
}

Status l2NormalizeBackward(const L2NormalizeBackwardParams& p, Context& c) {
  if (!isFloat(p.dtype)) return unknownDType();
  const RowBlock b = rowBlock(p.cols, {{p.dy, p.dtype, p.cols}, {p.x, p.dtype, p.cols}, {p.dx, p.dtype, p.cols}});
  return c.launch(entryOf("pooling_l2Backward", {p.dtype}).c_str(), {unsigned(p.rows)}, unsigned(b.threads), 0, p, b.width);
}

}  // namespace lantern::cuda
