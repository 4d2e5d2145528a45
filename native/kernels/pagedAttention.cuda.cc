#include "pagedAttention.h"

#include "attentionLaunch.h"
#include "pagedAttentionShape.h"

namespace lantern::cuda {

namespace {

int64_t ceilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

// How the pieces of all sequences are laid out: contexts are known to the device alone, so by the longest that the table can hold. Needs no
// memory, and no merge, where one piece holds any context.
Status plan(const PagedAttentionParams& p, Context& c, PagedPlan& plan) {
  const int64_t group = p.heads / p.kvHeads;
  plan.rowTiles = int(ceilDiv(group, kDecodeRows));
  int64_t keys = p.maxBlocks * p.blockSize;
  if (p.windowLeft >= 0) keys = std::min(keys, p.windowLeft + ceilDiv(plan.rowTiles * kDecodeRows, group) + 1);
  plan.pieces = int(std::max<int64_t>(1, ceilDiv(keys, kPiece)));
  const int64_t records = p.sequences * p.kvHeads * plan.pieces * plan.rowTiles * kDecodeRows;
  if (plan.pieces == 1) return Status::fine();
  plan.sums = static_cast<float*>(c.workspace(size_t(records * p.headDim) * sizeof(float)));
  plan.stats = static_cast<float*>(c.workspace(size_t(records) * 2 * sizeof(float)));
  return plan.sums && plan.stats ? Status::fine() : noWorkspace("pagedAttention");
}

template <class Decode, class Prefill>
Status launchSteps(const PagedAttentionParams& p, Context& c, const PagedPlan& plan, const char* kind, unsigned decodeThreads, size_t decodeBytes,
                   unsigned prefillThreads, const auto&... args) {
  const unsigned kvHeads = unsigned(p.kvHeads), sequences = unsigned(p.sequences);
  const auto entry = [&](const char* step, int headDim) { return std::string("pagedAttention_") + step + kind + std::to_string(headDim); };
  const Dim pieces{unsigned(plan.pieces), kvHeads * unsigned(plan.rowTiles), sequences};
  LANTERN_TRY(c.launch(entry("decode", Decode::kHeadDim).c_str(), pieces, decodeThreads, decodeBytes, p, plan, args..., c.fault()));
  if (!p.cuSeqlens) return Status::fine();  // one token each: few rows
  const Dim tiles{unsigned(p.tokens * (p.heads / p.kvHeads) / Prefill::kRows + p.sequences), kvHeads};
  return c.launch(entry("prefill", Prefill::kHeadDim).c_str(), tiles, prefillThreads, Prefill::kForwardBytes, p, plan, args..., c.fault());
}

template <class Decode, class Prefill>
Status launchSimt(const PagedAttentionParams& p, Context& c, const PagedPlan& plan, bool vectors) {
  return launchSteps<Decode, Prefill>(p, c, plan, "Simt", kSimtThreads, Decode::kForwardBytes, kSimtThreads, vectors);
}

Status attend(const PagedAttentionParams& p, Context& c, const PagedPlan& plan) {
  const auto multiples = [&](int64_t n) {
    return allMultiples({p.q, p.out}, {p.qStride, p.headDim}, n, elementBytes(p.dtype)) &&
           allMultiples({p.kCache, p.vCache}, {}, n, elementBytes(p.cacheDtype));
  };
  if (p.dtype == kBfloat16 && p.cacheDtype == kBfloat16 && p.headDim <= 128 && multiples(8)) {
    return forMmaShape<DecodeShape>(p.headDim, [&](auto decode) {
      using Decode = decltype(decode);
      using Prefill = ForwardShape<Decode::kHeadDim>;
      return launchSteps<Decode, Prefill>(p, c, plan, "Mma", Decode::kThreads, Decode::kDecodeBytes, Prefill::kThreads);
    });
  }
  if (p.headDim <= 64) return launchSimt<SimtDecode64, Simt64>(p, c, plan, multiples(4));
  if (p.headDim <= 128) return launchSimt<SimtDecode128, Simt128>(p, c, plan, multiples(4));
  return launchSimt<SimtDecode256, Simt256>(p, c, plan, multiples(4));
}

}  // namespace

Status pagedAttention(const PagedAttentionParams& p, Context& c) {
  if (!isFloat(p.dtype) || !isFloat(p.cacheDtype)) return unknownDType();
  if (p.headDim > 256) return badHeadDim("pagedAttention");
  PagedPlan pieces{};
  LANTERN_TRY(plan(p, c, pieces));
  LANTERN_TRY(attend(p, c, pieces));
  if (pieces.pieces == 1 && !p.cuSeqlens) return Status::fine();
  const Dim grid{unsigned(pieces.rowTiles * kDecodeRows / 4), unsigned(p.kvHeads), unsigned(p.sequences)};
  return c.launch("pagedAttention_merge", grid, 128, 0, p, pieces, c.fault());
}

Status cacheWrite(const CacheWriteParams& p, Context& c) {
  if (!isFloat(p.dtype) || !isFloat(p.cacheDtype)) return unknownDType();
  const bool vectors = allMultiples({p.k, p.v}, {p.kStride, p.vStride, p.cols}, 4, elementBytes(p.dtype)) &&
                       allMultiples({p.kCache, p.vCache}, {}, 4, elementBytes(p.cacheDtype));
  const int64_t blocks = std::min<int64_t>(ceilDiv(p.tokens, 8), int64_t(c.multiprocessors) * 8);
  return c.launch("pagedAttention_cacheWrite", {unsigned(blocks)}, 256, 0, p, vectors, c.fault());
}

}  // namespace lantern::cuda
