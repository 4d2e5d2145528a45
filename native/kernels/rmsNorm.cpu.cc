#include "rmsNorm.h"

#include <algorithm>

#include "common/rowSums.h"
#include "common/split.h"
#include "common/types.h"

namespace lantern::LANTERN_ISA {

namespace {

constexpr int64_t kRowsPerItem = 16;

template <class S, class T, class W>
void forwardRow(const RmsNormParams& p, int64_t row) {
  const int64_t n = p.cols;
  const S* stream = static_cast<const S*>(p.stream) + row * n;
  const T* x = p.x ? static_cast<const T*>(p.x) + row * n : nullptr;
  T* y = static_cast<T*>(p.y) + row * n;
  S* sumOut = p.sum ? static_cast<S*>(p.sum) + row * n : nullptr;
  const W* weight = static_cast<const W*>(p.weight);

  vfloat square = {};
  const auto added = [&](int64_t i, int64_t left) {
    const vfloat h = loadPart(stream + i, left);
    return x ? h + loadPart(x + i, left) : h;
  };
  eachVector(0, n, [&](int64_t i, auto left) {
    vfloat h = added(i, left);
    if (sumOut) {
      storePart(sumOut + i, h, left);
      h = loadPart(sumOut + i, left);  // the backward sees the stored value, so the forward normalises that one
    }
    square += h * h;
  });
  const float r = 1.f / std::sqrt(sum(square) / float(n) + float(p.eps));
  eachVector(0, n, [&](int64_t i, auto left) {
    const vfloat h = sumOut ? loadPart(sumOut + i, left) : added(i, left);
    storePart(y + i, h * r * loadPart(weight + i, left), left);
  });
  if (p.rstd) p.rstd[row] = r;
}

template <class S, class T, class W>
void backwardRow(const RmsNormBackwardParams& p, int64_t row, float* dweight) {
  const int64_t n = p.cols;
  const T* dy = static_cast<const T*>(p.dy) + row * n;
  const S* dsum = p.dsum ? static_cast<const S*>(p.dsum) + row * n : nullptr;
  const S* h = static_cast<const S*>(p.h) + row * n;
  S* dh = static_cast<S*>(p.dh) + row * n;
  T* dx = p.dx ? static_cast<T*>(p.dx) + row * n : nullptr;
  const W* weight = static_cast<const W*>(p.weight);
  const float r = p.rstd[row];

  vfloat dot = {};
  eachVector(0, n, [&](int64_t i, auto left) { dot += loadPart(dy + i, left) * loadPart(weight + i, left) * loadPart(h + i, left); });
  const float c = sum(dot) * r * r * r / float(n);
  eachVector(0, n, [&](int64_t i, auto left) {
    const vfloat g = loadPart(dy + i, left), v = loadPart(h + i, left);
    vfloat d = g * loadPart(weight + i, left) * r - v * c;
    if (dsum) d += loadPart(dsum + i, left);
    storePart(dh + i, d, left);
    if (dx) storePart(dx + i, d, left);
    if (dweight) storePart(dweight + i, loadPart(dweight + i, left) + g * v * r, left);
  });
}

template <class P, class F>
Status forAll(const P& p, F&& fn) {
  return forType(p.streamDtype, [&](auto s) { return forTypes(p.dtype, p.weightDtype, [&](auto t, auto w) { return fn(s, t, w); }); });
}

}  // namespace

Status rmsNorm(const RmsNormParams& p, Context& c) {
  return forAll(p, [&](auto s, auto t, auto w) {
    c.pool.parallel((p.rows + kRowsPerItem - 1) / kRowsPerItem, [&](int64_t item, int) {
      const int64_t end = std::min(p.rows, (item + 1) * kRowsPerItem);
      for (int64_t row = item * kRowsPerItem; row < end; ++row) forwardRow<decltype(s), decltype(t), decltype(w)>(p, row);
    });
    return Status::fine();
  });
}

Status rmsNormBackward(const RmsNormBackwardParams& p, Context& c) {
  return forAll(p, [&](auto s, auto t, auto w) {
    return sumOverRows("rmsNormBackward", c, p.rows, p.cols, std::array{p.dweight}, [&](int64_t row, const std::array<float*, 1>& sums) {
      backwardRow<decltype(s), decltype(t), decltype(w)>(p, row, sums[0]);
    });
  });
}

}  // namespace lantern::LANTERN_ISA
