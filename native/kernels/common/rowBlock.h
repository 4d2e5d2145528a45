// How row-wise CUDA kernels cut rows of `cols` elements: a block a row. Each thread keeps kHeldPacks packs of the row in registers between the
// pass that reduces and the pass that writes; rows too long for that are read again for what is beyond. Host side; common/rowBlock.cuh walks.
#pragma once
#include "rowWalk.h"

namespace lantern::cuda {

constexpr int kHeldPacks = 2;
constexpr int kRowThreads = 1024;  // the most a block has

struct RowBlock {
  int32_t width;  // elements of a pack: 16 bytes of the widest dtype, or 1
  int32_t threads;
};

// A kernel that keeps much for every column takes packs of no more than `most` elements.
inline RowBlock rowBlock(int64_t cols, std::initializer_list<Operand> operands, int most = 8) {
  int width = std::min(packWidth(operands), most);
  if (cols % width) width = 1;
  const int64_t threads = (cols + width * kHeldPacks - 1) / (width * kHeldPacks), whole = (threads + 31) / 32 * 32;
  return {width, int32_t(std::clamp<int64_t>(whole, 32, kRowThreads))};
}

}  // namespace lantern::cuda
