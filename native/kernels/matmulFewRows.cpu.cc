// y = x W^T for up to kFewRows rows: the roles of the operands are swapped. Rows of x lie in the lanes (packed once, it is small), and units
// of W are broadcast straight from where W lies, so W is read once and never written. A thread computes y^T for a block of rows of W, pass
// after pass over groups of rows of x while the block stays in cache, and transposes it on the way out.
#include <algorithm>

#include "common/pack.h"
#include "common/types.h"
#include "matmulPaths.h"

namespace lantern::LANTERN_ISA {

namespace {

constexpr int64_t kRowsOfW = 48;  // of an item: a multiple of every R below
constexpr int kMostVectors = 4;   // of x in a pass

// Rows of W in a tile with V vectors of x: as many accumulators as fit the registers beside x and the broadcasts.
template <int V>
constexpr int kRowsFor = kLanes == 16 ? (V == 1 ? 16 : V == 2 ? 12 : V == 3 ? 8 : 6) : (V == 1 ? 8 : V == 2 ? 6 : V == 3 ? 4 : 3);

template <class T>
LANTERN_INLINE unit loadUnit(const T* p) {
  unit u;
  memcpy(&u, p, 4);
  return u;
}

// acc[r][v] = sum over k of W[r][k] * x[k][v]. x is packed in units of U; bf16 rows of W are taken two elements at a time.
template <class U, class W, int R, int V>
LANTERN_INLINE void multiplyRows(const W* w, int64_t ldw, int64_t k, const unit* x, int64_t xStride, vfloat (&acc)[R][V]) {
  constexpr int64_t kStep = 4 / sizeof(W);  // elements in 32 bits of W
  constexpr bool widen = sizeof(W) == 2 && sizeof(U) == 4;
  const auto step = [&](auto unitAt, const unit* xk) [[gnu::always_inline]] {
    vint xv[widen ? 2 : 1][V];
#pragma GCC unroll 2
    for (int h = 0; h < (widen ? 2 : 1); ++h)
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) xv[h][v] = loadUnits(xk + h * xStride + v * kLanes);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const vint u = splatUnit(unitAt(r));
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) {
        if constexpr (widen) {
          acc[r][v] = multiplyAdd<float>(u << 16, xv[0][v], acc[r][v]);
          acc[r][v] = multiplyAdd<float>(u & int32_t(0xffff0000), xv[1][v], acc[r][v]);
        } else acc[r][v] = multiplyAdd<U>(u, xv[0][v], acc[r][v]);
      }
    }
  };
  int64_t i = 0;
  for (; i + kStep <= k; i += kStep, x += (widen ? 2 : 1) * xStride) step([&](int r) { return loadUnit(w + r * ldw + i); }, x);
  if constexpr (kStep == 2)
    if (i < k) step([&](int r) { return unit(w[r * ldw + i].bits); }, x);  // the odd last bf16; x has a zero row behind it
}

template <class U, class W, int R, int V>
void multiplyBlock(const W* w, int64_t ldw, int64_t n, int64_t k, const unit* x, int64_t xStride, float* out) {
  for (int64_t j = 0; j < n; j += R) {
    const int64_t at = std::max<int64_t>(0, std::min<int64_t>(j, n - R));  // the last tile overlaps its neighbour
    vfloat acc[R][V] = {};
    multiplyRows<U, W, R, V>(w + at * ldw, ldw, k, x, xStride, acc);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) store(out + (at + r) * V * kLanes + v * kLanes, acc[r][v]);
  }
}

// y^T [n][V * kLanes] for rows m0... of x, to y.
template <class Y>
void finishTransposed(const MatmulParams& p, int64_t m0, int64_t n0, int64_t n, int64_t width, const float* block) {
  const int64_t rows = std::min(width, p.m - m0);
  for (int64_t j = 0; j < n; j += kLanes)
    for (int64_t r0 = 0; r0 < rows; r0 += kLanes) {
      vint square[kLanes];
      for (int i = 0; i < kLanes; ++i) square[i] = asInt(load(block + (j + i) * width + r0));
      transpose(square);
      for (int64_t r = 0; r < std::min<int64_t>(kLanes, rows - r0); ++r) finish<Y>(p, m0 + r0 + r, n0 + j, asFloat(square[r]), n - j);
    }
}

template <class U, class W, int V>
void run(const MatmulParams& p, Context& c, const unit* x, int64_t passes) {
  constexpr int64_t width = V * kLanes;
  const int64_t pass = (unitsOf<U>(p.k) + 1) * width;
  c.pool.parallel((p.n + kRowsOfW - 1) / kRowsOfW, [&](int64_t item, int) {
    alignas(64) float block[kRowsOfW * width];
    const int64_t n0 = item * kRowsOfW, n = std::min(kRowsOfW, p.n - n0);
    const W* w = static_cast<const W*>(p.b) + n0 * p.ldb;
    for (int64_t i = 0; i < passes; ++i) {
      if (n >= kRowsFor<V>) multiplyBlock<U, W, kRowsFor<V>, V>(w, p.ldb, n, p.k, x + i * pass, width, block);
      else multiplyBlock<U, W, 1, V>(w, p.ldb, n, p.k, x + i * pass, width, block);
      if (p.yDtype == kFloat32) finishTransposed<float>(p, i * width, n0, n, width, block);
      else finishTransposed<bf16>(p, i * width, n0, n, width, block);
    }
  });
}

template <class U, class X, class W>
Status runPacked(const MatmulParams& p, Context& c) {
  const int64_t vectors = (p.m + kLanes - 1) / kLanes, passes = (vectors + kMostVectors - 1) / kMostVectors;
  const int64_t v = (vectors + passes - 1) / passes, width = v * kLanes, pass = (unitsOf<U>(p.k) + 1) * width;
  unit* x = static_cast<unit*>(c.workspace.shared(size_t(passes * pass + kLanes) * sizeof(unit)));
  if (!x) return Status::error(Code::outOfMemory, "matmul: no memory for the packed input");
  for (int64_t i = 0; i < passes; ++i) {
    const X* from = static_cast<const X*>(p.a) + i * width * p.lda;
    packInner<U>(x + i * pass, width, from, p.lda, std::min(width, p.m - i * width), p.k);
    std::fill_n(x + i * pass + unitsOf<U>(p.k) * width, width, 0);  // what an odd last element of W meets
  }
  if (v == 1) run<U, W, 1>(p, c, x, passes);
  else if (v == 2) run<U, W, 2>(p, c, x, passes);
  else if (v == 3) run<U, W, 3>(p, c, x, passes);
  else run<U, W, 4>(p, c, x, passes);
  return Status::fine();
}

}  // namespace

Status matmulFewRows(const MatmulParams& p, Context& c) {
  return forTypes(p.aDtype, p.bDtype, [&](auto x, auto w) {
    return runPacked<Multiplied<decltype(x), decltype(w)>, decltype(x), decltype(w)>(p, c);
  });
}

}  // namespace lantern::LANTERN_ISA
