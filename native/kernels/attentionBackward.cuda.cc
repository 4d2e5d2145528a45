#include "attention.h"
#include "attentionLaunch.h"

namespace lantern::cuda {

namespace {

template <class Shape>
Status launchSides(const AttentionBackwardParams& p, Context& c, const char* kind, unsigned threads, const float* delta, const auto&... args) {
  for (const bool queries : {true, false}) {
    const std::string entry = std::string("attentionBackward_") + (queries ? "queries" : "keys") + kind + std::to_string(Shape::kHeadDim);
    const Dim grid{unsigned(p.tokens / Shape::kRows + p.sequences), unsigned(queries ? p.heads : p.kvHeads)};
    LANTERN_TRY(c.launch(entry.c_str(), grid, threads, Shape::kBackwardBytes, p, delta, args...));
  }
  return Status::fine();
}

}  // namespace

Status attentionBackward(const AttentionBackwardParams& p, Context& c) {
  if (!isFloat(p.dtype)) return unknownDType();
  if (p.headDim > 256) return badHeadDim("attentionBackward");
  const auto multiples = [&](int64_t n) {
    return allMultiples({p.q, p.k, p.v, p.out, p.dout, p.dq, p.dk, p.dv},
                        {p.qStride, p.kStride, p.vStride, p.dqStride, p.dkStride, p.dvStride, p.headDim}, n, elementBytes(p.dtype));
  };
  const bool vectors = multiples(4);
  float* delta = static_cast<float*>(c.workspace(size_t(std::max<int64_t>(1, p.heads * p.tokens)) * sizeof(float)));
  if (!delta) return noWorkspace("attentionBackward");
  const Dim rows{unsigned(std::max<int64_t>(1, (p.tokens + kSimtSide - 1) / kSimtSide)), unsigned(p.heads)};
  LANTERN_TRY(c.launch("attentionBackward_delta", rows, kSimtThreads, 0, p, vectors, delta, c.fault()));
  const float* d = delta;
  if (p.dtype == kBfloat16 && p.headDim <= 128 && multiples(8))
    return forMmaShape<BackwardShape>(p.headDim, [&](auto s) { return launchSides<decltype(s)>(p, c, "Mma", s.kThreads, d); });
  if (p.headDim <= 64) return launchSides<SimtBackward64>(p, c, "Simt", kSimtThreads, d, vectors);
  if (p.headDim <= 128) return launchSides<SimtBackward128>(p, c, "Simt", kSimtThreads, d, vectors);
  return launchSides<SimtBackward256>(p, c, "Simt", kSimtThreads, d, vectors);
}

}  // namespace lantern::cuda
