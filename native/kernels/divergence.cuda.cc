#include "divergence.h"

#include "common/divergenceKind.h"
#include "common/launch.h"
#include "common/rowWalk.h"
#include "divergenceShape.h"

namespace lantern::cuda {

namespace {

int64_t packWidthOf(int64_t a, int64_t b) { return a == kBfloat16 && b == kBfloat16 ? 8 : 4; }

template <class Params>
DivergenceTask taskOf(const Params& p, const void* output) {
  const DivergenceScalars s = divergenceScalars(p.temperature, p.beta);
  const int64_t width = packWidthOf(p.studentDtype, p.teacherDtype);
  const auto starts = [&](const void* array, int64_t dtype) { return reinterpret_cast<uintptr_t>(array) % uintptr_t(width * bytesOf(dtype)) == 0; };
  const bool wide = starts(p.student, p.studentDtype) && starts(p.teacher, p.teacherDtype) && starts(output, p.studentDtype);
  return {s.invT, s.beta, s.logRest, wide, p.factor / p.temperature};
}

}  // namespace

Status divergence(const DivergenceParams& p, Context& c) {
  const int64_t width = packWidthOf(p.studentDtype, p.teacherDtype), packs = p.vocab / width + 2;
  const size_t kept = size_t(packs * width * (bytesOf(p.studentDtype) + bytesOf(p.teacherDtype)));
  constexpr size_t kOwnShared = 2048;  // at least what the kernel's own arrays take
  const bool resident = kept + kOwnShared <= c.sharedBytesPerBlock;
  const std::string entry = entryOf(resident ? "divergence_resident" : "divergence_streamed", {p.studentDtype, p.teacherDtype});
  if (entry.empty()) return unknownDType();
  const unsigned threads = unsigned(std::clamp<int64_t>((packs + 31) / 32 * 32, 32, kDivergenceThreads));
  return c.launch(entry.c_str(), {unsigned(p.rows)}, threads, resident ? kept : 0, p, taskOf(p, nullptr));
}

Status divergenceBackward(const DivergenceBackwardParams& p, Context& c) {
  const std::string entry = entryOf("divergence_backward", {p.studentDtype, p.teacherDtype});
  if (entry.empty()) return unknownDType();
  const int64_t packs = p.vocab / packWidthOf(p.studentDtype, p.teacherDtype) + 2, each = kGradientThreads * kGradientPacks;
  const int parts = int((packs + each - 1) / each);
  return c.launch(entry.c_str(), {unsigned(p.rows * parts)}, kGradientThreads, 0, p, taskOf(p, p.dstudent), parts);
}

}  // namespace lantern::cuda
