// What the host computes once for all elements of an optimiser step.
#pragma once

namespace lantern::cuda {

struct AdamwFactors {  // the formula's factors, computed in double and rounded once
  double maxNorm;      // 0: no clipping
  float keep, beta1Rest, beta2, beta2Rest, stepSize, secondScale, eps;
};

}  // namespace lantern::cuda
