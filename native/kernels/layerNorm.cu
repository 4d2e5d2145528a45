// A block a row, as rmsNorm. The backward's blocks take rows in strides of all blocks and keep the gradients of their columns' weights and biases
// over all of their rows; layerNorm_addPartials adds those of the blocks in order.
#include "common/addPartials.cuh"
#include "common/rowBlock.cuh"
#include "layerNorm.h"
#include "layerNormShape.h"

namespace lantern::cuda {

template <int kWidth, class S, class T, class W>
LANTERN_DEVICE void forwardRow(const LayerNormParams& p, float (*scratch)[kWarp]) {
  const int64_t at = blockIdx.x * p.cols;
  const S* stream = static_cast<const S*>(p.stream) + at;
  const T* x = p.x ? static_cast<const T*>(p.x) + at : nullptr;
  S* sum = p.sum ? static_cast<S*>(p.sum) + at : nullptr;
  T* y = static_cast<T*>(p.y) + at;
  const W* bias = static_cast<const W*>(p.bias);

  const auto added = [&](int64_t col) {
    Floats<kWidth> h = load<kWidth>(stream + col);
    if (!x) return h;
    const Floats<kWidth> v = load<kWidth>(x + col);
    for (int i = 0; i < kWidth; ++i) h.x[i] += v.x[i];
    return h;
  };
  const auto again = [&](int64_t col) { return sum ? load<kWidth>(sum + col) : added(col); };
  float total = 0;
  const auto begun = [&](int64_t col) {  // the sum, stored: the backward sees the rounded value, so the forward normalises that one
    Floats<kWidth> h = added(col);
    if (sum) {
      store(sum + col, h);
      for (float& v : h.x) v = toFloat(fromFloat<S>(v));
    }
    for (const float v : h.x) total += v;
    return h;
  };
  Floats<kWidth> held[kHeldPacks];
  eachHeld<kWidth>(p.cols, [&](int k, int64_t col) { held[k] = begun(col); });
  eachBeyond<kWidth>(p.cols, [&](int64_t col) { begun(col); });
  const float mean = blockReduce(total, Sum{}, scratch[0]) / float(p.cols);

  float rest = 0, square = 0;
  const auto centre = [&](const Floats<kWidth>& h) {
    for (const float v : h.x) rest += v - mean, square += (v - mean) * (v - mean);
  };
  eachHeld<kWidth>(p.cols, [&](int k, int64_t) { centre(held[k]); });
  eachBeyond<kWidth>(p.cols, [&](int64_t col) { centre(again(col)); });
  const float left = blockReduce(rest, Sum{}, scratch[1]) / float(p.cols);  // what the rounded mean leaves over
  const float variance = blockReduce(square, Sum{}, scratch[2]) / float(p.cols) - left * left;
  const float r = 1.f / sqrtf(fmaxf(0.f, variance) + float(p.eps));

  const auto write = [&](int64_t col, Floats<kWidth> h) {
    const Floats<kWidth> w = load<kWidth>(static_cast<const W*>(p.weight) + col);
    Floats<kWidth> b = {};
    if (bias) b = load<kWidth>(bias + col);
    for (int i = 0; i < kWidth; ++i) h.x[i] = (h.x[i] - mean - left) * r * w.x[i] + b.x[i];
    store(y + col, h);
  };
  eachHeld<kWidth>(p.cols, [&](int k, int64_t col) { write(col, held[k]); });
  eachBeyond<kWidth>(p.cols, [&](int64_t col) { write(col, again(col)); });
  if (threadIdx.x == 0) {
    if (p.mean) p.mean[blockIdx.x] = mean + left;
    if (p.rstd) p.rstd[blockIdx.x] = r;
  }
}

// What a thread reads of a row, kept as it came: half the registers of floats where it is bfloat16.
template <int kWidth, class S, class T>
struct BackwardPack {
  Pack<kWidth, T> dy;
  Pack<kWidth, S> h;
};

// Gradients of weight and bias at the columns of a pack.
template <int kWidth>
struct ColumnSums {
  Floats<kWidth> weight, bias;
};

template <int kWidth, class S, class T, class W>
LANTERN_DEVICE void backwardRows(const LayerNormBackwardParams& p, float* weights, float* biases, float (*scratch)[2][kWarp]) {
  using Held = BackwardPack<kWidth, S, T>;
  const W* weight = static_cast<const W*>(p.weight);
  float* weightSums = weights ? weights + blockIdx.x * p.cols : nullptr;
  float* biasSums = biases ? biases + blockIdx.x * p.cols : nullptr;
  ColumnSums<kWidth> sums[kHeldPacks] = {};
  int turn = 0;
  for (int64_t row = blockIdx.x; row < p.rows; row += gridDim.x, ++turn) {
    const int64_t at = row * p.cols;
    const float m = p.mean[row], r = p.rstd[row];
    const auto read = [&](int64_t col) {
      return Held{fetch<kWidth>(static_cast<const T*>(p.dy) + at + col), fetch<kWidth>(static_cast<const S*>(p.h) + at + col)};
    };
    float total = 0, dot = 0;
    const auto multiply = [&](int64_t col, const Held& v) {
      const Floats<kWidth> w = load<kWidth>(weight + col);
      for (int i = 0; i < kWidth; ++i) {
        const float g = toFloat(v.dy.x[i]) * w.x[i];
        total += g, dot += g * (toFloat(v.h.x[i]) - m);
      }
    };
    Held held[kHeldPacks];
    eachHeld<kWidth>(p.cols, [&](int k, int64_t col) { held[k] = read(col), multiply(col, held[k]); });
    eachBeyond<kWidth>(p.cols, [&](int64_t col) { multiply(col, read(col)); });

    const float mean = blockReduce(total, Sum{}, scratch[turn % 2][0]) / float(p.cols);
    const float slope = blockReduce(dot, Sum{}, scratch[turn % 2][1]) * r / float(p.cols);
    const auto write = [&](int64_t col, const Held& v, ColumnSums<kWidth>& s) {
      const Floats<kWidth> w = load<kWidth>(weight + col);
      Floats<kWidth> d = {};
      if (p.dsum) d = load<kWidth>(static_cast<const S*>(p.dsum) + at + col);
      for (int i = 0; i < kWidth; ++i) {
        const float g = toFloat(v.dy.x[i]), z = (toFloat(v.h.x[i]) - m) * r;
        d.x[i] += (g * w.x[i] - mean - z * slope) * r;
        s.weight.x[i] += g * z;
        s.bias.x[i] += g;
      }
      store(static_cast<S*>(p.dh) + at + col, d);
      if (p.dx) store(static_cast<T*>(p.dx) + at + col, d);
    };
    eachHeld<kWidth>(p.cols, [&](int k, int64_t col) { write(col, held[k], sums[k]); });
    eachBeyond<kWidth>(p.cols, [&](int64_t col) {
      ColumnSums<kWidth> s = {};
      if (weightSums && turn > 0) s.weight = load<kWidth>(weightSums + col);
      if (biasSums && turn > 0) s.bias = load<kWidth>(biasSums + col);
      write(col, read(col), s);
      if (weightSums) store(weightSums + col, s.weight);
      if (biasSums) store(biasSums + col, s.bias);
    });
  }
  eachHeld<kWidth>(p.cols, [&](int k, int64_t col) {
    if (weightSums) store(weightSums + col, sums[k].weight);
    if (biasSums) store(biasSums + col, sums[k].bias);
  });
}

template <class S, class T, class W>
LANTERN_DEVICE void forward(const LayerNormParams& p, int width) {
  __shared__ float scratch[3][kWarp];
  constexpr int kWide = sizeof(S) + sizeof(T) + sizeof(W) == 6 ? 8 : 4;
  if (width == kWide) forwardRow<kWide, S, T, W>(p, scratch);
  else forwardRow<1, S, T, W>(p, scratch);
}

template <class S, class T, class W>
LANTERN_DEVICE void backward(const LayerNormBackwardParams& p, int width, float* weights, float* biases) {
  __shared__ float scratch[2][2][kWarp];  // taken in turns: a row's warps may write theirs while another still reads those of the row before
  if (width == kLayerNormWidth) backwardRows<kLayerNormWidth, S, T, W>(p, weights, biases, scratch);
  else backwardRows<1, S, T, W>(p, weights, biases, scratch);
}

}  // namespace lantern::cuda

