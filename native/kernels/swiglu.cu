// One pass of the row walk, forward and backward.
#include "common/rowWalk.cuh"
#include "swiglu.h"

namespace lantern::cuda {

LANTERN_DEVICE float sigmoid(float z) { return 1.f / (1.f + expf(-z)); }

template <class T>
LANTERN_DEVICE void forward(const SwigluParams& p, const RowWalk& w) {
  walk<T>(
      w,
      [&](int64_t row, int64_t col, auto width) {
        auto v = load<width.value>(static_cast<const T*>(p.gate) + row * p.gateStride + col);
        const auto up = load<width.value>(static_cast<const T*>(p.up) + row * p.upStride + col);
        for (int i = 0; i < width.value; ++i) v.x[i] = v.x[i] * sigmoid(v.x[i]) * up.x[i];
        return v;
      },
      [&](int64_t row, int64_t col, auto, const auto& v) { store(static_cast<T*>(p.y) + row * p.yStride + col, v); });
}

template <int n, class T>
struct BackwardInputs {
  Pack<n, T> dy, gate, up;
};

template <class T>
LANTERN_DEVICE void backward(const SwigluBackwardParams& p, const RowWalk& w) {
  walk<T>(
      w,
      [&](int64_t row, int64_t col, auto width) {
        constexpr int n = width.value;
        return BackwardInputs<n, T>{fetch<n>(static_cast<const T*>(p.dy) + row * p.dyStride + col),
                                    fetch<n>(static_cast<const T*>(p.gate) + row * p.gateStride + col),
                                    fetch<n>(static_cast<const T*>(p.up) + row * p.upStride + col)};
      },
      [&](int64_t row, int64_t col, auto width, const auto& in) {
        Floats<width.value> dgate, dup;
        for (int i = 0; i < width.value; ++i) {
          const float g = toFloat(in.gate.x[i]), d = toFloat(in.dy.x[i]), s = sigmoid(g);
          dup.x[i] = d * g * s;
          dgate.x[i] = d * toFloat(in.up.x[i]) * s * (1.f + g * (1.f - s));
        }
        store(static_cast<T*>(p.dup) + row * p.dupStride + col, dup);
        store(static_cast<T*>(p.dgate) + row * p.dgateStride + col, dgate);
      });
}

}  // namespace lantern::cuda

using namespace lantern;
using namespace lantern::cuda;

#define LANTERN_SWIGLU(suffix, T)                                                                                                       \
  extern "C" __global__ void __launch_bounds__(kWalkThreads, kWalkBlocks)                                                                            \
      swiglu_forward##suffix(const __grid_constant__ SwigluParams p, const __grid_constant__ RowWalk w) { forward<T>(p, w); }           \
  extern "C" __global__ void __launch_bounds__(kWalkThreads, kWalkBlocks)                                                                            \
      swiglu_backward##suffix(const __grid_constant__ SwigluBackwardParams p, const __grid_constant__ RowWalk w) { backward<T>(p, w); }

LANTERN_SWIGLU(F32, float)
LANTERN_SWIGLU(Bf16, bf16)
