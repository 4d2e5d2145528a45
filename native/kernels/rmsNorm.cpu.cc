#include "rmsNorm.h"

#include <algorithm>

#include "common/simd.h"
#include "common/types.h"

namespace lantern::LANTERN_ISA {

namespace {

constexpr int64_t kRowsPerItem = 16;

template <class T, class W>
void forwardRow(const RmsNormParams& p, int64_t row) {
  const int64_t n = p.cols;
  const T* x = static_cast<const T*>(p.x) + row * n;
  const T* residual = p.residual ? static_cast<const T*>(p.residual) + row * n : nullptr;
  T* y = static_cast<T*>(p.y) + row * n;
  T* sumOut = p.sum ? static_cast<T*>(p.sum) + row * n : nullptr;
  const W* weight = static_cast<const W*>(p.weight);

  vfloat square[2] = {};
  for (int64_t i = 0, k = 0; i < n; i += kLanes, k ^= 1) {
    vfloat h = loadPart(x + i, n - i);
    if (residual) h += loadPart(residual + i, n - i);
    if (sumOut) {
      storePart(sumOut + i, h, n - i);
      h = loadPart(sumOut + i, n - i);  // the backward sees the stored value, so the forward normalises that one
    }
    square[k] += h * h;
  }
  const float r = 1.f / std::sqrt(sum(square[0] + square[1]) / float(n) + float(p.eps));
  const T* h = sumOut ? sumOut : x;
  for (int64_t i = 0; i < n; i += kLanes) {
    vfloat v = loadPart(h + i, n - i);
    if (residual && !sumOut) v += loadPart(residual + i, n - i);
    storePart(y + i, v * r * loadPart(weight + i, n - i), n - i);
  }
  if (p.rstd) p.rstd[row] = r;
}

template <class T, class W>
void backwardRow(const RmsNormBackwardParams& p, int64_t row, float* dweight) {
  const int64_t n = p.cols;
  const T* dy = static_cast<const T*>(p.dy) + row * n;
  const T* dsum = p.dsum ? static_cast<const T*>(p.dsum) + row * n : nullptr;
  const T* h = static_cast<const T*>(p.h) + row * n;
  T* dh = static_cast<T*>(p.dh) + row * n;
  const W* weight = static_cast<const W*>(p.weight);
  const float r = p.rstd[row];

  vfloat dot[2] = {};
  for (int64_t i = 0, k = 0; i < n; i += kLanes, k ^= 1)
    dot[k] += loadPart(dy + i, n - i) * loadPart(weight + i, n - i) * loadPart(h + i, n - i);
  const float c = sum(dot[0] + dot[1]) * r * r * r / float(n);
  for (int64_t i = 0; i < n; i += kLanes) {
    const vfloat g = loadPart(dy + i, n - i), x = loadPart(h + i, n - i);
    vfloat d = g * loadPart(weight + i, n - i) * r - x * c;
    if (dsum) d += loadPart(dsum + i, n - i);
    storePart(dh + i, d, n - i);
    if (dweight) storePart(dweight + i, loadPart(dweight + i, n - i) + g * x * r, n - i);
  }
}

}  // namespace

Status rmsNorm(const RmsNormParams& p, Context& c) {
  return forTypes(p.dtype, p.weightDtype, [&](auto t, auto w) {
    c.pool.parallel((p.rows + kRowsPerItem - 1) / kRowsPerItem, [&](int64_t item, int) {
      const int64_t end = std::min(p.rows, (item + 1) * kRowsPerItem);
      for (int64_t row = item * kRowsPerItem; row < end; ++row) forwardRow<decltype(t), decltype(w)>(p, row);
    });
    return Status::fine();
  });
}

// The weight gradient is summed over blocks of rows whose number depends on the sizes alone, then over the blocks in order.
Status rmsNormBackward(const RmsNormBackwardParams& p, Context& c) {
  const int64_t blocks = std::clamp<int64_t>(p.rows / 64, 1, 16), size = (p.rows + blocks - 1) / blocks;
  float* partial = nullptr;
  if (p.dweight) {
    partial = static_cast<float*>(c.workspace.shared(size_t(blocks * p.cols) * sizeof(float)));
    if (!partial) return Status::error(Code::outOfMemory, "rmsNormBackward: no memory for the partial weight gradients");
  }
  return forTypes(p.dtype, p.weightDtype, [&](auto t, auto w) {
    c.pool.parallel(blocks, [&](int64_t block, int) {
      float* dweight = partial ? partial + block * p.cols : nullptr;
      if (dweight) std::fill_n(dweight, p.cols, 0.f);
      const int64_t end = std::min(p.rows, (block + 1) * size);
      for (int64_t row = block * size; row < end; ++row) backwardRow<decltype(t), decltype(w)>(p, row, dweight);
    });
    if (partial)
      for (int64_t block = 0; block < blocks; ++block)
        for (int64_t i = 0; i < p.cols; ++i) p.dweight[i] += partial[block * p.cols + i];
    return Status::fine();
  });
}

}  // namespace lantern::LANTERN_ISA
