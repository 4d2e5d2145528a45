#include "kernelTest.h"

using namespace lantern;
using namespace lantern::test;

TEST("rope turns queries and keys, and its backward turns them back") {
  everywhere([](Runner& r) {
    const std::vector<int> list{0, 5, 2, 8, 1};
    const int64_t tokens = int64_t(list.size()), maxPosition = 9;
    for (const DType dtype : kFloats)
      for (const int64_t headDim : {2, 6, 34, 64})
        for (const auto& [heads, kvHeads] : {std::pair<int64_t, int64_t>{1, 1}, {3, 1}, {2, 0}}) {
          const int64_t half = headDim / 2, qCols = heads * headDim, kCols = kvHeads * headDim, qStride = qCols + 2, kStride = kCols + 4;
          Buffer q = strided(tokens, qCols, qStride, dtype, 1), k = strided(tokens, kCols, kStride, dtype, 2), positions = ints(list);
          Buffer qOut(tokens * qCols, dtype), kOut(tokens * kCols, dtype), table(maxPosition * headDim, kFloat32);
          for (int64_t i = 0; i < maxPosition * half; ++i) {
            const double angle = double(i / half) * std::pow(10000.0, -2.0 * double(i % half) / double(headDim));
            table.set(i / half * headDim + i % half, std::cos(angle));
            table.set(i / half * headDim + half + i % half, std::sin(angle));
          }
          const bool keys = kvHeads > 0;
          RopeParams p{q, keys ? (void*)k : nullptr, qOut, keys ? (void*)kOut : nullptr, positions, table, tokens, heads, kvHeads, headDim,
                       maxPosition, qStride, kStride, qCols, kCols, dtype, 1};
          OK(r.run("rope", p));
          std::vector<double> want(size_t(tokens * qCols));
          for (int64_t i = 0; i < tokens * qCols; ++i) {
            const int64_t t = i / qCols, j = i % headDim, other = j < half ? i % qCols + half : i % qCols - half;
            const double c = table[list[size_t(t)] * headDim + j % half], s = table[list[size_t(t)] * headDim + half + j % half];
            want[size_t(i)] = q[t * qStride + i % qCols] * c + q[t * qStride + other] * (j < half ? -s : s);
          }
          NEAR(qOut, want, tolerance(dtype));
          p = {qOut, keys ? (void*)kOut : nullptr, qOut, keys ? (void*)kOut : nullptr, positions, table, tokens, heads, kvHeads, headDim,
               maxPosition, qCols, kCols, qCols, kCols, dtype, -1};
          OK(r.run("rope", p));  // in place
          NEAR(qOut, packed(q, tokens, qCols, qStride).values(), tolerance(dtype));
          if (keys) NEAR(kOut, packed(k, tokens, kCols, kStride).values(), tolerance(dtype));
        }
  });
}

TEST("rope: a position outside of the table is refused") {
  everywhere([](Runner& r) {
    for (const int bad : {-1, 9}) {
      Buffer q = floats(2 * 4, kFloat32, 1), out(2 * 4, kFloat32), positions = ints({0, bad}), table = zeros(9 * 4, kFloat32);
      CHECK(!r.run("rope", RopeParams{q, nullptr, out, nullptr, positions, table, 2, 1, 0, 4, 9, 4, 0, 4, 0, kFloat32, 1}).ok());
    }
  });
}
