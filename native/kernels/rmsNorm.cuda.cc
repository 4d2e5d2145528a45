#include "rmsNorm.h"

#include "common/launch.h"
#include "common/rowBlock.h"
#include "rmsNormShape.h"

namespace lantern::cuda {

Status rmsNorm(const RmsNormParams& p, Context& c) {
  const std::string entry = entryOf("rmsNorm_forward", {p.streamDtype, p.dtype, p.weightDtype});
  if (entry.empty()) return unknownDType();
  const RowBlock b = rowBlock(p.cols, {{p.stream, p.streamDtype, p.cols}, {p.x, p.dtype, p.cols}, {p.weight, p.weightDtype, p.cols},
                                               {p.y, p.dtype, p.cols}, {p.sum, p.streamDtype, p.cols}});
  return c.launch(entry.c_str(), {unsigned(p.rows)}, unsigned(b.threads), 0, p, b.width);
}

// As many blocks as run at once, and their weight gradients added in order: the same bits on the same kind of device.
Status rmsNormBackward(const RmsNormBackwardParams& p, Context& c) {
  const std::string entry = entryOf("rmsNorm_backward", {p.streamDtype, p.dtype, p.weightDtype});
  if (entry.empty()) return unknownDType();
  const RowBlock b = rowBlock(p.cols, {{p.dy, p.dtype, p.cols}, {p.dsum, p.streamDtype, p.cols}, {p.h, p.streamDtype, p.cols},
                                               {p.weight, p.weightDtype, p.cols}, {p.dh, p.streamDtype, p.cols}, {p.dx, p.dtype, p.cols}},
                               kBackwardWidth);
  const int64_t blocks = std::min<int64_t>(p.rows, int64_t(c.multiprocessors) * (kRowThreads / b.threads));
  if (!p.dweight || blocks == 0) return c.launch(entry.c_str(), {unsigned(blocks)}, unsigned(b.threads), 0, p, b.width, static_cast<float*>(nullptr));
  float* partial = static_cast<float*>(c.workspace(size_t(blocks * p.cols) * sizeof(float)));
  if (!partial) return noWorkspace("rmsNormBackward");
  LANTERN_TRY(c.launch(entry.c_str(), {unsigned(blocks)}, unsigned(b.threads), 0, p, b.width, partial));
  return c.launch("rmsNorm_addPartials", {unsigned((p.cols + 31) / 32)}, kRowThreads, 0, partial, p.dweight, blocks, p.cols);
}

}  // namespace lantern::cuda
