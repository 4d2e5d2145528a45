// Gated linear units: y = a(gate) * up for an activation a (swiglu.h, geglu.h).
//
//   dup   = dy * a(gate)
//   dgate = dy * up * a'(gate)
//
// Every element is read before it is written: dgate and dup may be the memory of gate and up.
#pragma once
#include "activation.h"
#include "kernel.h"
#include "split.h"
#include "types.h"

namespace lantern::LANTERN_ISA {

template <class T, class Params, class Activation>
void gatedRow(const Params& p, int64_t row, Activation&& activate) {
  const T* gate = static_cast<const T*>(p.gate) + row * p.gateStride;
  const T* up = static_cast<const T*>(p.up) + row * p.upStride;
  T* y = static_cast<T*>(p.y) + row * p.yStride;
  eachVector(0, p.cols, [&](int64_t i, auto n) { storePart(y + i, activate(loadPart(gate + i, n)).value * loadPart(up + i, n), n); });
}

template <class T, class Params, class Activation>
void gatedBackwardRow(const Params& p, int64_t row, Activation&& activate) {
  const T* dy = static_cast<const T*>(p.dy) + row * p.dyStride;
  const T* gate = static_cast<const T*>(p.gate) + row * p.gateStride;
  const T* up = static_cast<const T*>(p.up) + row * p.upStride;
  T* dgate = static_cast<T*>(p.dgate) + row * p.dgateStride;
  T* dup = static_cast<T*>(p.dup) + row * p.dupStride;
  eachVector(0, p.cols, [&](int64_t i, auto n) {
    const vfloat u = loadPart(up + i, n), d = loadPart(dy + i, n);
    const Activated a = activate(loadPart(gate + i, n));
    storePart(dup + i, d * a.value, n);
    storePart(dgate + i, d * u * a.slope, n);
  });
}

template <class Params, class Activation>
Status gatedUnit(const Params& p, Context& c, Activation activate) {
  return forType(p.dtype, [&](auto t) {
    parallelRows(c.pool, p.rows, p.cols, [&](int64_t row) { gatedRow<decltype(t)>(p, row, activate); });
    return Status::fine();
  });
}

template <class Params, class Activation>
Status gatedUnitBackward(const Params& p, Context& c, Activation activate) {
  return forType(p.dtype, [&](auto t) {
    parallelRows(c.pool, p.rows, p.cols, [&](int64_t row) { gatedBackwardRow<decltype(t)>(p, row, activate); });
    return Status::fine();
  });
}

}  // namespace lantern::LANTERN_ISA
