#include "divergence.h"

#include "common/divergenceKind.h"
#include "common/launch.h"
#include "common/rowWalk.h"
#include "divergenceShape.h"

namespace lantern::cuda {

namespace {

bool bothBf16(int64_t a, int64_t b) { return a == kBfloat16 && b == kBfloat16; }
int64_t packWidthOf(int64_t a, int64_t b) { return bothBf16(a, b) ? 8 : 4; }
bool known(int64_t dtype) { return dtype == kFloat32 || dtype == kBfloat16; }

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
  if (!known(p.studentDtype) || !known(p.teacherDtype)) return unknownDType();
  const int64_t packs = p.vocab / packWidthOf(p.studentDtype, p.teacherDtype) + 2;
  const size_t kept = size_t(packs) * 16 * 2;
  constexpr size_t kOwnShared = 2048;  // at least what the kernel's own arrays take
  const bool resident = kept + kOwnShared <= c.sharedBytesPerBlock;
  const unsigned threads = unsigned(std::clamp<int64_t>((packs + 31) / 32 * 32, 32, kDivergenceThreads));
  return c.launch(bothBf16(p.studentDtype, p.teacherDtype) ? "divergence_forwardBf16" : "divergence_forwardAny", {unsigned(p.rows)}, threads,
                  resident ? kept : 0, p, taskOf(p, nullptr), resident);
}

Status divergenceBackward(const DivergenceBackwardParams& p, Context& c) {
  if (!known(p.studentDtype) || !known(p.teacherDtype)) return unknownDType();
  const int64_t packs = p.vocab / packWidthOf(p.studentDtype, p.teacherDtype) + 2, each = kGradientThreads * kGradientPacks;
  const int parts = int((packs + each - 1) / each);
  return c.launch(bothBf16(p.studentDtype, p.teacherDtype) ? "divergence_backwardBf16" : "divergence_backwardAny", {unsigned(p.rows * parts)},
                  kGradientThreads, 0, p, taskOf(p, p.dstudent), parts);
}

}  // namespace lantern::cuda
