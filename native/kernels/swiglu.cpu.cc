#include "swiglu.h"

#include "common/split.h"
#include "common/types.h"

namespace lantern::LANTERN_ISA {

namespace {

template <class T>
void forwardRow(const SwigluParams& p, int64_t row) {
  const T* gate = static_cast<const T*>(p.gate) + row * p.gateStride;
  const T* up = static_cast<const T*>(p.up) + row * p.upStride;
  T* y = static_cast<T*>(p.y) + row * p.yStride;
  eachVector(0, p.cols, [&](int64_t i, auto n) {
    const vfloat g = loadPart(gate + i, n);
    storePart(y + i, g * sigmoid(g) * loadPart(up + i, n), n);
  });
}

template <class T>
void backwardRow(const SwigluBackwardParams& p, int64_t row) {
  const T* dy = static_cast<const T*>(p.dy) + row * p.dyStride;
  const T* gate = static_cast<const T*>(p.gate) + row * p.gateStride;
  const T* up = static_cast<const T*>(p.up) + row * p.upStride;
  T* dgate = static_cast<T*>(p.dgate) + row * p.dgateStride;
  T* dup = static_cast<T*>(p.dup) + row * p.dupStride;
  eachVector(0, p.cols, [&](int64_t i, auto n) {
    const vfloat g = loadPart(gate + i, n), u = loadPart(up + i, n), d = loadPart(dy + i, n), s = sigmoid(g);
    storePart(dup + i, d * g * s, n);
    storePart(dgate + i, d * u * s * (1.f + g * (1.f - s)), n);
  });
}

}  // namespace

Status swiglu(const SwigluParams& p, Context& c) {
  return forType(p.dtype, [&](auto t) {
    parallelRows(c.pool, p.rows, p.cols, [&](int64_t row) { forwardRow<decltype(t)>(p, row); });
    return Status::fine();
  });
}

Status swigluBackward(const SwigluBackwardParams& p, Context& c) {
  return forType(p.dtype, [&](auto t) {
    parallelRows(c.pool, p.rows, p.cols, [&](int64_t row) { backwardRow<decltype(t)>(p, row); });
    return Status::fine();
  });
}

}  // namespace lantern::LANTERN_ISA
