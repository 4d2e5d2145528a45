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
  const float keep = row.decay ? f.keep : 1.f, zeros[4] = {};
  for (int64_t i = begin + 4 * threadIdx.x; i < end; i += 4 * kTableThreads) {
    float g[4], m[4], v[4], p[4];
    loadFour(row.grad + i, wide, end - i, g);
    loadFour(row.m + i, wide, end - i, m);
    loadFour(row.v + i, wide, end - i, v);
    loadFour(row.parameter + i, wide, end - i, p);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      g[k] *= clip;
      m[k] += f.beta1Rest * (g[k] - m[k]);
      v[k] = f.beta2 * v[k] + f.beta2Rest * (g[k] * g[k]);
      p[k] = p[k] * keep - f.stepSize * m[k] / (sqrtf(v[k]) * f.secondScale + f.eps);
    }
    storeFour(row.m + i, wide, end - i, m);
    storeFour(row.v + i, wide, end - i, v);
    storeFour(row.parameter + i, wide, end - i, p);
    if (row.copy) storeFour(static_cast<bf16*>(row.copy) + i, wide, end - i, p);
    if (zeroGrad) storeFour(row.grad + i, wide, end - i, zeros);
  }
}

}  // namespace lantern::cuda

using namespace lantern;
using namespace lantern::cuda;

extern "C" __global__ void __launch_bounds__(kTableThreads, kTableBlocks) adamw_update(const __grid_constant__ AdamwParams p, const __grid_constant__ AdamwFactors f) {
  const float norm = p.norm ? *p.norm : 0.f;
  if (!isfinite(norm)) return;
  const float clip = f.maxNorm > 0 ? float(fmin(1.0, f.maxNorm / (double(norm) + 1e-6))) : 1.f;
  eachParameterBlock(static_cast<const ParameterRow*>(p.table), p.tensors, [&](const ParameterRow& row, int64_t begin, int64_t end) {
    updateBlock(row, begin, end, f, clip, p.zeroGrad != 0);
  });
}
