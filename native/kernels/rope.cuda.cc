#include "rope.h"

#include "common/launch.h"
#include "common/rowWalk.h"
#include "ropeShape.h"

namespace lantern::cuda {

namespace {

// Four pairs at once for bfloat16 too: eight would read the float32 table in steps of 32 bytes a thread, half a sector each.
int pairsAtOnce(const RopeParams& p) {
  const auto fits = [&](const void* x, int64_t stride, int64_t bytes) { return reinterpret_cast<uintptr_t>(x) % uintptr_t(4 * bytes) == 0 && stride % 4 == 0; };
  const int64_t bytes = bytesOf(p.dtype);
  const bool all = fits(p.q, p.qStride, bytes) && fits(p.k, p.kStride, bytes) && fits(p.qOut, p.qOutStride, bytes) && fits(p.kOut, p.kOutStride, bytes) &&
                   fits(p.table, p.headDim / 2, sizeof(float));
  return all ? 4 : 1;
}

}  // namespace

Status rope(const RopeParams& p, Context& c) {
  const std::string entry = entryOf("rope_rotate", {p.dtype});
  if (entry.empty()) return unknownDType();
  const int64_t heads = p.heads + p.kvHeads, width = pairsAtOnce(p);
  if (heads == 0 || p.headDim == 0) return Status::fine();
  const int64_t lanes = std::min<int64_t>(kRopeThreads, (p.headDim / 2 + width - 1) / width);
  const int64_t headLanes = std::min<int64_t>(heads, kRopeThreads / lanes), tokens = kRopeThreads / (lanes * headLanes);
  const RopeShape shape{int32_t(width), int32_t(lanes), int32_t(headLanes), int32_t(tokens)};
  const int64_t blocks = (p.tokens + tokens - 1) / tokens;
  return c.launch(entry.c_str(), {unsigned(blocks)}, unsigned(lanes * headLanes * tokens), 0, p, shape, c.fault());
}

}  // namespace lantern::cuda
