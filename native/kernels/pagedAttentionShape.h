// Tiles of pagedAttention: what launcher and device code agree on.
#pragma once
#include "attentionShape.h"

namespace lantern::cuda {

// Sequences of few rows (a row is a new token and a query head of the group) are cut along the keys, in pieces; the others along the rows.
constexpr int kPiece = 256, kDecodeRows = 16;

// Where a piece leaves its sums for the merge: records of [sequences, kvHeads, pieces, rows] with headDim floats in `sums` and two in `stats`
// (largest score in powers of two, sum of weights).
struct PagedPlan {
  float *sums, *stats;
  int pieces, rowTiles;  // at most, of any sequence; a sequence of up to rowTiles * kDecodeRows rows has few
};

// A warp has all rows of its tile and every fourth step of 16 keys, with copies of the next steps under way.
template <int headDim>
struct DecodeShape {
  using Warp = MmaShape<headDim, 1, 1, 16>;
  static constexpr int kWarps = 4, kStages = headDim <= 96 ? 3 : 2, kHeadDim = headDim, kThreads = kWarps * 32;
  static constexpr int kTileBytes = 16 * headDim * 2, kSumFloats = headDim + 8;  // 8: against bank conflicts
  static constexpr size_t kDecodeBytes = size_t(1 + kWarps * kStages * 2) * kTileBytes;
};

using SimtDecode64 = SimtShape<16, 32, 64>;
using SimtDecode128 = SimtShape<16, 32, 128>;
using SimtDecode256 = SimtShape<16, 32, 256>;

}  // namespace lantern::cuda
