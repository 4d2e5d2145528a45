// Device side of common/rowWalk.h.
#pragma once
#include "packs.cuh"
#include "rowWalk.h"

namespace lantern::cuda {

template <int n>
struct Width {
  static constexpr int value = n;
};

// store(row, col, width, load(row, col, width)) for all packs of this thread, then for the elements after the last whole pack. Loads of all
// packs come before the first store, so that they are in flight together; outputs may therefore be the inputs.
template <int kWidth, class Load, class Store>
LANTERN_DEVICE void walkPacks(const RowWalk& w, Load&& load, Store&& store) {
  const uint32_t lanes = 1u << w.laneBits, tile = blockIdx.x % w.tiles;
  const int64_t row = int64_t(blockIdx.x / w.tiles) * (kWalkThreads >> w.laneBits) + (threadIdx.x >> w.laneBits);
  if (row >= w.rows) return;
  const int64_t first = (int64_t(tile) * kWalkDepth * lanes + (threadIdx.x & (lanes - 1))) * kWidth, step = int64_t(lanes) * kWidth;
  using Wide = Width<kWidth>;
  if (first + (kWalkDepth - 1) * step + kWidth <= w.cols) {
    decltype(load(row, first, Wide{})) held[kWalkDepth];
#pragma unroll
    for (int k = 0; k < kWalkDepth; ++k) held[k] = load(row, first + k * step, Wide{});
#pragma unroll
    for (int k = 0; k < kWalkDepth; ++k) store(row, first + k * step, Wide{}, held[k]);
    return;
  }
  for (int64_t col = first; col < w.cols; col += step)
    if (col + kWidth <= w.cols) store(row, col, Wide{}, load(row, col, Wide{}));
    else
      for (int64_t i = col; i < w.cols; ++i) store(row, i, Width<1>{}, load(row, i, Width<1>{}));
}

// fn(row, col, width) for the packs of this thread one after the other: for kernels that have loads in flight for each of them.
template <int kWidth, class F>
LANTERN_DEVICE void eachPack(const RowWalk& w, F&& fn) {
  const uint32_t lanes = 1u << w.laneBits, tile = blockIdx.x % w.tiles;
  const int64_t row = int64_t(blockIdx.x / w.tiles) * (kWalkThreads >> w.laneBits) + (threadIdx.x >> w.laneBits);
  if (row >= w.rows) return;
  int64_t col = (int64_t(tile) * kWalkDepth * lanes + (threadIdx.x & (lanes - 1))) * kWidth;
#pragma unroll 1
  for (int k = 0; k < kWalkDepth && col < w.cols; ++k, col += int64_t(lanes) * kWidth)
    if (kWidth == 1 || col + kWidth <= w.cols) fn(row, col, Width<kWidth>{});
    else
#pragma unroll 1
      for (int64_t i = col; i < w.cols; ++i) fn(row, i, Width<1>{});
}

// With the width that the launcher found; T... are the dtypes of the operands.
template <class... T, class Load, class Store>
LANTERN_DEVICE void walk(const RowWalk& w, Load&& load, Store&& store) {
  constexpr int kWide = (sizeof(T) + ...) == 2 * sizeof...(T) ? 8 : 4;
  if (w.width == kWide) walkPacks<kWide>(w, load, store);
  else walkPacks<1>(w, load, store);
}
template <class... T, class F>
LANTERN_DEVICE void walkEach(const RowWalk& w, F&& fn) {
  constexpr int kWide = (sizeof(T) + ...) == 2 * sizeof...(T) ? 8 : 4;
  if (w.width == kWide) eachPack<kWide>(w, fn);
  else eachPack<1>(w, fn);
}

}  // namespace lantern::cuda
