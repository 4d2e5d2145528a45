#include "attention.h"

#include "attentionLaunch.h"

namespace lantern::cuda {

namespace {

template <class Shape>
Status launchTiles(const AttentionParams& p, Context& c, const char* kind, unsigned threads, const auto&... args) {
  const std::string entry = std::string("attention_") + kind + std::to_string(Shape::kHeadDim);
  const Dim grid{unsigned(p.tokens / Shape::kRows + p.sequences), unsigned(p.heads)};
  return c.launch(entry.c_str(), grid, threads, Shape::kForwardBytes, p, args..., c.fault());
}

}  // namespace

Status attention(const AttentionParams& p, Context& c) {
  if (!isFloat(p.dtype)) return unknownDType();
  if (p.headDim > 256) return badHeadDim("attention");
  const auto multiples = [&](int64_t n) {
    return allMultiples({p.q, p.k, p.v, p.out}, {p.qStride, p.kStride, p.vStride, p.headDim}, n, elementBytes(p.dtype));
  };
  if (p.dtype == kBfloat16 && p.headDim <= 128 && multiples(8))
    return forMmaShape<ForwardShape>(p.headDim, [&](auto s) { return launchTiles<decltype(s)>(p, c, "mma", s.kThreads); });
  const bool vectors = multiples(4);
  if (p.headDim <= 64) return launchTiles<Simt64>(p, c, "simt", kSimtThreads, vectors);
  if (p.headDim <= 128) return launchTiles<Simt128>(p, c, "simt", kSimtThreads, vectors);
  return launchTiles<Simt256>(p, c, "simt", kSimtThreads, vectors);
}

}  // namespace lantern::cuda
