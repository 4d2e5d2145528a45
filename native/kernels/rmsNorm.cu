// A block a row. The backward's blocks take rows in strides of all blocks and keep the weight gradients of their columns over all of their
// rows; rmsNorm_addPartials adds those of the blocks in order.
#include "common/addPartials.cuh"
#include "common/residualRow.cuh"
#include "rmsNorm.h"
#include "rmsNormShape.h"

namespace lantern::cuda {

template <int kWidth, class S, class T, class W>
LANTERN_DEVICE void forwardRow(const RmsNormParams& p, float* scratch) {
  const int64_t at = blockIdx.x * p.cols;
  const ResidualRow<kWidth, S, T> in(p, at);
  T* y = static_cast<T*>(p.y) + at;

  float square = 0;
  const auto squared = [&](int64_t col) {
    const Floats<kWidth> h = in.first(col);
    for (const float v : h.x) square += v * v;
    return h;
  };
  Floats<kWidth> held[kHeldPacks];
  eachHeld<kWidth>(p.cols, [&](int k, int64_t col) { held[k] = squared(col); });
  eachBeyond<kWidth>(p.cols, [&](int64_t col) { squared(col); });

  const float r = 1.f / sqrtf(blockReduce(square, Sum{}, scratch) / float(p.cols) + float(p.eps));
  const auto write = [&](int64_t col, Floats<kWidth> h) {
    const Floats<kWidth> w = load<kWidth>(static_cast<const W*>(p.weight) + col);
    for (int i = 0; i < kWidth; ++i) h.x[i] = h.x[i] * r * w.x[i];
    store(y + col, h);
  };
  eachHeld<kWidth>(p.cols, [&](int k, int64_t col) { write(col, held[k]); });
  eachBeyond<kWidth>(p.cols, [&](int64_t col) { write(col, in.again(col)); });
  if (p.rstd && threadIdx.x == 0) p.rstd[blockIdx.x] = r;
}

template <int kWidth, class S, class T, class W>
LANTERN_DEVICE void backwardRows(const RmsNormBackwardParams& p, float* partial, float (*scratch)[kWarp]) {
  using Held = NormGradientPack<kWidth, S, T>;
  const W* weight = static_cast<const W*>(p.weight);
  float* sums = partial ? partial + blockIdx.x * p.cols : nullptr;
  Floats<kWidth> dweight[kHeldPacks] = {};
  int turn = 0;
  for (int64_t row = blockIdx.x; row < p.rows; row += gridDim.x, ++turn) {
    const int64_t at = row * p.cols;
    const float r = p.rstd[row];
    const auto read = [&](int64_t col) { return Held::read(p, at + col); };
    float dot = 0;
    const auto multiply = [&](int64_t col, const Held& v) {
      const Floats<kWidth> w = load<kWidth>(weight + col);
      for (int i = 0; i < kWidth; ++i) dot += toFloat(v.dy.x[i]) * w.x[i] * toFloat(v.h.x[i]);
    };
    Held held[kHeldPacks];
    eachHeld<kWidth>(p.cols, [&](int k, int64_t col) { held[k] = read(col), multiply(col, held[k]); });
    eachBeyond<kWidth>(p.cols, [&](int64_t col) { multiply(col, read(col)); });

    const float c = blockReduce(dot, Sum{}, scratch[turn % 2]) * r * r * r / float(p.cols);
    const auto write = [&](int64_t col, const Held& v, Floats<kWidth>& dw) {
      const Floats<kWidth> w = load<kWidth>(weight + col);
      Floats<kWidth> d = {};
      if (p.dsum) d = load<kWidth>(static_cast<const S*>(p.dsum) + at + col);
      for (int i = 0; i < kWidth; ++i) {
        const float g = toFloat(v.dy.x[i]), h = toFloat(v.h.x[i]);
        d.x[i] += g * w.x[i] * r - h * c;
        dw.x[i] += g * h * r;
      }
      store(static_cast<S*>(p.dh) + at + col, d);
      if (p.dx) store(static_cast<T*>(p.dx) + at + col, d);
    };
    eachHeld<kWidth>(p.cols, [&](int k, int64_t col) { write(col, held[k], dweight[k]); });
    eachBeyond<kWidth>(p.cols, [&](int64_t col) {
      Floats<kWidth> dw = {};
      if (sums && turn > 0) dw = load<kWidth>(sums + col);
      write(col, read(col), dw);
      if (sums) store(sums + col, dw);
    });
  }
  if (sums) eachHeld<kWidth>(p.cols, [&](int k, int64_t col) { store(sums + col, dweight[k]); });
}

template <class S, class T, class W>
LANTERN_DEVICE void forward(const RmsNormParams& p, int width) {
  __shared__ float scratch[kWarp];
  constexpr int kWide = kNormWidth<S, T, W>;
  if (width == kWide) forwardRow<kWide, S, T, W>(p, scratch);
  else forwardRow<1, S, T, W>(p, scratch);
}

template <class S, class T, class W>
LANTERN_DEVICE void backward(const RmsNormBackwardParams& p, int width, float* partial) {
  __shared__ float scratch[2][kWarp];  // taken in turns: a row's warps may write theirs while another still reads those of the row before
  if (width == kBackwardWidth) backwardRows<kBackwardWidth, S, T, W>(p, partial, scratch);
  else backwardRows<1, S, T, W>(p, partial, scratch);
}

}  // namespace lantern::cuda

using namespace lantern;
using namespace lantern::cuda;

#define LANTERN_RMS_NORM(suffix, S, T, W)                                                                                       \
  extern "C" __global__ void __launch_bounds__(kRowThreads, 1) rmsNorm_forward##suffix(const __grid_constant__ RmsNormParams p, int width) { \
    forward<S, T, W>(p, width);                                                                                                 \
  }                                                                                                                             \
  extern "C" __global__ void __launch_bounds__(kRowThreads, 1)                                                                     \
      rmsNorm_backward##suffix(const __grid_constant__ RmsNormBackwardParams p, int width, float* partial) {                    \
    backward<S, T, W>(p, width, partial);                                                                                       \
  }

LANTERN_RMS_NORM(F32F32F32, float, float, float)
LANTERN_RMS_NORM(F32F32Bf16, float, float, bf16)
LANTERN_RMS_NORM(F32Bf16F32, float, bf16, float)
LANTERN_RMS_NORM(F32Bf16Bf16, float, bf16, bf16)
LANTERN_RMS_NORM(Bf16F32F32, bf16, float, float)
LANTERN_RMS_NORM(Bf16F32Bf16, bf16, float, bf16)
LANTERN_RMS_NORM(Bf16Bf16F32, bf16, bf16, float)
LANTERN_RMS_NORM(Bf16Bf16Bf16, bf16, bf16, bf16)

extern "C" __global__ void __launch_bounds__(kRowThreads, 1) rmsNorm_addPartials(const float* partial, float* dweight, int64_t partials, int64_t cols) {
  addPartials(partial, dweight, partials, cols);
}
