// Sums of gathered gradients over runs of equal ids (sortIds.h).
#pragma once
#include "rowWalk.cuh"

namespace lantern::cuda {

// The first place in sorted ids [begin, end) that is not below `id`.
LANTERN_DEVICE int64_t lowerBound(const int32_t* ids, int64_t begin, int64_t end, int64_t id) {
  while (begin < end) {
    const int64_t middle = begin + (end - begin) / 2;
    if (ids[middle] < id) begin = middle + 1;
    else end = middle;
  }
  return begin;
}

// The end of the run that `begin` is in. Most runs are short: steps double until one is past the end.
LANTERN_DEVICE int64_t runEnd(const int32_t* ids, int64_t begin, int64_t count) {
  const int64_t id = ids[begin];
  int64_t last = begin, step = 1;
  for (; last + step < count && ids[last + step] == id; step *= 2) last += step;
  return lowerBound(ids, last + 1, min(last + step, count), id + 1);
}

// total += x[positions[i], col ...] for i in [begin, end), one after the other; the loads of several rows are in flight together.
template <int kWidth, class T>
LANTERN_DEVICE void addRun(Floats<kWidth>& total, const T* x, const int32_t* positions, int64_t begin, int64_t end, int64_t cols, int64_t col) {
  constexpr int kRows = 8;
  int64_t i = begin;
  for (; i + kRows <= end; i += kRows) {
    Pack<kWidth, T> rows[kRows];
#pragma unroll
    for (int r = 0; r < kRows; ++r) rows[r] = fetch<kWidth>(x + positions[i + r] * cols + col);
#pragma unroll
    for (int r = 0; r < kRows; ++r)
      for (int k = 0; k < kWidth; ++k) total.x[k] += toFloat(rows[r].x[k]);
  }
  for (; i < end; ++i) {
    const Floats<kWidth> row = load<kWidth>(x + positions[i] * cols + col);
    for (int k = 0; k < kWidth; ++k) total.x[k] += row.x[k];
  }
}

}  // namespace lantern::cuda
