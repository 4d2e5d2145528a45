// A block a row, which stays in registers from the first pass to the last. The backward's blocks take rows in strides of all blocks and keep
// the gradients of weight and bias of their columns over all of their rows; layerNorm_addPartials adds those of the blocks in order.
#include "common/addPartials.cuh"
#include "common/residualRow.cuh"
#include "layerNorm.h"
#include "layerNormShape.h"

namespace lantern::cuda {

template <int kWidth, class S, class T, class W>
LANTERN_DEVICE void forwardRow(const LayerNormParams& p, float (*scratch)[kWarp]) {
  const int64_t at = blockIdx.x * p.cols;
  const ResidualRow<kWidth, S, T> in(p, at);
  T* y = static_cast<T*>(p.y) + at;
  const W *weight = static_cast<const W*>(p.weight), *bias = static_cast<const W*>(p.bias);

  float total = 0;
  const auto summed = [&](int64_t col) {
    const Floats<kWidth> h = in.first(col);
    for (const float v : h.x) total += v;
    return h;
  };
  Floats<kWidth> held[kHeldPacks];
  eachHeld<kWidth>(p.cols, [&](int k, int64_t col) { held[k] = summed(col); });
  eachBeyond<kWidth>(p.cols, [&](int64_t col) { summed(col); });

  const float c = blockReduce(total, Sum{}, scratch[0]) / float(p.cols);
  float rest = 0, square = 0;
  const auto centre = [&](Floats<kWidth>& h) {
    for (float& v : h.x) v -= c, rest += v, square += v * v;
  };
  eachHeld<kWidth>(p.cols, [&](int k, int64_t) { centre(held[k]); });
  eachBeyond<kWidth>(p.cols, [&](int64_t col) {
    Floats<kWidth> h = in.again(col);
    centre(h);
  });

  const float d = blockReduce(rest, Sum{}, scratch[1]) / float(p.cols);
  const float variance = fmaxf(blockReduce(square, Sum{}, scratch[2]) / float(p.cols) - d * d, 0.f), r = 1.f / sqrtf(variance + float(p.eps));
  const auto write = [&](int64_t col, Floats<kWidth> h) {  // h less c
    const Floats<kWidth> w = load<kWidth>(weight + col);
    Floats<kWidth> b = {};
    if (bias) b = load<kWidth>(bias + col);
    for (int i = 0; i < kWidth; ++i) h.x[i] = (h.x[i] - d) * r * w.x[i] + b.x[i];
    store(y + col, h);
  };
  eachHeld<kWidth>(p.cols, [&](int k, int64_t col) { write(col, held[k]); });
  eachBeyond<kWidth>(p.cols, [&](int64_t col) {
    Floats<kWidth> h = in.again(col);
    for (float& v : h.x) v -= c;
    write(col, h);
  });
  if (threadIdx.x != 0) return;
  if (p.mean) p.mean[2 * blockIdx.x] = c, p.mean[2 * blockIdx.x + 1] = d;
  if (p.rstd) p.rstd[blockIdx.x] = r;
}

// The sums over rows of a pack of columns.
template <int kWidth>
struct Gradients {
  Floats<kWidth> weight, bias;
};

template <int kWidth, class S, class T, class W>
LANTERN_DEVICE void backwardRows(const LayerNormBackwardParams& p, float* weights, float* biases, float (*scratch)[kWarp]) {
  using Held = NormGradientPack<kWidth, S, T>;
  const W* weight = static_cast<const W*>(p.weight);
  weights = weights ? weights + blockIdx.x * p.cols : nullptr;
  biases = biases ? biases + blockIdx.x * p.cols : nullptr;
  const auto keep = [&](int64_t col, const Gradients<kWidth>& sums) {
    if (weights) store(weights + col, sums.weight);
    if (biases) store(biases + col, sums.bias);
  };
  Gradients<kWidth> sums[kHeldPacks] = {};
  for (int64_t row = blockIdx.x; row < p.rows; row += gridDim.x) {
    const bool first = row == blockIdx.x;
    const int64_t at = row * p.cols;
    const float c = p.mean[2 * row], d = p.mean[2 * row + 1], r = p.rstd[row];
    const auto read = [&](int64_t col) { return Held::read(p, at + col); };
    float total = 0, dot = 0;
    const auto multiply = [&](int64_t col, const Held& v) {
      const Floats<kWidth> w = load<kWidth>(weight + col);
      for (int i = 0; i < kWidth; ++i) {
        const float g = toFloat(v.dy.x[i]) * w.x[i];
        total += g, dot += g * (toFloat(v.h.x[i]) - c - d);
      }
    };
    Held held[kHeldPacks];
    eachHeld<kWidth>(p.cols, [&](int k, int64_t col) { held[k] = read(col), multiply(col, held[k]); });
    eachBeyond<kWidth>(p.cols, [&](int64_t col) { multiply(col, read(col)); });

    const float a = blockReduce(total, Sum{}, scratch[0]) / float(p.cols);
    const float b = blockReduce(dot, Sum{}, scratch[1]) * r / float(p.cols);
    const auto write = [&](int64_t col, const Held& v, Gradients<kWidth>& of) {
      const Floats<kWidth> w = load<kWidth>(weight + col);
      Floats<kWidth> dh = {};
      if (p.dsum) dh = load<kWidth>(static_cast<const S*>(p.dsum) + at + col);
      for (int i = 0; i < kWidth; ++i) {
        const float g = toFloat(v.dy.x[i]), z = (toFloat(v.h.x[i]) - c - d) * r;
        dh.x[i] += (g * w.x[i] - a - z * b) * r;
        of.weight.x[i] += g * z, of.bias.x[i] += g;
      }
      store(static_cast<S*>(p.dh) + at + col, dh);
      if (p.dx) store(static_cast<T*>(p.dx) + at + col, dh);
    };
    eachHeld<kWidth>(p.cols, [&](int k, int64_t col) { write(col, held[k], sums[k]); });
    eachBeyond<kWidth>(p.cols, [&](int64_t col) {
      Gradients<kWidth> of = {};
      if (weights && !first) of.weight = load<kWidth>(weights + col);
      if (biases && !first) of.bias = load<kWidth>(biases + col);
      write(col, read(col), of);
      keep(col, of);
    });
  }
  eachHeld<kWidth>(p.cols, [&](int k, int64_t col) { keep(col, sums[k]); });
}

template <class S, class T, class W>
LANTERN_DEVICE void forward(const LayerNormParams& p, int width) {
  __shared__ float scratch[3][kWarp];
  constexpr int kWide = kNormWidth<S, T, W>;
  if (width == kWide) forwardRow<kWide, S, T, W>(p, scratch);
  else forwardRow<1, S, T, W>(p, scratch);
}

template <class S, class T, class W>
LANTERN_DEVICE void backward(const LayerNormBackwardParams& p, int width, float* weights, float* biases) {
  __shared__ float scratch[2][kWarp];  // one for each reduction: the other's barrier comes before it is written again
  if (width == kBackwardWidth) backwardRows<kBackwardWidth, S, T, W>(p, weights, biases, scratch);
  else backwardRows<1, S, T, W>(p, weights, biases, scratch);
}

}  // namespace lantern::cuda

