// Device side of common/rowBlock.h: the columns of a row that a thread holds in registers, and those beyond.
#pragma once
#include "rowBlock.h"
#include "rowWalk.cuh"

namespace lantern::cuda {

// fn(k, col) for the packs that this thread keeps, k a constant below kHeldPacks.
template <int kWidth, class F>
LANTERN_DEVICE void eachHeld(int64_t cols, F&& fn) {
#pragma unroll
  for (int k = 0; k < kHeldPacks; ++k) {
    const int64_t col = int64_t(k * blockDim.x + threadIdx.x) * kWidth;
    if (col < cols) fn(k, col);
  }
}

// fn(col) for the packs that do not fit.
template <int kWidth, class F>
LANTERN_DEVICE void eachBeyond(int64_t cols, F&& fn) {
  for (int64_t col = int64_t(kHeldPacks * blockDim.x + threadIdx.x) * kWidth; col < cols; col += int64_t(blockDim.x) * kWidth) fn(col);
}

}  // namespace lantern::cuda