using namespace lantern;
using namespace lantern::cuda;

#define LANTERN_LAYER_NORM(suffix, S, T, W)                                                                                          \
  extern "C" __global__ void __launch_bounds__(kRowThreads, 1) layerNorm_forward##suffix(const __grid_constant__ LayerNormParams p, int width) { \
    forward<S, T, W>(p, width);                                                                                                      \
  }                                                                                                                                  \
  extern "C" __global__ void __launch_bounds__(kLayerNormThreads, 1)                                                                 \
      layerNorm_backward##suffix(const __grid_constant__ LayerNormBackwardParams p, int width, float* weights, float* biases) {      \
    backward<S, T, W>(p, width, weights, biases);                                                                                    \
  }

LANTERN_LAYER_NORM(F32F32F32, float, float, float)
LANTERN_LAYER_NORM(F32F32Bf16, float, float, bf16)
LANTERN_LAYER_NORM(F32Bf16F32, float, bf16, float)
LANTERN_LAYER_NORM(F32Bf16Bf16, float, bf16, bf16)
LANTERN_LAYER_NORM(Bf16F32F32, bf16, float, float)
LANTERN_LAYER_NORM(Bf16F32Bf16, bf16, float, bf16)
LANTERN_LAYER_NORM(Bf16Bf16F32, bf16, bf16, float)
LANTERN_LAYER_NORM(Bf16Bf16Bf16, bf16, bf16, bf16)

extern "C" __global__ void __launch_bounds__(kRowThreads, 1) layerNorm_addPartials(const float* partial, float* total, int64_t partials, int64_t cols) {
  addPartials(partial, total, partials, cols);
}
