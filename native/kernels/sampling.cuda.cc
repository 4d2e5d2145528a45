#include "sampling.h"

#include "common/launch.h"
#include "samplingShape.h"

namespace lantern::cuda {

Status sampling(const SamplingParams& p, Context& c) {
  if (p.dtype != kFloat32 && p.dtype != kBfloat16) return unknownDType();
  SamplingScratch scratch{};
  scratch.slices = (p.limit + 3) / kSampleSlice + 1;  // the first may begin up to three columns before the row
  scratch.stats = static_cast<SliceStats*>(c.workspace(size_t(p.rows * scratch.slices) * sizeof(SliceStats)));
  if (!scratch.stats) return noWorkspace("sampling");
  if (p.previous) {
    scratch.words = p.limit / 32 + 2;
    const size_t bytes = size_t(p.rows * scratch.words) * sizeof(uint32_t);
    scratch.penalised = static_cast<uint32_t*>(c.workspace(bytes));
    if (!scratch.penalised) return noWorkspace("sampling");
    LANTERN_TRY(c.zero(scratch.penalised, bytes));
    LANTERN_TRY(c.launch("sampling_penalise", {unsigned(p.rows)}, kSliceThreads, 0, p, scratch, c.fault()));
  }
  const int64_t perBlock = kSliceThreads / 32, blocks = (p.rows * scratch.slices + perBlock - 1) / perBlock;
  LANTERN_TRY(c.launch("sampling_slice", {unsigned(blocks)}, kSliceThreads, 0, p, scratch));
  return c.launch("sampling_pick", {unsigned(p.rows)}, kPickThreads, 0, p, scratch, c.fault());
}

}  // namespace lantern::cuda
