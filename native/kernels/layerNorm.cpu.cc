#include "layerNorm.h"

#include <algorithm>

#include "common/split.h"
#include "common/types.h"

namespace lantern::LANTERN_ISA {

namespace {

constexpr int64_t kRowsPerItem = 16;

// v in the first n lanes, 0 in the others.
LANTERN_INLINE vfloat firstLanes(vfloat v, int64_t n) {
  if (n == kLanes) return v;
  float lanes[kLanes];
  storePart(lanes, v, n);
  return loadPart(static_cast<const float*>(lanes), n);
}

template <class S, class T, class W>
void forwardRow(const LayerNormParams& p, int64_t row) {
  const int64_t n = p.cols;
  const S* stream = static_cast<const S*>(p.stream) + row * n;
  const T* x = p.x ? static_cast<const T*>(p.x) + row * n : nullptr;
  T* y = static_cast<T*>(p.y) + row * n;
  S* sumOut = p.sum ? static_cast<S*>(p.sum) + row * n : nullptr;
  const W* weight = static_cast<const W*>(p.weight);
  const W* bias = static_cast<const W*>(p.bias);

  const auto added = [&](int64_t i, int64_t left) {
    const vfloat h = loadPart(stream + i, left);
    return x ? h + loadPart(x + i, left) : h;
  };
  const auto again = [&](int64_t i, int64_t left) { return sumOut ? loadPart(sumOut + i, left) : added(i, left); };
  vfloat total = {};
  eachVector(0, n, [&](int64_t i, auto left) {
    vfloat h = added(i, left);
    if (sumOut) {
      storePart(sumOut + i, h, left);
      h = loadPart(sumOut + i, left);  // the backward sees the stored value, so the forward normalises that one
    }
    total += h;
  });
  const float mean = sum(total) / float(n);
  vfloat rest = {}, square = {};
  eachVector(0, n, [&](int64_t i, auto left) {
    const vfloat c = firstLanes(again(i, left) - mean, left);
    rest += c, square += c * c;
  });
  const float left = sum(rest) / float(n);  // what the rounded mean leaves over
  const float r = 1.f / std::sqrt(std::max(0.f, sum(square) / float(n) - left * left) + float(p.eps));
  eachVector(0, n, [&](int64_t i, auto part) {
    vfloat v = (again(i, part) - mean - left) * r * loadPart(weight + i, part);
    if (bias) v += loadPart(bias + i, part);
    storePart(y + i, v, part);
  });
  if (p.mean) p.mean[row] = mean + left;
  if (p.rstd) p.rstd[row] = r;
}

// Gradients of weight and bias over a block of rows; null where they are not wanted.
struct Partial {
  float* weight;
  float* bias;
};

template <class S, class T, class W>
void backwardRow(const LayerNormBackwardParams& p, int64_t row, Partial partial) {
  const int64_t n = p.cols;
  const T* dy = static_cast<const T*>(p.dy) + row * n;
  const S* dsum = p.dsum ? static_cast<const S*>(p.dsum) + row * n : nullptr;
  const S* h = static_cast<const S*>(p.h) + row * n;
  S* dh = static_cast<S*>(p.dh) + row * n;
  T* dx = p.dx ? static_cast<T*>(p.dx) + row * n : nullptr;
  const W* weight = static_cast<const W*>(p.weight);
  const float m = p.mean[row], r = p.rstd[row];

  vfloat total = {}, dot = {};
  eachVector(0, n, [&](int64_t i, auto left) {
    const vfloat g = loadPart(dy + i, left) * loadPart(weight + i, left);
    total += g, dot += g * (loadPart(h + i, left) - m);
  });
  const float mean = sum(total) / float(n), slope = sum(dot) * r / float(n);
  eachVector(0, n, [&](int64_t i, auto left) {
    const vfloat g = loadPart(dy + i, left), z = (loadPart(h + i, left) - m) * r;
    vfloat d = (g * loadPart(weight + i, left) - mean - z * slope) * r;
    if (dsum) d += loadPart(dsum + i, left);
    storePart(dh + i, d, left);
    if (dx) storePart(dx + i, d, left);
    if (partial.weight) storePart(partial.weight + i, loadPart(partial.weight + i, left) + g * z, left);
    if (partial.bias) storePart(partial.bias + i, loadPart(partial.bias + i, left) + g, left);
  });
}

template <class P, class F>
Status forAll(const P& p, F&& fn) {
  return forType(p.streamDtype, [&](auto s) { return forTypes(p.dtype, p.weightDtype, [&](auto t, auto w) { return fn(s, t, w); }); });
}

void addBlocks(float* total, const float* partial, int64_t blocks, int64_t cols) {
  for (int64_t block = 0; block < blocks; ++block)
    for (int64_t i = 0; i < cols; ++i) total[i] += partial[block * cols + i];
}

}  // namespace

Status layerNorm(const LayerNormParams& p, Context& c) {
  return forAll(p, [&](auto s, auto t, auto w) {
    c.pool.parallel((p.rows + kRowsPerItem - 1) / kRowsPerItem, [&](int64_t item, int) {
      const int64_t end = std::min(p.rows, (item + 1) * kRowsPerItem);
      for (int64_t row = item * kRowsPerItem; row < end; ++row) forwardRow<decltype(s), decltype(t), decltype(w)>(p, row);
    });
    return Status::fine();
  });
}

// The gradients of weight and bias are summed over blocks of rows whose number depends on the sizes alone, then over the blocks in order.
Status layerNormBackward(const LayerNormBackwardParams& p, Context& c) {
  const int64_t blocks = std::clamp<int64_t>(p.rows / 64, 1, 16), size = (p.rows + blocks - 1) / blocks, each = blocks * p.cols;
  const int64_t wanted = (p.dweight ? each : 0) + (p.dbias ? each : 0);
  float* partial = wanted ? static_cast<float*>(c.workspace.shared(size_t(wanted) * sizeof(float))) : nullptr;
  if (wanted && !partial) return Status::error(Code::outOfMemory, "layerNormBackward: no memory for the partial weight gradients");
  float* weights = p.dweight ? partial : nullptr;
  float* biases = p.dbias ? partial + (p.dweight ? each : 0) : nullptr;
  std::fill_n(partial, wanted, 0.f);
  return forAll(p, [&](auto s, auto t, auto w) {
    c.pool.parallel(blocks, [&](int64_t block, int) {
      const Partial own{weights ? weights + block * p.cols : nullptr, biases ? biases + block * p.cols : nullptr};
      const int64_t end = std::min(p.rows, (block + 1) * size);
      for (int64_t row = block * size; row < end; ++row) backwardRow<decltype(s), decltype(t), decltype(w)>(p, row, own);
    });
    if (weights) addBlocks(p.dweight, weights, blocks, p.cols);
    if (biases) addBlocks(p.dbias, biases, blocks, p.cols);
    return Status::fine();
  });
}

}  // namespace lantern::LANTERN_ISA
