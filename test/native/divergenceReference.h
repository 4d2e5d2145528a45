// The divergences straight from their definitions, in double.
#pragma once
#include <algorithm>
#include <cmath>
#include <vector>

#include "../../native/kernels/common/divergenceMath.h"

namespace lantern::test {

// Log softmax of the first `count` logits at a temperature.
inline std::vector<double> logProbabilities(const std::vector<double>& logits, int64_t count, double temperature) {
  double total = 0, largest = -INFINITY;
  std::vector<double> l(logits.begin(), logits.begin() + count);
  for (double& x : l) largest = std::max(largest, x /= temperature);
  for (const double x : l) total += std::exp(x - largest);
  for (double& x : l) x -= largest + std::log(total);
  return l;
}

// Student s and teacher t as log probabilities.
inline double divergence(const std::vector<double>& s, const std::vector<double>& t, int64_t kind, double beta) {
  double d = 0;
  for (size_t i = 0; i < s.size(); ++i) {
    const double p = std::exp(t[i]), q = std::exp(s[i]), m = std::log(beta * p + (1 - beta) * q);
    if (kind == kForwardKL || kind == kSymmetricKL) d += p * (t[i] - s[i]);
    if (kind == kReverseKL || kind == kSymmetricKL) d += q * (s[i] - t[i]);
    if (kind == kGeneralizedJS) d += beta * p * (t[i] - m) + (1 - beta) * q * (s[i] - m);
    if (kind == kTotalVariation) d += 0.5 * std::fabs(p - q);
  }
  return d;
}

}  // namespace lantern::test
