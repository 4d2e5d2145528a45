// Gated linear units for the device: common/gatedUnit.h by the row walk. activate(z) gives value and slope; what is not used is not computed.
#pragma once
#include "activation.cuh"
#include "rowWalk.cuh"

namespace lantern::cuda {

template <class T, class Params, class Activation>
LANTERN_DEVICE void gatedForward(const Params& p, const RowWalk& w, Activation activate) {
  walk<T>(
      w,
      [&](int64_t row, int64_t col, auto width) {
        auto v = load<width.value>(static_cast<const T*>(p.gate) + row * p.gateStride + col);
        const auto up = load<width.value>(static_cast<const T*>(p.up) + row * p.upStride + col);
        for (int i = 0; i < width.value; ++i) v.x[i] = activate(v.x[i]).value * up.x[i];
        return v;
      },
      [&](int64_t row, int64_t col, auto, const auto& v) { store(static_cast<T*>(p.y) + row * p.yStride + col, v); });
}

template <int n, class T>
struct GatedInputs {
  Pack<n, T> dy, gate, up;
};

template <class T, class Params, class Activation>
LANTERN_DEVICE void gatedBackward(const Params& p, const RowWalk& w, Activation activate) {
  walk<T>(
      w,
      [&](int64_t row, int64_t col, auto width) {
        constexpr int n = width.value;
        return GatedInputs<n, T>{fetch<n>(static_cast<const T*>(p.dy) + row * p.dyStride + col),
                                 fetch<n>(static_cast<const T*>(p.gate) + row * p.gateStride + col),
                                 fetch<n>(static_cast<const T*>(p.up) + row * p.upStride + col)};
      },
      [&](int64_t row, int64_t col, auto width, const auto& in) {
        Floats<width.value> dgate, dup;
        for (int i = 0; i < width.value; ++i) {
          const float d = toFloat(in.dy.x[i]);
          const Activated a = activate(toFloat(in.gate.x[i]));
          dup.x[i] = d * a.value;
          dgate.x[i] = d * toFloat(in.up.x[i]) * a.slope;
        }
        store(static_cast<T*>(p.dup) + row * p.dupStride + col, dup);
        store(static_cast<T*>(p.dgate) + row * p.dgateStride + col, dgate);
      });
}

}  // namespace lantern::cuda
