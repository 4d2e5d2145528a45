#include "layerNorm.h"

#include <algorithm>

#include "common/residualRow.h"
#include "common/rowSums.h"

namespace lantern::LANTERN_ISA {

namespace {

// v with 0 in the lanes beyond the row.
LANTERN_INLINE vfloat within(vfloat v, int64_t left) {
  for (int64_t i = left; i < kLanes; ++i) v[i] = 0;
  return v;
}

template <class S, class T, class W>
void forwardRow(const LayerNormParams& p, int64_t row) {
  const int64_t n = p.cols;
  const ResidualRow<S, T> in(p, row);
  T* y = static_cast<T*>(p.y) + row * n;
  const W *weight = static_cast<const W*>(p.weight), *bias = static_cast<const W*>(p.bias);

  vfloat total = {};
  eachVector(0, n, [&](int64_t i, auto left) { total += in.first(i, left); });
  const float c = sum(total) / float(n);
  vfloat rest = {}, square = {};
  eachVector(0, n, [&](int64_t i, auto left) {
    const vfloat v = within(in.again(i, left) - c, left);
    rest += v;
    square += v * v;
  });
  const float d = sum(rest) / float(n), r = 1.f / std::sqrt(std::max(sum(square) / float(n) - d * d, 0.f) + float(p.eps));
  eachVector(0, n, [&](int64_t i, auto left) {
    const vfloat v = (in.again(i, left) - c - d) * r * loadPart(weight + i, left);
    storePart(y + i, bias ? v + loadPart(bias + i, left) : v, left);
  });
  if (p.mean) p.mean[2 * row] = c, p.mean[2 * row + 1] = d;
  if (p.rstd) p.rstd[row] = r;
}

template <class S, class T, class W>
void backwardRow(const LayerNormBackwardParams& p, int64_t row, float* dweight, float* dbias) {
  const int64_t n = p.cols;
  const T* dy = static_cast<const T*>(p.dy) + row * n;
  const S* dsum = p.dsum ? static_cast<const S*>(p.dsum) + row * n : nullptr;
  const S* h = static_cast<const S*>(p.h) + row * n;
  S* dh = static_cast<S*>(p.dh) + row * n;
  T* dx = p.dx ? static_cast<T*>(p.dx) + row * n : nullptr;
  const W* weight = static_cast<const W*>(p.weight);
  const float c = p.mean[2 * row], d = p.mean[2 * row + 1], r = p.rstd[row];

  vfloat total = {}, dot = {};
  eachVector(0, n, [&](int64_t i, auto left) {
    const vfloat g = loadPart(dy + i, left) * loadPart(weight + i, left);  // 0 beyond the row
    total += g;
    dot += g * (loadPart(h + i, left) - c - d);
  });
  const float a = sum(total) / float(n), b = sum(dot) * r / float(n);
  eachVector(0, n, [&](int64_t i, auto left) {
    const vfloat g = loadPart(dy + i, left), z = (loadPart(h + i, left) - c - d) * r;
    vfloat v = (g * loadPart(weight + i, left) - a - z * b) * r;
    if (dsum) v += loadPart(dsum + i, left);
    storePart(dh + i, v, left);
    if (dx) storePart(dx + i, v, left);
    if (dweight) storePart(dweight + i, loadPart(dweight + i, left) + g * z, left);
    if (dbias) storePart(dbias + i, loadPart(dbias + i, left) + g, left);
  });
}

}  // namespace

Status layerNorm(const LayerNormParams& p, Context& c) {
  return forNormTypes(p, [&](auto s, auto t, auto w) {
    parallelRows(c.pool, p.rows, p.cols, [&](int64_t row) { forwardRow<decltype(s), decltype(t), decltype(w)>(p, row); });
    return Status::fine();
  });
}

Status layerNormBackward(const LayerNormBackwardParams& p, Context& c) {
  return forNormTypes(p, [&](auto s, auto t, auto w) {
    return sumOverRows("layerNormBackward", c, p.rows, p.cols, std::array{p.dweight, p.dbias}, [&](int64_t row, const std::array<float*, 2>& sums) {
      backwardRow<decltype(s), decltype(t), decltype(w)>(p, row, sums[0], sums[1]);
    });
  });
}

}  // namespace lantern::LANTERN_ISA
