// Tiles of the attention kernels: what launchers and device code agree on.
#pragma once
#include <cstddef>
#include <cstdint>

namespace lantern::cuda {

// Tensor-core kernels: a block holds kRows rows (queries; for dk and dv, keys), kRowTiles times 16 in each warp, and streams kStreamed rows of
// the other side past them at a time. Forward, two buffers take turns: the values arrive while the scores are computed, the next keys while
// the values are summed. Backward, both operands of the next step arrive during this one.
template <int headDim, int rowTiles, int warps, int streamed>
struct MmaShape {
  static constexpr int kHeadDim = headDim, kRowTiles = rowTiles, kWarps = warps, kStreamed = streamed;
  static constexpr int kThreads = warps * 32, kRows = warps * rowTiles * 16, kRowBytes = headDim * 2;
};

template <int headDim>
struct ForwardShape : MmaShape<headDim, 2, 4, headDim == 64 ? 64 : 32> {  // 64 keys at a time where registers allow
  using Base = MmaShape<headDim, 2, 4, headDim == 64 ? 64 : 32>;
  static constexpr size_t kForwardBytes = size_t(Base::kRows + 2 * Base::kStreamed) * Base::kRowBytes;
};

// 128 rows: in four warps as long as a warp's sums of two results over 32 rows fit its registers, else in eight.
template <int headDim>
struct BackwardShape : MmaShape<headDim, headDim == 64 ? 2 : 1, headDim == 64 ? 4 : 8, 32> {
  using Base = MmaShape<headDim, headDim == 64 ? 2 : 1, headDim == 64 ? 4 : 8, 32>;
  static constexpr int kStageBytes = 2 * Base::kStreamed * Base::kRowBytes;
  static constexpr size_t kBackwardBytes = size_t(2 * Base::kRows) * Base::kRowBytes + 2 * kStageBytes + size_t(4 * Base::kStreamed) * sizeof(float);
};

// SIMT kernels, for float32 and for whatever the others do not take: 256 threads in a square of 16 x 16 over rows and streamed rows.
constexpr int kSimtThreads = 256, kSimtSide = 16, kSimtPad = 4;  // pad: floats behind a row in shared memory, against bank conflicts

template <int rows, int streamed, int headDim>
struct SimtShape {
  static constexpr int kRows = rows, kStreamed = streamed, kHeadDim = headDim;
  static constexpr int kRowFloats = headDim + kSimtPad, kWeightFloats = streamed + kSimtPad;
  static constexpr size_t kForwardBytes = size_t((rows + 2 * streamed) * kRowFloats + rows * kWeightFloats) * 4;
  static constexpr size_t kBackwardBytes = size_t(2 * (rows + streamed) * kRowFloats + rows * kWeightFloats) * 4;
};
using Simt64 = SimtShape<64, 64, 64>;
using Simt128 = SimtShape<64, 32, 128>;
using Simt256 = SimtShape<32, 16, 256>;
using SimtBackward64 = SimtShape<64, 64, 64>;
using SimtBackward128 = SimtShape<32, 32, 128>;
using SimtBackward256 = SimtShape<16, 16, 256>;

}  // namespace lantern::cuda
