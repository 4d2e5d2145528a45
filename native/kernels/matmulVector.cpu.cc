// y = x W^T for up to kVectorRows rows: every row of W is read once, front to back, by one thread, and multiplied with all rows of x.
// One row of W at a time: a single sequential stream is what the hardware prefetcher follows best.
#include <algorithm>

#include "common/types.h"
#include "matmulPaths.h"

namespace lantern::LANTERN_ISA {

namespace {

constexpr int64_t kRowsOfW = 64;  // of an item
constexpr int kUnroll = 4;        // independent sums, to hide the latency of the additions
constexpr int64_t kAhead = 2048;  // bytes fetched early: half-width weights leave too few loads in flight otherwise

template <class W, int M>
LANTERN_INLINE void dotRow(const W* w, const float* x, int64_t stride, int64_t k, float* out) {
  vfloat acc[M][kUnroll] = {};
  int64_t i = 0;
  for (; i + kUnroll * kLanes <= k; i += kUnroll * kLanes) {
    for (size_t b = 0; b < kUnroll * kLanes * sizeof(W); b += 64)
      __builtin_prefetch(reinterpret_cast<const char*>(w + i) + kAhead + b);
#pragma GCC unroll 4
    for (int u = 0; u < kUnroll; ++u) {
      const vfloat v = load(w + i + u * kLanes);
#pragma GCC unroll 4
      for (int m = 0; m < M; ++m) acc[m][u] += v * load(x + m * stride + i + u * kLanes);
    }
  }
  for (; i < k; i += kLanes) {
    const vfloat v = loadPart(w + i, k - i);  // x is padded with zeros
#pragma GCC unroll 4
    for (int m = 0; m < M; ++m) acc[m][0] += v * load(x + m * stride + i);
  }
  for (int m = 0; m < M; ++m) out[m * kRowsOfW] = sum((acc[m][0] + acc[m][1]) + (acc[m][2] + acc[m][3]));
}

template <class W, int M>
void run(const MatmulParams& p, Context& c, const float* x, int64_t stride) {
  const W* w = static_cast<const W*>(p.b);
  c.pool.parallel((p.n + kRowsOfW - 1) / kRowsOfW, [&](int64_t item, int) {
    alignas(64) float out[M * kRowsOfW];
    const int64_t n0 = item * kRowsOfW, n = std::min(kRowsOfW, p.n - n0);
    for (int64_t j = 0; j < n; ++j) dotRow<W, M>(w + (n0 + j) * p.ldb, x, stride, p.k, out + j);
    for (int m = 0; m < M; ++m) {
      if (p.yDtype == kFloat32) finishRow<float>(p, m, n0, out + m * kRowsOfW, n);
      else finishRow<bf16>(p, m, n0, out + m * kRowsOfW, n);
    }
  });
}

}  // namespace

Status matmulVector(const MatmulParams& p, Context& c) {
  const int64_t stride = (p.k + kLanes - 1) / kLanes * kLanes;
  float* x = static_cast<float*>(c.workspace.shared(size_t(p.m * stride) * sizeof(float)));
  if (!x) return Status::error(Code::outOfMemory, "matmul: no memory for the converted input");
  for (int64_t m = 0; m < p.m; ++m)
    for (int64_t i = 0; i < p.k; i += kLanes) store(x + m * stride + i, loadAs(p.a, p.aDtype, m * p.lda + i, p.k - i));
  return forType(p.bDtype, [&](auto w) {
    using W = decltype(w);
    if (p.m == 1) run<W, 1>(p, c, x, stride);
    else if (p.m == 2) run<W, 2>(p, c, x, stride);
    else run<W, 3>(p, c, x, stride);
    return Status::fine();
  });
}

}  // namespace lantern::LANTERN_ISA
