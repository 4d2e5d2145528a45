// How element-wise and row-wise kernels are cut into items of a pool: about 64 KiB of float32 each, by sizes alone, never by the number of
// threads, so that results that depend on the cut (partial sums) are the same on any machine.
#pragma once
#include <algorithm>
#include <type_traits>

#include "kernel.h"
#include "simd.h"

namespace lantern::LANTERN_ISA {

constexpr int64_t kItemElements = 16384;

// fn(i, left) for every vector of [begin, end): left is the constant kLanes but for the last one, so that loadPart and storePart are plain
// loads and stores in the loop.
template <class F>
LANTERN_INLINE void eachVector(int64_t begin, int64_t end, F&& fn) {
  int64_t i = begin;
  for (; i + kLanes <= end; i += kLanes) fn(i, std::integral_constant<int64_t, kLanes>{});
  if (i < end) fn(i, end - i);
}

// fn(begin, end) over [0, n); every begin is a multiple of kItemElements.
template <class F>
void parallelRange(Pool& pool, int64_t n, F&& fn) {
  pool.parallel((n + kItemElements - 1) / kItemElements, [&](int64_t item, int) {
    fn(item * kItemElements, std::min(n, (item + 1) * kItemElements));
  });
}

// fn(row) over [0, rows), rows of `cols` elements grouped into items.
template <class F>
void parallelRows(Pool& pool, int64_t rows, int64_t cols, F&& fn) {
  const int64_t size = std::max<int64_t>(1, kItemElements / std::max<int64_t>(1, cols));
  pool.parallel((rows + size - 1) / size, [&](int64_t item, int) {
    const int64_t end = std::min(rows, (item + 1) * size);
    for (int64_t row = item * size; row < end; ++row) fn(row);
  });
}

// fn(row, begin, end) over [0, rows) x [0, cols), the columns cut into blocks of `width`.
template <class F>
void parallelColumns(Pool& pool, int64_t rows, int64_t cols, int64_t width, F&& fn) {
  const int64_t blocks = (cols + width - 1) / width;
  pool.parallel(rows * blocks, [&](int64_t item, int) {
    const int64_t begin = item % blocks * width;
    fn(item / blocks, begin, std::min(cols, begin + width));
  });
}

}  // namespace lantern::LANTERN_ISA
