// Softmax statistics of a tile of logits while its products are still in registers.
#pragma once
#include "common/rowSoftmax.cuh"
#include "distillHeadShape.h"

namespace lantern::cuda {

// The rows of the chunk that begins with token `first` of those with a label.
LANTERN_DEVICE int chunkCount(const HeadTask& t, int first) { return max(0, min(t.chunkRows, *t.count - first)); }

LANTERN_DEVICE TileStat merge(const TileStat& a, const TileStat& b, float invT) {
  if (a.max == b.max) return {a.max, (a.rest + b.rest) + 1.f};
  const bool larger = a.max > b.max;
  const float e = expNegative(-abs(a.max - b.max) * invT);
  return {larger ? a.max : b.max, (larger ? a.rest : b.rest) + e * ((larger ? b.rest : a.rest) + 1.f)};
}

// Of what `lanes` neighbouring lanes hold of a row, kCount logits each; every lane gets it. Logits beyond the softmax are 2 kLowest.
template <int lanes, int kCount>
LANTERN_DEVICE TileStat laneStat(const float (&x)[kCount], float invT) {
  SoftmaxPart part;
  part.add(x, 0, invT);
  TileStat stat{part.max, part.beside + (part.ties - 1.f)};
#pragma unroll
  for (int step = lanes / 2; step > 0; step /= 2)
    stat = merge(stat, {__shfl_xor_sync(kAllLanes, stat.max, step), __shfl_xor_sync(kAllLanes, stat.rest, step)}, invT);
  return stat;
}

LANTERN_DEVICE float floored(float x, bool inside) { return !inside ? 2 * kLowest : x < kLowest ? kLowest : x; }

// fn(which, columns, 1 / T) for the softmaxes that are taken of one model's logits.
template <class F>
LANTERN_DEVICE void eachSoftmax(const HeadTask& t, bool teacher, F&& fn) {
#pragma unroll 1
  for (int which = teacher ? kTeacher : kStudent; which < kHeadSoftmaxes; which += teacher || !t.split ? kHeadSoftmaxes : kLabels - kStudent)
    fn(which, which == kStudent ? t.studentColumns : which == kTeacher ? t.teacherColumns : int(t.p.vocab),
       which == kLabels || !t.teacher ? 1.f : t.scalars.invT);
}

}  // namespace lantern::cuda
