#include "layerNorm.h"

#include "common/launch.h"
#include "common/rowBlock.h"
#include "layerNormShape.h"

namespace lantern::cuda {

Status layerNorm(const LayerNormParams& p, Context& c) {
  const std::string entry = entryOf("layerNorm_forward", {p.streamDtype, p.dtype, p.weightDtype});
  if (entry.empty()) return unknownDType();
  const RowBlock b = rowBlock(p.cols, {{p.stream, p.streamDtype, p.cols}, {p.x, p.dtype, p.cols}, {p.weight, p.weightDtype, p.cols},
                                               {p.bias, p.weightDtype, p.cols}, {p.y, p.dtype, p.cols}, {p.sum, p.streamDtype, p.cols}});
  return c.launch(entry.c_str(), {unsigned(p.rows)}, unsigned(b.threads), 0, p, b.width);
}

// As many blocks as run at once, and what they have of the gradients of weight and bias added in order: the same bits on the same kind of device.
Status layerNormBackward(const LayerNormBackwardParams& p, Context& c) {
  const std::string entry = entryOf("layerNorm_backward", {p.streamDtype, p.dtype, p.weightDtype});
  if (entry.empty()) return unknownDType();
  const RowBlock b = rowBlock(p.cols, {{p.dy, p.dtype, p.cols}, {p.dsum, p.streamDtype, p.cols}, {p.h, p.streamDtype, p.cols},
                                               {p.weight, p.weightDtype, p.cols}, {p.dh, p.streamDtype, p.cols}, {p.dx, p.dtype, p.cols}},
                               kBackwardWidth);
  const int threads = std::min(b.threads, kBackwardThreads);
  const int64_t blocks = std::min<int64_t>(p.rows, int64_t(c.multiprocessors) * (kBackwardThreads / threads));
  const int64_t each = blocks * p.cols, wanted = (p.dweight != nullptr) + (p.dbias != nullptr);
  float* partials = nullptr;
  if (wanted * each > 0) {
    partials = static_cast<float*>(c.workspace(size_t(wanted * each) * sizeof(float)));
    if (!partials) return noWorkspace("layerNormBackward");
  }
  float *weights = p.dweight ? partials : nullptr, *biases = !p.dbias ? nullptr : p.dweight ? partials + each : partials;
  LANTERN_TRY(c.launch(entry.c_str(), {unsigned(blocks)}, unsigned(threads), 0, p, b.width, weights, biases));
  for (const auto& [partial, sum] : {std::pair{weights, p.dweight}, {biases, p.dbias}})
    if (partial) LANTERN_TRY(c.launch("layerNorm_addPartials", {unsigned((p.cols + 31) / 32)}, kRowThreads, 0, partial, sum, blocks, p.cols));
  return Status::fine();
}

}  // namespace lantern::cuda
