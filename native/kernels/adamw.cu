// All tensors in one launch; a thread takes four neighbouring elements at a time.
#include "adamw.h"
#include "adamwShape.h"
#include "common/parameterTable.cuh"

namespace lantern::cuda {

LANTERN_DEVICE bool aligned(const ParameterRow& row) {
  const auto bits = [](const void* p) { return reinterpret_cast<uintptr_t>(p); };
  return ((bits(row.parameter) | bits(row.grad) | bits(row.m) | bits(row.v)) & 15) == 0 && (bits(row.copy) & 7) == 0;
}

LANTERN_DEVICE void updateBlock(const ParameterRow& row, int64_t begin, int64_t end, const AdamwFactors& f, float clip, bool zeroGrad) {
  const bool wide = aligned(row);
  const float keep = row.decay ? f.keep : 1.f;
  for (int64_t i = begin + 4 * threadIdx.x; i < end; i += 4 * kTableThreads) {
    const int64_t left = end - i;
    const Floats<4> grad = loadFour(row.grad + i, wide, left);
    Floats<4> m = loadFour(row.m + i, wide, left), v = loadFour(row.v + i, wide, left), p = loadFour(row.parameter + i, wide, left);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const float g = grad.x[k] * clip;
      m.x[k] += f.beta1Rest * (g - m.x[k]);
      v.x[k] = f.beta2 * v.x[k] + f.beta2Rest * (g * g);
      p.x[k] = p.x[k] * keep - f.stepSize * m.x[k] / (sqrtf(v.x[k]) * f.secondScale + f.eps);
    }
    storeFour(row.m + i, wide, left, m);
    storeFour(row.v + i, wide, left, v);
    storeFour(row.parameter + i, wide, left, p);
    if (row.copy) storeFour(static_cast<bf16*>(row.copy) + i, wide, left, p);
    if (zeroGrad) storeFour(row.grad + i, wide, left, Floats<4>{});
  }
}

}  // namespace lantern::cuda

using namespace lantern;
using namespace lantern::cuda;

extern "C" __global__ void __launch_bounds__(kTableThreads, kTableBlocks) adamw_update(
    const __grid_constant__ AdamwParams p, const __grid_constant__ AdamwFactors f, const Fault* fault) {
  const float norm = p.norm ? *p.norm : 0.f;
  if (!isfinite(norm)) return;
  if (fault->taken) return;  // these gradients are of data that nobody meant
  const float clip = f.maxNorm > 0 ? float(fmin(1.0, f.maxNorm / (double(norm) + 1e-6))) : 1.f;
  eachParameterBlock(static_cast<const ParameterRow*>(p.table), p.tensors, [&](const ParameterRow& row, int64_t begin, int64_t end) {
    updateBlock(row, begin, end, f, clip, p.zeroGrad != 0);
  });
}
