// What the norms share on the CPU: a row of the residual stream with what a branch adds to it, and the dtypes.
#pragma once
#include "kernel.h"
#include "split.h"
#include "types.h"

namespace lantern::LANTERN_ISA {

// h = stream + x, or stream alone where x is null, of the row of parameters that have stream, x, sum and cols.
template <class S, class T>
struct ResidualRow {
  const S* stream;
  const T* x;
  S* sum;

  template <class P>
  ResidualRow(const P& p, int64_t row)
      : stream(static_cast<const S*>(p.stream) + row * p.cols),
        x(p.x ? static_cast<const T*>(p.x) + row * p.cols : nullptr),
        sum(p.sum ? static_cast<S*>(p.sum) + row * p.cols : nullptr) {}

  // h, stored if there is a sum: the backward sees the stored value, so the forward normalises that one.
  LANTERN_INLINE vfloat first(int64_t i, int64_t left) const {
    const vfloat h = added(i, left);
    if (!sum) return h;
    storePart(sum + i, h, left);
    return loadPart(sum + i, left);
  }
  // The same once more.
  LANTERN_INLINE vfloat again(int64_t i, int64_t left) const { return sum ? loadPart(sum + i, left) : added(i, left); }

 private:
  LANTERN_INLINE vfloat added(int64_t i, int64_t left) const {
    const vfloat h = loadPart(stream + i, left);
    return x ? h + loadPart(x + i, left) : h;
  }
};

// fn(s, t, w) with a value of each: of the stream's dtype, the branch's and the weight's.
template <class P, class F>
Status forNormTypes(const P& p, F&& fn) {
  return forType(p.streamDtype, [&](auto s) { return forTypes(p.dtype, p.weightDtype, [&](auto t, auto w) { return fn(s, t, w); }); });
}

}  // namespace lantern::LANTERN_ISA
