// y = x W^T for up to kFewRows rows: the roles of the operands are swapped. Rows of x lie in the lanes (packed once, it is small), and units
// of W are broadcast straight from where W lies (or from a copy of a few rows in cache, see multiplyBlock), so W is read once. A thread computes
// y^T for a block of rows of W, pass after pass over groups of rows of x while the block stays in cache, and transposes it on the way out.
#include <algorithm>
#include <atomic>

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

// acc[r][v] = sum over k of W[r][k] * x[k][v]; W and x in units of U. An odd last bf16 of W stands alone in its unit. Meanwhile the same part
// of the R rows `next` is fetched: so many streams at once are more than the hardware follows.
template <class U, int R, int V>
LANTERN_INLINE void multiplyRows(const U* w, int64_t ldw, int64_t k, const unit* x, const U* next, vfloat (&acc)[R][V]) {
  const auto step = [&](const unit* xk, auto unitAt) [[gnu::always_inline]] {
    vint held[R < V ? R : V];  // the smaller side waits in registers, the other passes through one
    if constexpr (R < V) {
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) held[r] = splatUnit(unitAt(r));
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) {
        const vint xv = loadUnits(xk + v * kLanes);
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) acc[r][v] = multiplyAdd<U>(held[r], xv, acc[r][v]);
      }
    } else {
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) held[v] = loadUnits(xk + v * kLanes);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        const vint u = splatUnit(unitAt(r));
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) acc[r][v] = multiplyAdd<U>(u, held[v], acc[r][v]);
      }
    }
  };
  constexpr int64_t kLine = 64 / sizeof(U);
  int64_t i = 0;
  for (; i + kLine <= k;) {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) __builtin_prefetch(next + r * ldw + i, 0, 2);  // the second-level cache has room for them
    for (const int64_t end = i + kLine; i < end; i += kUnit<U>, x += V * kLanes)
      step(x, [&](int r) [[gnu::always_inline]] { return loadUnit(w + r * ldw + i); });
  }
  for (; i + kUnit<U> <= k; i += kUnit<U>, x += V * kLanes) step(x, [&](int r) [[gnu::always_inline]] { return loadUnit(w + r * ldw + i); });
  if constexpr (kUnit<U> == 2)
    if (i < k) step(x, [&](int r) [[gnu::always_inline]] { return unit(w[r * ldw + i].bits); });
}

// Row stride of copied rows: not a power of two, so that the rows of a tile do not evict one another.
int64_t copyStride(int64_t k) { return (k + 15) / 16 * 16 + 16; }

// Whether the rows of a tile are copied before they are multiplied: to widen them, a vector operation for kLanes elements where the
// broadcasts would need one for each; or because rows that lie a multiple of half a page apart share eight places in the cache.
template <class U, class W, int R>
bool copiesRows(int64_t ldw) {
  return sizeof(U) != sizeof(W) || (R > 8 && ldw * int64_t(sizeof(W)) % 2048 == 0);
}

// out[j][V * kLanes] for rows j < n of W. copy: R rows, or null.
template <class U, class W, int R, int V>
void multiplyBlock(const W* w, int64_t ldw, int64_t n, int64_t k, const unit* x, U* copy, float* out) {
  for (int64_t j = 0; j < n; j += R) {
    const int64_t at = std::max<int64_t>(0, std::min<int64_t>(j, n - R));  // the last tile overlaps its neighbour
    const W* rows = w + at * ldw;
    vfloat acc[R][V] = {};
    if (copy) {
      const int64_t stride = copyStride(k);
      for (int r = 0; r < R; ++r) {
        if constexpr (sizeof(U) == sizeof(W)) memcpy(copy + r * stride, rows + r * ldw, size_t(k) * sizeof(W));
        else
          for (int64_t i = 0; i < k; i += kLanes) store(copy + r * stride + i, loadPart(rows + r * ldw + i, k - i));
      }
      multiplyRows<U, R, V>(copy, stride, k, x, copy, acc);
    } else if constexpr (sizeof(U) == sizeof(W)) multiplyRows<U, R, V>(rows, ldw, k, x, rows + R * ldw, acc);
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
Status run(const MatmulParams& p, Context& c, const unit* x, int64_t passes) {
  constexpr int64_t width = V * kLanes, R = kRowsFor<V>;
  const int64_t pass = unitsOf<U>(p.k) * width;
  const size_t scratch = copiesRows<U, W, R>(p.ldb) ? size_t(R * copyStride(p.k)) * sizeof(U) : 0;
  std::atomic<bool> failed{false};
  c.pool.parallel((p.n + kRowsOfW - 1) / kRowsOfW, [&](int64_t item, int thread) {
    U* copy = scratch ? static_cast<U*>(c.workspace.local(thread, scratch)) : nullptr;
    if (scratch && !copy) return failed.store(true);
    alignas(64) float block[kRowsOfW * width];
    const int64_t n0 = item * kRowsOfW, n = std::min(kRowsOfW, p.n - n0);
    const W* w = static_cast<const W*>(p.b) + n0 * p.ldb;
    for (int64_t i = 0; i < passes; ++i) {
      if (n >= R) multiplyBlock<U, W, R, V>(w, p.ldb, n, p.k, x + i * pass, copy, block);
      else multiplyBlock<U, W, 1, V>(w, p.ldb, n, p.k, x + i * pass, copy, block);
      if (p.yDtype == kFloat32) finishTransposed<float>(p, i * width, n0, n, width, block);
      else finishTransposed<bf16>(p, i * width, n0, n, width, block);
    }
  });
  return failed ? Status::error(Code::outOfMemory, "matmul: no memory for copied weights; use fewer threads") : Status::fine();
}

template <class U, class X, class W>
Status runPacked(const MatmulParams& p, Context& c) {
  const int64_t vectors = (p.m + kLanes - 1) / kLanes, passes = (vectors + kMostVectors - 1) / kMostVectors;
  const int64_t v = (vectors + passes - 1) / passes, width = v * kLanes, pass = unitsOf<U>(p.k) * width;
  unit* x = static_cast<unit*>(c.workspace.shared(size_t(passes * pass + kLanes) * sizeof(unit)));
  if (!x) return Status::error(Code::outOfMemory, "matmul: no memory for the packed input; use smaller batches");
  for (int64_t i = 0; i < passes; ++i)
    packInner<U>(x + i * pass, width, static_cast<const X*>(p.a) + i * width * p.lda, p.lda, std::min(width, p.m - i * width), p.k);
  if (v == 1) return run<U, W, 1>(p, c, x, passes);
  if (v == 2) return run<U, W, 2>(p, c, x, passes);
  if (v == 3) return run<U, W, 3>(p, c, x, passes);
  return run<U, W, 4>(p, c, x, passes);
}

}  // namespace

Status matmulFewRows(const MatmulParams& p, Context& c) {
  return forTypes(p.aDtype, p.bDtype, [&](auto x, auto w) {
    return runPacked<Multiplied<decltype(x), decltype(w)>, decltype(x), decltype(w)>(p, c);
  });
}

}  // namespace lantern::LANTERN_ISA
