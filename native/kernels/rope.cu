// A thread keeps the cosines and sines of its pairs and turns those pairs in one head after the other.
#include "common/rowWalk.cuh"
#include "rope.h"
#include "ropeShape.h"

namespace lantern::cuda {

template <int kWidth, class T>
LANTERN_DEVICE void rotate(const T* x, T* y, int64_t half, const Floats<kWidth>& c, const Floats<kWidth>& s) {
  const Floats<kWidth> a = load<kWidth>(x), b = load<kWidth>(x + half);
  Floats<kWidth> first, second;
  for (int i = 0; i < kWidth; ++i) {
    first.x[i] = a.x[i] * c.x[i] - b.x[i] * s.x[i];
    second.x[i] = b.x[i] * c.x[i] + a.x[i] * s.x[i];
  }
  store(y, first);
  store(y + half, second);
}

template <int kWidth, class T>
LANTERN_DEVICE void rotateToken(const RopeParams& p, const RopeShape& shape, Fault* fault) {
  const int perToken = shape.lanes * shape.headLanes, local = threadIdx.x % perToken, lane = local % shape.lanes;
  const int64_t token = int64_t(blockIdx.x) * shape.tokens + threadIdx.x / perToken, half = p.headDim / 2;
  if (token >= p.tokens) return;
  const int64_t position = p.positions[token];
  const bool inside = position >= 0 && position < p.maxPosition;
  if (!inside && local == 0) report(fault, FaultKind::position, "rope", position, token, p.maxPosition);
  const float* table = p.table + position * p.headDim;
  const float direction = float(p.direction);
  for (int64_t j = lane * kWidth; j < half; j += shape.lanes * kWidth) {
    Floats<kWidth> c = {}, s = {};  // outside of the table all becomes 0
    if (inside) c = load<kWidth>(table + j), s = load<kWidth>(table + half + j);
    for (float& v : s.x) v *= direction;
    for (int64_t head = local / shape.lanes; head < p.heads + p.kvHeads; head += shape.headLanes)
      if (head < p.heads)
        rotate(static_cast<const T*>(p.q) + token * p.qStride + head * p.headDim + j,
               static_cast<T*>(p.qOut) + token * p.qOutStride + head * p.headDim + j, half, c, s);
      else
        rotate(static_cast<const T*>(p.k) + token * p.kStride + (head - p.heads) * p.headDim + j,
               static_cast<T*>(p.kOut) + token * p.kOutStride + (head - p.heads) * p.headDim + j, half, c, s);
  }
}

template <class T>
LANTERN_DEVICE void rotateAll(const RopeParams& p, const RopeShape& shape, Fault* fault) {
  if (shape.width == 4) rotateToken<4, T>(p, shape, fault);
  else rotateToken<1, T>(p, shape, fault);
}

}  // namespace lantern::cuda

using namespace lantern;
using namespace lantern::cuda;

extern "C" __global__ void __launch_bounds__(kRopeThreads, 4)
    rope_rotateF32(const __grid_constant__ RopeParams p, const __grid_constant__ RopeShape shape, Fault* fault) { rotateAll<float>(p, shape, fault); }
extern "C" __global__ void __launch_bounds__(kRopeThreads, 4)
    rope_rotateBf16(const __grid_constant__ RopeParams p, const __grid_constant__ RopeShape shape, Fault* fault) { rotateAll<bf16>(p, shape, fault); }
