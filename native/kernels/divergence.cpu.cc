#include "divergence.h"

#include "common/divergenceMath.h"
#include "common/rowSoftmax.h"
#include "common/types.h"

namespace lantern::LANTERN_ISA {

namespace {

static_assert(sizeof(RowConstants) == kDivergenceStats * sizeof(float));

template <int64_t kKind, class S, class T>
void forwardRow(const DivergenceParams& p, int64_t row) {
  const S* student = static_cast<const S*>(p.student) + row * p.vocab;
  const T* teacher = static_cast<const T*>(p.teacher) + row * p.vocab;
  const DivergenceScalars c = divergenceScalars(p.temperature, p.beta);
  const RowSoftmax s = rowSoftmax(student, p.vocab, c.invT), t = rowSoftmax(teacher, p.vocab, c.invT);
  const float teacherAtTop = std::max(toFloat(teacher[s.top]), kLowest);
  RowConstants r{s.max, t.max, float(s.logZ), float(t.logZ), teacherAtTop, topRatio(teacherAtTop, t.max, s.logZ, t.logZ, p.temperature), 0, 0};
  r.gTop = gOf<kKind>(rowPair(r, kKind, c), splat(r.refRatio))[0];
  const RowPair pair = rowPair(r, kKind, c);
  double sums[2];
  sumRow(p.vocab, sums, [&](int64_t i, vfloat (&part)[2]) {
    const Element e = divergenceElement<kKind>(pair, loadLogits(student, i, p.vocab), loadLogits(teacher, i, p.vocab));
    part[0] += e.h;
    part[1] += e.value;
  });
  r.sumH = float(sums[0]);
  p.value[row] = float(p.factor * divergenceValue(p.kind, p.beta, double(r.gTop) - pair.shift[0], sums[0], sums[1]));
  if (p.stats) memcpy(p.stats + row * kDivergenceStats, &r, sizeof r);
}

template <int64_t kKind, class S, class T>
void backwardRow(const DivergenceBackwardParams& p, int64_t row) {
  const S* student = static_cast<const S*>(p.student) + row * p.vocab;
  const T* teacher = static_cast<const T*>(p.teacher) + row * p.vocab;
  S* dstudent = static_cast<S*>(p.dstudent) + row * p.vocab;
  RowConstants r;
  memcpy(&r, p.stats + row * kDivergenceStats, sizeof r);
  const RowPair pair = rowPair(r, kKind, divergenceScalars(p.temperature, p.beta));
  const float scale = float(p.dvalue[row] * p.factor / p.temperature), c = gScale(kKind, float(p.beta));
  for (int64_t i = 0; i < p.vocab; i += kLanes) {
    const Element e = divergenceElement<kKind>(pair, loadLogits(student, i, p.vocab), loadLogits(teacher, i, p.vocab));
    storePart(dstudent + i, scale * (c * (e.h - e.ps * r.sumH) + e.direct), p.vocab - i);
  }
}

template <class Params, class F>
Status forRows(const Params& p, Context& c, F&& fn) {
  return forTypes(p.studentDtype, p.teacherDtype, [&](auto s, auto t) {
    forDivergence(p.kind, [&](auto kind) { c.pool.parallel(p.rows, [&](int64_t row, int) { fn(kind, s, t, row); }); });
    return Status::fine();
  });
}

}  // namespace

Status divergence(const DivergenceParams& p, Context& c) {
  return forRows(p, c, [&](auto kind, auto s, auto t, int64_t row) { forwardRow<kind, decltype(s), decltype(t)>(p, row); });
}

Status divergenceBackward(const DivergenceBackwardParams& p, Context& c) {
  return forRows(p, c, [&](auto kind, auto s, auto t, int64_t row) { backwardRow<kind, decltype(s), decltype(t)>(p, row); });
}

}  // namespace lantern::LANTERN_ISA
