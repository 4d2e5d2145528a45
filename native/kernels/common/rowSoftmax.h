// The softmax of one row of logits that lies contiguously: loads, maximum and log-sum-exp.
#pragma once
#include <algorithm>
#include <cmath>

#include "divergenceMath.h"

namespace lantern::LANTERN_ISA {

// Logits i .. i + kLanes of a row of n: -inf becomes kLowest, what lies beyond the row something lower still, whose probability is 0.
template <class T>
LANTERN_INLINE vfloat loadLogits(const T* row, int64_t i, int64_t n) {
  const vfloat x = loadPart(row + i, n - i);
  const vfloat floored = x < kLowest ? splat(kLowest) : x;  // NaN passes through
  if (n - i >= kLanes) return floored;
  vint lane;
  for (int k = 0; k < kLanes; ++k) lane[k] = k;
  return select(lane < int32_t(n - i), floored, splat(2 * kLowest));
}

// The sum over a row of fn(i, k) for the vectors i of the row: float32 within 64 vectors, float64 beyond. N sums at a time.
template <int N, class F>
LANTERN_INLINE void sumRow(int64_t n, double (&out)[N], F&& fn) {
  for (double& x : out) x = 0;
  for (int64_t begin = 0; begin < n; begin += 64 * kLanes) {
    vfloat part[N] = {};
    for (int64_t i = begin; i < std::min(n, begin + 64 * kLanes); i += kLanes) fn(i, part);
    for (int k = 0; k < N; ++k) out[k] += sum(part[k]);
  }
}

struct RowSoftmax {
  float max;
  int64_t top;  // the first column that holds it
  double logZ;  // log sum e^((x - max) / T), from log1p of what is beside the largest term
};

template <class T>
RowSoftmax rowSoftmax(const T* row, int64_t n, float invT) {
  vfloat m = splat(2 * kLowest);
  for (int64_t i = 0; i < n; i += kLanes) m = lantern::LANTERN_ISA::max(m, loadLogits(row, i, n));
  const float largest = maxOf(m);
  double sums[2];
  sumRow(n, sums, [&](int64_t i, vfloat (&part)[2]) {
    const vfloat x = loadLogits(row, i, n);
    const vint ties = x == largest;
    part[0] += select(ties, splat(0.f), expNegative((x - largest) * invT));
    part[1] += select(ties, splat(1.f), splat(0.f));
  });
  int64_t top = 0;
  while (top + 1 < n && !(std::max(toFloat(row[top]), kLowest) == largest)) ++top;
  return {largest, top, std::log1p(sums[0] + (sums[1] - 1))};
}

}  // namespace lantern::LANTERN_ISA
