#include "crossEntropy.h"

#include <string>

#include "common/rowSoftmax.h"
#include "common/types.h"

namespace lantern::LANTERN_ISA {

namespace {

struct RowResult {
  double loss;
  bool correct;
};

vfloat weights(const CrossEntropyParams& p, int64_t i) {
  return p.classWeights ? loadPart(p.classWeights + i, p.classes - i) : splat(1.f);
}

template <class T>
RowResult labelRow(const CrossEntropyParams& p, int64_t row) {
  const int64_t n = p.classes, label = p.labels[row];
  const T* x = static_cast<const T*>(p.logits) + row * n;
  const RowSoftmax s = rowSoftmax(x, n, 1.f);
  const double weight = p.classWeights ? p.classWeights[label] : 1;
  const double value = s.logZ - (double(std::max(toFloat(x[label]), kLowest)) - double(s.max));
  if (p.dlogits) {
    T* d = static_cast<T*>(p.dlogits) + row * n;
    const float scale = float(p.scale * weight), logZ = float(s.logZ);
    for (int64_t i = 0; i < n; i += kLanes) storePart(d + i, scale * expNegative((loadLogits(x, i, n) - s.max) - logZ), n - i);
    d[label] = fromFloat<T>(float(p.scale * weight * std::expm1(-value)));
  }
  return {weight * value, s.top == label};
}

template <class T, class Q>
RowResult targetRow(const CrossEntropyParams& p, int64_t row) {
  const int64_t n = p.classes;
  const T* x = static_cast<const T*>(p.logits) + row * n;
  const Q* q = static_cast<const Q*>(p.targets) + row * n;
  const RowSoftmax s = rowSoftmax(x, n, 1.f);
  double value = 0, mass = 0;
  int64_t best = 0;
  for (int64_t i = 0; i < n; ++i) {
    const double target = toFloat(q[i]), weighted = target * (p.classWeights ? p.classWeights[i] : 1.f);
    mass += weighted;
    if (target > 0) value += weighted * (std::log(target) - ((double(std::max(toFloat(x[i]), kLowest)) - double(s.max)) - s.logZ));
    if (toFloat(q[i]) > toFloat(q[best])) best = i;
  }
  if (p.dlogits) {
    T* d = static_cast<T*>(p.dlogits) + row * n;
    const float scale = float(p.scale), total = float(mass), logZ = float(s.logZ);
    for (int64_t i = 0; i < n; i += kLanes) {
      const vfloat prob = expNegative((loadLogits(x, i, n) - s.max) - logZ);
      storePart(d + i, scale * (total * prob - weights(p, i) * loadPart(q + i, n - i)), n - i);
    }
  }
  return {value, s.top == best};
}

}  // namespace

Status crossEntropy(const CrossEntropyParams& p, Context& c) {
  if (p.labels)
    for (int64_t row = 0; row < p.rows; ++row)
      if (p.labels[row] != p.ignoreIndex && (p.labels[row] < 0 || p.labels[row] >= p.classes))
        return Status::error(Code::outOfRange, "crossEntropy: label " + std::to_string(p.labels[row]) + " of row " + std::to_string(row) +
                                                   " is not one of " + std::to_string(p.classes) +
                                                   " classes; check the labels, or use the ignore index for rows without one");
  auto* results = static_cast<RowResult*>(c.workspace.shared(size_t(p.rows + 1) * sizeof(RowResult)));
  if (!results) return Status::error(Code::outOfMemory, "crossEntropy: no memory for one number per row; free some");
  const Status status = forTypes(p.dtype, p.targets ? p.targetsDtype : int64_t(kFloat32), [&](auto t, auto q) {
    using T = decltype(t);
    c.pool.parallel(p.rows, [&](int64_t row, int) {
      if (p.targets) results[row] = targetRow<T, decltype(q)>(p, row);
      else if (p.labels[row] != p.ignoreIndex) results[row] = labelRow<T>(p, row);
      else if (p.dlogits) memset(static_cast<T*>(p.dlogits) + row * p.classes, 0, size_t(p.classes) * sizeof(T));
    });
    return Status::fine();
  });
  if (!status.ok()) return status;
  double total = 0;
  int64_t correct = 0, valid = 0;
  for (int64_t row = 0; row < p.rows; ++row) {
    if (p.labels && p.labels[row] == p.ignoreIndex) continue;
    total += results[row].loss;
    correct += results[row].correct;
    ++valid;
  }
  p.parts[0] = float(total);
  p.parts[1] = float(correct);
  p.parts[2] = float(valid);
  *p.loss = float(p.scale * total);
  return Status::fine();
}

}  // namespace lantern::LANTERN_ISA