using namespace lantern;
using namespace lantern::cuda;

#define LANTERN_LAYER_NORM(suffix, S, T, W)                                                                                        \
  extern "C" __global__ void __launch_bounds__(kRowThreads, 1) layerNorm_forward##suffix(const __grid_constant__ LayerNormParams p, int width) { \
    forward<S, T, W>(p, width);                                                                                                    \
  }                                                                                                                                \
  extern "C" __global__ void __launch_bounds__(kBackwardThreads, 1)                                                                \
      layerNorm_backward##suffix(const __grid_constant__ LayerNormBackwardParams p, int width, float* weights, float* biases) {    \
    backward<S, T, W>(p, width, weights, biases);                                                                                  \
  }

LANTERN_LAYER_NORM(F32F32F32, float, float, float)
LANTERN_LAYER_NORM(F32F32Bf16, float, float, bf16)
LANTERN_LAYER_NORM(F32Bf16F32, float, bf16, float)
LANTERN_LAYER_NORM(F32Bf16Bf16, float, bf16, bf16)
LANTERN_LAYER_NORM(Bf16F32F32, bf16, float, float)
LANTERN_LAYER_NORM(Bf16F32Bf16, bf16, float, bf16)
LANTERN_LAYER_NORM(Bf16Bf16F32, bf16, bf16, float)
LANTERN_LAYER_NORM(Bf16Bf16Bf16, bf16, bf16, bf16)

extern "C" __global__ void __launch_bounds__(kRowThreads, 1) layerNorm_addPartials(const float* partial, float* sum, int64_t partials, int64_t cols) {
  addPartials(partial, sum, partials, cols);
}
