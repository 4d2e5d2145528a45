#include "kernelTest.h"

using namespace lantern;
using namespace lantern::test;

namespace {

constexpr int64_t kHeads = 4, kKvHeads = 2, kBlockSize = 4, kMaxBlocks = 5;

// What a query at `position` of one sequence sees, over keys and values [position + 1, kKvHeads, headDim] in sequence order.
void attend(const std::vector<double>& q, const std::vector<double>& k, const std::vector<double>& v, int64_t headDim, int64_t position,
            int64_t left, double* out) {
  for (int64_t h = 0; h < kHeads; ++h) {
    const int64_t kv = h / (kHeads / kKvHeads), low = left < 0 ? 0 : std::max<int64_t>(0, position - left);
    double total = 0;
    std::vector<double> sum(size_t(headDim), 0.0);
    for (int64_t j = low; j <= position; ++j) {
      double s = 0;
      for (int64_t x = 0; x < headDim; ++x) s += q[size_t(h * headDim + x)] * k[size_t((j * kKvHeads + kv) * headDim + x)];
      const double p = std::exp(s / std::sqrt(double(headDim)));
      total += p;
      for (int64_t x = 0; x < headDim; ++x) sum[size_t(x)] += p * v[size_t((j * kKvHeads + kv) * headDim + x)];
    }
    for (int64_t x = 0; x < headDim; ++x) out[h * headDim + x] = sum[size_t(x)] / total;
  }
}

// Two sequences of 7 and 17 positions in scattered blocks: written by cacheWrite, read by pagedAttention.
void check(Runner& r, int64_t dtype, int64_t cacheDtype, int64_t headDim, int64_t left, bool prefill) {
  const std::vector<int> lens{7, 17}, tables{6, 2, -9, -9, -9, 1, 5, 0, 3, 4};
  const int64_t blocks = 7, cols = kKvHeads * headDim, qCols = kHeads * headDim, kStride = cols + 1, vStride = cols + 2;
  Buffer kCache(blocks * kBlockSize * cols, cacheDtype), vCache(blocks * kBlockSize * cols, cacheDtype);
  std::vector<std::vector<double>> ks, vs;
  for (int s = 0; s < 2; ++s) {
    const int64_t tokens = lens[size_t(s)];
    Buffer k = strided(tokens, cols, kStride, dtype, 10 + s), v = strided(tokens, cols, vStride, dtype, 20 + s);
    std::vector<int> slots;
    for (int64_t t = 0; t < tokens; ++t) slots.push_back(tables[size_t(s * kMaxBlocks + t / kBlockSize)] * int(kBlockSize) + int(t % kBlockSize));
    Buffer mapping = ints(slots);
    OK(r.run("cacheWrite", CacheWriteParams{k, v, mapping, kCache, vCache, tokens, cols, blocks * kBlockSize, kStride, vStride, dtype,
                                            cacheDtype}));
    ks.push_back(Buffer(packed(k, tokens, cols, kStride).values(), cacheDtype).values());
    vs.push_back(Buffer(packed(v, tokens, cols, vStride).values(), cacheDtype).values());
  }
  const std::vector<int> starts = prefill ? std::vector<int>{0, 3, 8} : std::vector<int>{0, 1, 2};
  const int64_t tokens = starts[2], qStride = qCols + 3;
  Buffer q = strided(tokens, qCols, qStride, dtype, 3), out(tokens * qCols, dtype);
  Buffer table = ints(tables), context = ints(lens), cu = ints(starts);
  OK(r.run("pagedAttention", PagedAttentionParams{q, kCache, vCache, table, context, prefill ? (int32_t*)cu : nullptr, out, tokens, 2, kHeads,
                                                  kKvHeads, headDim, qStride, blocks, kBlockSize, kMaxBlocks, left, dtype, cacheDtype,
                                                  1 / std::sqrt(double(headDim))}));
  std::vector<double> want(size_t(tokens * qCols));
  const std::vector<double> rows = packed(q, tokens, qCols, qStride).values();
  for (int s = 0; s < 2; ++s)
    for (int64_t t = starts[size_t(s)]; t < starts[size_t(s) + 1]; ++t)
      attend({rows.begin() + t * qCols, rows.begin() + (t + 1) * qCols}, ks[size_t(s)], vs[size_t(s)], headDim,
             lens[size_t(s)] - starts[size_t(s) + 1] + t, left, &want[size_t(t * qCols)]);
  NEAR(out, want, std::max(tolerance(dtype), tolerance(cacheDtype)));
}

}  // namespace

TEST("cacheWrite and pagedAttention: decode and prefill, windows, mixed dtypes") {
  everywhere([](Runner& r) {
    for (const DType dtype : kFloats)
      for (const DType cacheDtype : kFloats)
        for (const int64_t headDim : {8, 24, 40, 64})
          for (const int64_t left : {-1, 5})
            for (const bool prefill : {false, true}) check(r, dtype, cacheDtype, headDim, left, prefill);
  });
}

TEST("cacheWrite: slot -1 is left out, a slot beyond the cache refused; pagedAttention: a block beyond it too") {
  everywhere([](Runner& r) {
    Buffer k = floats(2 * 3, kFloat32, 1), cache(4 * 3, kFloat32), other(4 * 3, kFloat32), out = ints({-1, 2}), bad = ints({0, 4});
    OK(r.run("cacheWrite", CacheWriteParams{k, k, out, cache, other, 2, 3, 4, 3, 3, kFloat32, kFloat32}));
    CHECK(std::isnan(cache[0]) && cache[6] == k[3] && other[8] == k[5]);
    CHECK(!r.run("cacheWrite", CacheWriteParams{k, k, bad, cache, other, 2, 3, 4, 3, 3, kFloat32, kFloat32}).ok());
    Buffer q = floats(3, kFloat32, 2), table = ints({2}), context = ints({1}), y(3, kFloat32);
    CHECK(!r.run("pagedAttention", PagedAttentionParams{q, cache, other, table, context, nullptr, y, 1, 1, 1, 1, 3, 3, 2, 2, 1, -1, kFloat32,
                                                        kFloat32, 1.0})
               .ok());
  });
}
