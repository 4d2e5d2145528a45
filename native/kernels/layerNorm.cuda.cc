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

// As many blocks as run at once, and their gradients of weight and bias added in order: the same bits on the same kind of device.
Status layerNormBackward(const LayerNormBackwardParams& p, Context& c) {
  const std::string entry = entryOf("layerNorm_backward", {p.streamDtype, p.dtype, p.weightDtype});
  if (entry.empty()) return unknownDType();
  const RowBlock b = rowBlock(p.cols, {{p.dy, p.dtype, p.cols}, {p.dsum, p.streamDtype, p.cols}, {p.h, p.streamDtype, p.cols},
                                       {p.weight, p.weightDtype, p.cols}, {p.dh, p.streamDtype, p.cols}, {p.dx, p.dtype, p.cols}},
                              kLayerNormWidth);
  const int threads = std::min(b.threads, kLayerNormThreads);
  const int64_t blocks = std::min<int64_t>(p.rows, int64_t(c.multiprocessors) * (kRowThreads / threads)), each = blocks * p.cols;
  const int64_t wanted = (p.dweight ? each : 0) + (p.dbias ? each : 0);
  float* partial = wanted ? static_cast<float*>(c.workspace(size_t(wanted) * sizeof(float))) : nullptr;
  if (wanted && !partial) return noWorkspace("layerNormBackward");
  float* weights = p.dweight ? partial : nullptr;
  float* biases = p.dbias ? partial + (p.dweight ? each : 0) : nullptr;
  LANTERN_TRY(c.launch(entry.c_str(), {unsigned(blocks)}, unsigned(threads), 0, p, b.width, weights, biases));
  const auto add = [&](const float* from, float* to) {
    if (!from || blocks == 0) return Status::fine();
    return c.launch("layerNorm_addPartials", {unsigned((p.cols + 31) / 32)}, kRowThreads, 0, from, to, blocks, p.cols);
  };
  LANTERN_TRY(add(weights, p.dweight));
  return add(biases, p.dbias);
}

}  // namespace lantern::cuda
