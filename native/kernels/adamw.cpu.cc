#include "adamw.h"

#include "common/parameterTable.h"
#include "common/split.h"

namespace lantern::LANTERN_ISA {

namespace {

struct Update {  // the formula's factors, computed in double and rounded once
  float clip, keep, beta1Rest, beta2, beta2Rest, stepSize, secondScale, eps;
  bool zeroGrad;
};

Update factors(const AdamwParams& p, float norm) {
  Update u;
  const bool clips = p.norm && p.maxNorm > 0 && std::isfinite(p.maxNorm);
  u.clip = clips ? float(std::min(1.0, p.maxNorm / (double(norm) + 1e-6))) : 1.f;
  u.keep = float(1 - p.learningRate * p.weightDecay);
  u.beta1Rest = float(1 - p.beta1);
  u.beta2 = float(p.beta2);
  u.beta2Rest = float(1 - p.beta2);
  u.stepSize = float(p.learningRate / (1 - std::pow(p.beta1, double(p.step))));
  u.secondScale = float(1 / std::sqrt(1 - std::pow(p.beta2, double(p.step))));
  u.eps = float(p.eps);
  u.zeroGrad = p.zeroGrad != 0;
  return u;
}

void updateBlock(const ParameterRow& row, int64_t begin, int64_t end, const Update& u) {
  bf16* copy = static_cast<bf16*>(row.copy);
  const float keep = row.decay ? u.keep : 1.f;
  eachVector(begin, end, [&](int64_t i, auto n) {
    const vfloat g = loadPart(row.grad + i, n) * u.clip;
    vfloat m = loadPart(row.m + i, n), v = loadPart(row.v + i, n), p = loadPart(row.parameter + i, n) * keep;
    m += u.beta1Rest * (g - m);
    v = u.beta2 * v + u.beta2Rest * (g * g);
    p -= u.stepSize * m / (sqrt(v) * u.secondScale + u.eps);
    storePart(row.m + i, m, n);
    storePart(row.v + i, v, n);
    storePart(row.parameter + i, p, n);
    if (copy) storePart(copy + i, p, n);
    if (u.zeroGrad) storePart(row.grad + i, vfloat{}, n);
  });
}

}  // namespace

Status adamw(const AdamwParams& p, Context& c) {
  const auto* rows = static_cast<const ParameterRow*>(p.table);
  auto* starts = static_cast<int64_t*>(c.workspace.shared(ParameterBlocks::bytes(p.tensors)));
  if (!starts) return Status::error(Code::outOfMemory, "adamw: no memory for the list of blocks");
  const ParameterBlocks blocks(rows, p.tensors, starts);
  const float norm = p.norm ? *p.norm : 0.f;
  if (!std::isfinite(norm)) return Status::fine();
  const Update u = factors(p, norm);

  c.pool.parallel(blocks.count(), [&](int64_t item, int) {
    blocks.visit(item, [&](const ParameterRow& row, int64_t begin, int64_t end) {
      updateBlock(row, begin, end, u);
    });
  });
  return Status::fine();
}

}  // namespace lantern::LANTERN_ISA
