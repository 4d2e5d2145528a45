// The divergences by number, as lib/ops/divergence.ts has them, and what of their options the formulae take.
#pragma once
#include <cmath>
#include <cstdint>

namespace lantern {

enum DivergenceKind : int64_t { kNone = 0, kForwardKL = 1, kReverseKL = 2, kSymmetricKL = 3, kGeneralizedJS = 4, kTotalVariation = 5 };

struct DivergenceScalars {
  float invT, beta, logRest;  // 1 / T, beta, log(1 - beta)
};
inline DivergenceScalars divergenceScalars(double temperature, double beta) {
  return {float(1 / temperature), float(beta), float(std::log1p(-beta))};
}

}  // namespace lantern
