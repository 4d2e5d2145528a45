#include "kernelTest.h"

using namespace lantern;
using namespace lantern::test;

namespace {

struct Case {
  std::vector<int> starts;
  int64_t heads, kvHeads, headDim, left, right;
};
// Head sizes are multiples of 8: lib/ops/attention.ts refuses others.
const Case kCases[] = {
    {{0, 1}, 1, 1, 8, -1, 0},        {{0, 3, 3, 10}, 4, 2, 24, -1, 0}, {{0, 37, 50}, 3, 1, 40, -1, -1},
    {{0, 70, 75}, 2, 2, 64, 16, 0},     {{0, 5, 150}, 2, 1, 16, 3, 2},
};

// One query head against its key head, in double: out [tokens, headDim] and the gradients, added to.
struct Reference {
  const Case& c;
  const Buffer &q, &k, &v, &dout;
  int64_t qStride, kvStride;
  std::vector<double> out, dq, dk, dv;  // packed

  Reference(const Case& c, const Buffer& q, const Buffer& k, const Buffer& v, const Buffer& dout, int64_t qStride, int64_t kvStride)
      : c(c), q(q), k(k), v(v), dout(dout), qStride(qStride), kvStride(kvStride) {
    const size_t tokens = size_t(c.starts.back());
    out.assign(tokens * size_t(c.heads * c.headDim), 0);
    dq = out;
    dk.assign(tokens * size_t(c.kvHeads * c.headDim), 0);
    dv = dk;
    for (size_t s = 0; s + 1 < c.starts.size(); ++s)
      for (int64_t i = c.starts[s]; i < c.starts[s + 1]; ++i)
        for (int64_t h = 0; h < c.heads; ++h) row(c.starts[s], c.starts[s + 1], i, h);
  }

  void row(int64_t begin, int64_t end, int64_t i, int64_t h) {
    const int64_t d = c.headDim, kv = h / (c.heads / c.kvHeads), low = c.left < 0 ? begin : std::max(begin, i - c.left);
    const int64_t high = c.right < 0 ? end : std::min(end, i + c.right + 1), at = (i * c.heads + h) * d;
    const double scale = 1 / std::sqrt(double(d));
    std::vector<double> p;
    double largest = -INFINITY, total = 0, delta = 0;
    for (int64_t j = low; j < high; ++j) {
      double s = 0;
      for (int64_t x = 0; x < d; ++x) s += q[i * qStride + h * d + x] * k[j * kvStride + kv * d + x];
      p.push_back(s * scale);
      largest = std::max(largest, s * scale);
    }
    for (double& s : p) total += s = std::exp(s - largest);
    for (int64_t j = low; j < high; ++j)
      for (int64_t x = 0; x < d; ++x) out[size_t(at + x)] += p[size_t(j - low)] / total * v[j * kvStride + kv * d + x];
    for (int64_t x = 0; x < d; ++x) delta += dout[at + x] * out[size_t(at + x)];
    for (int64_t j = low; j < high; ++j) {
      const double w = p[size_t(j - low)] / total;
      double dp = 0;
      for (int64_t x = 0; x < d; ++x) dp += dout[at + x] * v[j * kvStride + kv * d + x];
      for (int64_t x = 0; x < d; ++x) {
        const size_t kAt = size_t((j * c.kvHeads + kv) * d + x);
        dq[size_t(at + x)] += w * (dp - delta) * scale * k[j * kvStride + kv * d + x];
        dk[kAt] += w * (dp - delta) * scale * q[i * qStride + h * d + x];
        dv[kAt] += w * dout[at + x];
      }
    }
  }
};

}  // namespace

TEST("attention and its backward over packed sequences") {
  everywhere([](Runner& r) {
    for (const DType dtype : kFloats)
      for (const Case& c : kCases) {
        const int64_t tokens = c.starts.back(), sequences = int64_t(c.starts.size()) - 1, qCols = c.heads * c.headDim,
                      kvCols = c.kvHeads * c.headDim, qStride = qCols + 3, kvStride = kvCols + 1, dStride = qCols + 5;
        const double scale = 1 / std::sqrt(double(c.headDim));
        Buffer q = strided(tokens, qCols, qStride, dtype, 1), k = strided(tokens, kvCols, kvStride, dtype, 2);
        Buffer v = strided(tokens, kvCols, kvStride, dtype, 3), dout = floats(tokens * qCols, dtype, 4), cu = ints(c.starts);
        const Reference want(c, q, k, v, dout, qStride, kvStride);
        Buffer out(tokens * qCols, dtype), lse(c.heads * tokens, kFloat32);
        Buffer dq(span(tokens, qCols, dStride), dtype), dk(tokens * kvCols, dtype), dv(tokens * kvCols, dtype);
        for (const bool keep : {false, true})
          OK(r.run("attention", AttentionParams{q, k, v, cu, out, keep ? (float*)lse : nullptr, tokens, sequences, c.heads, c.kvHeads,
                                                c.headDim, qStride, kvStride, kvStride, c.left, c.right, dtype, scale}));
        OK(r.run("attentionBackward",
                 AttentionBackwardParams{q, k, v, cu, out, lse, dout, dq, dk, dv, tokens, sequences, c.heads, c.kvHeads, c.headDim, qStride,
                                         kvStride, kvStride, dStride, kvCols, kvCols, c.left, c.right, dtype, scale}));
        NEAR(out, want.out, tolerance(dtype));
        NEAR(dv, want.dv, tolerance(dtype));
        if (tokens == 1) continue;  // one key: the gradients of the scores are 0
        NEAR(packed(dq, tokens, qCols, dStride), want.dq, 2 * tolerance(dtype));
        NEAR(dk, want.dk, 2 * tolerance(dtype));
      }
  });
}
