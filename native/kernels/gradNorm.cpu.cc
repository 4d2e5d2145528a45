#include "gradNorm.h"

#include "common/parameterTable.h"

namespace lantern::LANTERN_ISA {

namespace {

constexpr int kHalf = kLanes / 2;
typedef double vdouble __attribute__((vector_size(8 * kHalf)));
typedef float vhalfFloats __attribute__((vector_size(4 * kHalf), aligned(4), may_alias));

double squares(const float* x, int64_t n) {
  vdouble total[4] = {};
  int64_t i = 0;
  for (; i + 4 * kHalf <= n; i += 4 * kHalf)
    for (int k = 0; k < 4; ++k) {
      const vdouble v = __builtin_convertvector(*reinterpret_cast<const vhalfFloats*>(x + i + k * kHalf), vdouble);
      total[k] += v * v;
    }
  const vdouble all = (total[0] + total[1]) + (total[2] + total[3]);
  double sum = 0;
  for (int k = 0; k < kHalf; ++k) sum += all[k];
  for (; i < n; ++i) sum += double(x[i]) * double(x[i]);
  return sum;
}

}  // namespace

Status gradNorm(const GradNormParams& p, Context& c) {
  const auto* rows = static_cast<const ParameterRow*>(p.table);
  int64_t most = 0;
  for (int64_t i = 0; i < p.tensors; ++i) most += rows[i].count / ParameterBlocks::kSize + 1;
  auto* starts = static_cast<int64_t*>(c.workspace.shared(ParameterBlocks::bytes(p.tensors) + size_t(most) * sizeof(double)));
  if (!starts) return Status::error(Code::outOfMemory, "gradNorm: no memory for the partial sums");
  const ParameterBlocks blocks(rows, p.tensors, starts);
  double* partial = reinterpret_cast<double*>(starts + p.tensors + 1);

  c.pool.parallel(blocks.count(), [&](int64_t item, int) {
    blocks.visit(item, [&](const ParameterRow& row, int64_t begin, int64_t end) { partial[item] = squares(row.grad + begin, end - begin); });
  });
  double total = 0;
  for (int64_t i = 0; i < blocks.count(); ++i) total += partial[i];
  *p.norm = float(std::sqrt(total));
  return Status::fine();
}

}  // namespace lantern::LANTERN_ISA
