#include "crossEntropy.h"

#include "common/launch.h"
#include "common/rowWalk.h"
#include "crossEntropyShape.h"

namespace lantern::cuda {

Status crossEntropy(const CrossEntropyParams& p, Context& c) {
  const std::string entry = p.targets ? entryOf("crossEntropy_targets", {p.dtype, p.targetsDtype}) : entryOf("crossEntropy_labels", {p.dtype});
  if (entry.empty()) return unknownDType();
  auto* rows = static_cast<CrossEntropyRow*>(c.workspace(size_t(p.rows + 1) * sizeof(CrossEntropyRow)));
  if (!rows) return noWorkspace("crossEntropy");
  const int64_t width = p.dtype == kBfloat16 && (!p.targets || p.targetsDtype == kBfloat16) ? 8 : 4;
  const auto starts = [&](const void* array, int64_t dtype) { return reinterpret_cast<uintptr_t>(array) % uintptr_t(width * bytesOf(dtype)) == 0; };
  const int32_t wide = starts(p.logits, p.dtype) && starts(p.targets, p.targetsDtype) && starts(p.dlogits, p.dtype);
  const unsigned threads = unsigned(std::clamp<int64_t>((p.classes / width + 33) / 32 * 32, 32, kCrossEntropyThreads));
  LANTERN_TRY(p.targets ? c.launch(entry.c_str(), {unsigned(p.rows)}, threads, 0, p, wide, rows)
                        : c.launch(entry.c_str(), {unsigned(p.rows)}, threads, 0, p, c.fault(), wide, rows));
  return c.launch("crossEntropy_total", {1}, kCrossEntropyTotalThreads, 0, p, rows);
}

}  // namespace lantern::cuda
