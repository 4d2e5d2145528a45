#include "gradNorm.h"

#include "common/launch.h"
#include "common/parameterTable.h"

namespace lantern::cuda {

namespace {

constexpr int kBlocks = 512;  // the same on every device, so that the sum has the same bits; about four for each multiprocessor of the large ones

}  // namespace

Status gradNorm(const GradNormParams& p, Context& c) {
  double* partial = static_cast<double*>(c.workspace(kBlocks * sizeof(double)));
  if (!partial) return noWorkspace("gradNorm");
  LANTERN_TRY(c.launch("gradNorm_squares", {unsigned(kBlocks)}, kTableThreads, 0, p, partial));
  return c.launch("gradNorm_total", {1}, kTableThreads, 0, partial, kBlocks, p.norm);
}

}  // namespace lantern::cuda
