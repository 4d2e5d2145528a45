// y = x W^T for up to kVectorRows rows, as dot products. Every row of W is read once, front to back, by one thread, and multiplied with all
// rows of x, which stay in cache. What a row costs beyond its multiply-adds is kept small: lanes are summed for kLanes outputs at once.
#include <algorithm>

#include "common/pack.h"
#include "common/types.h"
#include "matmulPaths.h"

namespace lantern::LANTERN_ISA {

namespace {

constexpr int64_t kItemsPerThread = 3;  // memory is read fastest in long runs, but a thread that is held up must leave some to the others
constexpr int64_t kAhead = 8192;        // bytes fetched early: loads alone do not keep enough under way

// Rows of W in a tile with M rows of x: two share what is loaded of x. Sums kept for each product: enough of them to hide the latency of the
// additions, few enough for the registers.
template <int M>
constexpr int kRowsFor = M == 1 || kLanes < 16 ? 1 : 2;
template <int M>
constexpr int kSumsFor = M == 1 ? 4 : M <= 4 ? 2 : 1;

// products[m][at + r] = row r of W times row m of x, still to be summed over the lanes. x: rows of units of U, `stride` apart, zeros beyond k.
template <class U, class W, int M, int R>
LANTERN_INLINE void dotRows(const W* w, int64_t ldw, const unit* x, int64_t stride, int64_t k, vfloat (&products)[M][kLanes], int64_t at) {
  constexpr int kSums = kSumsFor<M>;
  constexpr int64_t kVector = kLanes * kUnit<U>, kStep = kSums * kVector;
  vfloat acc[R][M][kSums] = {};
  int64_t i = 0;
  for (; i + kStep <= k; i += kStep, x += kSums * kLanes) {
    // Line after line as the rows lie in memory, whatever the order they are used in: one stream is read faster than two.
#pragma GCC unroll 4
    for (int64_t b = 0; b < R * kStep * int64_t(sizeof(W)); b += 64) prefetch(reinterpret_cast<const char*>(w + R * i) + kAhead + b);
#pragma GCC unroll 4
    for (int s = 0; s < kSums; ++s) {
      vint wv[R];
#pragma GCC unroll 2
      for (int r = 0; r < R; ++r) wv[r] = loadAsUnits<U>(w + r * ldw + i + s * kVector, kVector);
#pragma GCC unroll 8
      for (int m = 0; m < M; ++m) {
        const vint xv = loadUnits(x + m * stride + s * kLanes);
#pragma GCC unroll 2
        for (int r = 0; r < R; ++r) acc[r][m][s] = multiplyAdd<U>(wv[r], xv, acc[r][m][s]);
      }
    }
  }
  for (; i < k; i += kVector, x += kLanes)
#pragma GCC unroll 2
    for (int r = 0; r < R; ++r) {
      const vint wv = loadAsUnits<U>(w + r * ldw + i, k - i);
#pragma GCC unroll 8
      for (int m = 0; m < M; ++m) acc[r][m][0] = multiplyAdd<U>(wv, loadUnits(x + m * stride), acc[r][m][0]);
    }
#pragma GCC unroll 2
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) {
      vfloat total = acc[r][m][0];
#pragma GCC unroll 4
      for (int s = 1; s < kSums; ++s) total += acc[r][m][s];
      products[m][at + r] = total;
    }
}

template <class U, class W, int M>
void run(const MatmulParams& p, Context& c, const unit* x, int64_t stride) {
  constexpr int R = kRowsFor<M>;
  const W* w = static_cast<const W*>(p.b);
  const int64_t items = kItemsPerThread * c.pool.threads(), rows = (p.n + items * kLanes - 1) / (items * kLanes) * kLanes;
  c.pool.parallel((p.n + rows - 1) / rows, [&](int64_t item, int) {
    const int64_t end = std::min(p.n, (item + 1) * rows);
    for (int64_t n0 = item * rows; n0 < end; n0 += kLanes) {
      const int64_t count = std::min<int64_t>(kLanes, end - n0);
      vfloat products[M][kLanes];
      if (count < kLanes) std::fill_n(&products[0][0], M * kLanes, vfloat{});
      int64_t j = 0;
      for (; j + R <= count; j += R) dotRows<U, W, M, R>(w + (n0 + j) * p.ldb, p.ldb, x, stride, p.k, products, j);
      for (; j < count; ++j) dotRows<U, W, M, 1>(w + (n0 + j) * p.ldb, p.ldb, x, stride, p.k, products, j);
      for (int m = 0; m < M; ++m) {
        const vfloat y = sumEach(products[m]);
        if (p.yDtype == kFloat32) finish<float>(p, m, n0, y, count);
        else finish<bf16>(p, m, n0, y, count);
      }
    }
  });
}

template <class U, class W, int M = 1>
void runRows(const MatmulParams& p, Context& c, const unit* x, int64_t stride) {
  if constexpr (M < kVectorRows)
    if (p.m > M) return runRows<U, W, M + 1>(p, c, x, stride);
  run<U, W, M>(p, c, x, stride);
}

}  // namespace

Status matmulVector(const MatmulParams& p, Context& c) {
  return forTypes(p.aDtype, p.bDtype, [&](auto a, auto b) {
    using X = decltype(a);
    using W = decltype(b);
    using U = Multiplied<X, W>;
    constexpr int64_t kVector = kLanes * kUnit<U>;
    const int64_t stride = (p.k + kVector - 1) / kVector * kLanes;
    unit* x = static_cast<unit*>(c.workspace.shared(size_t(p.m * stride) * sizeof(unit)));
    if (!x) return Status::error(Code::outOfMemory, "matmul: no memory for the packed input");
    for (int64_t m = 0; m < p.m; ++m)
      for (int64_t i = 0; i < p.k; i += kVector)
        storeUnits(x + m * stride + i / kUnit<U>, loadAsUnits<U>(static_cast<const X*>(p.a) + m * p.lda + i, p.k - i));
    runRows<U, W>(p, c, x, stride);
    return Status::fine();
  });
}

}  // namespace lantern::LANTERN_ISA
