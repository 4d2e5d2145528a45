#include "rmsNorm.h"

#include "common/residualRow.h"
#include "common/rowSums.h"

namespace lantern::LANTERN_ISA {

namespace {

template <class S, class T, class W>
void forwardRow(const RmsNormParams& p, int64_t row) {
  const int64_t n = p.cols;
  const ResidualRow<S, T> in(p, row);
  T* y = static_cast<T*>(p.y) + row * n;
  const W* weight = static_cast<const W*>(p.weight);

  vfloat square = {};
  eachVector(0, n, [&](int64_t i, auto left) {
    const vfloat h = in.first(i, left);
    square += h * h;
  });
  const float r = 1.f / std::sqrt(sum(square) / float(n) + float(p.eps));
  eachVector(0, n, [&](int64_t i, auto left) { storePart(y + i, in.again(i, left) * r * loadPart(weight + i, left), left); });
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

}  // namespace

Status rmsNorm(const RmsNormParams& p, Context& c) {
  return forNormTypes(p, [&](auto s, auto t, auto w) {
    parallelRows(c.pool, p.rows, p.cols, [&](int64_t row) { forwardRow<decltype(s), decltype(t), decltype(w)>(p, row); });
    return Status::fine();
  });
}

Status rmsNormBackward(const RmsNormBackwardParams& p, Context& c) {
  return forNormTypes(p, [&](auto s, auto t, auto w) {
    return sumOverRows("rmsNormBackward", c, p.rows, p.cols, std::array{p.dweight}, [&](int64_t row, const std::array<float*, 1>& sums) {
      backwardRow<decltype(s), decltype(t), decltype(w)>(p, row, sums[0]);
    });
  });
}

}  // namespace lantern::LANTERN_ISA
