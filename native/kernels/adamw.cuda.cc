#include "adamw.h"

#include <cmath>

#include "adamwShape.h"
#include "common/launch.h"
#include "common/parameterTable.h"

namespace lantern::cuda {

namespace {

AdamwFactors factors(const AdamwParams& p) {
  AdamwFactors f;
  f.maxNorm = p.norm && p.maxNorm > 0 && std::isfinite(p.maxNorm) ? p.maxNorm : 0;
  f.keep = float(1 - p.learningRate * p.weightDecay);
  f.beta1Rest = float(1 - p.beta1);
  f.beta2 = float(p.beta2);
  f.beta2Rest = float(1 - p.beta2);
  f.stepSize = float(p.learningRate / (1 - std::pow(p.beta1, double(p.step))));
  f.secondScale = float(1 / std::sqrt(1 - std::pow(p.beta2, double(p.step))));
  f.eps = float(p.eps);
  return f;
}

}  // namespace

// How many elements the table's tensors have only the device knows: the grid fills it whatever they are.
Status adamw(const AdamwParams& p, Context& c) {
  if (p.tensors == 0) return Status::fine();
  return c.launch("adamw_update", {unsigned(c.multiprocessors * kTableBlocks)}, kTableThreads, 0, p, factors(p), c.fault());
}

}  // namespace lantern::cuda
