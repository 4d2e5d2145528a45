#include <algorithm>
#include <numeric>

#include "divergenceReference.h"
#include "kernelTest.h"

using namespace lantern;
using namespace lantern::test;

namespace {

// Columns by logit, the largest first.
std::vector<int> ranking(const Buffer& logits, int64_t row, int64_t cols, int64_t limit) {
  std::vector<int> order(static_cast<size_t>(limit));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return logits[row * cols + a] > logits[row * cols + b]; });
  return order;
}

void check(Runner& r, int64_t dtype, int64_t cols, int64_t limit) {
  const int64_t rows = 4, topK = std::min<int64_t>(3, limit);
  Buffer logits = floats(rows * cols, dtype, uint64_t(cols));
  for (int64_t i = 0; i < rows * cols; ++i)
    if (i % cols >= limit) logits.set(i, NAN);  // beyond the limit nothing is looked at
  // Rows: greedy, top-k, a top-p that leaves one column, everything with a penalty.
  Buffer settings(std::vector<double>{0, 1, 1, 0.8, 1, 1, 1, 1e-6, 1, 1, 0.9, 1.3}, kFloat32);
  Buffer draws = ints({0, 1, 0, 0, 0, int(topK), 2, 0, 1, 5, 0, 3, 0, 2, 5, 0, 4, 0, 3, 5});
  Buffer previous = ints({0, int(limit) - 1, 0}), cuPrevious = ints({0, 0, 0, 0, 3}), ids(rows, kInt32), again(rows, kInt32);
  Buffer logProbs(rows, kFloat32);
  SamplingParams p{logits, settings, draws, previous, cuPrevious, ids, logProbs, rows, cols, limit, dtype};
  OK(r.run("sampling", p));
  p.ids = again, p.logProbs = nullptr;
  OK(r.run("sampling", p));
  for (int64_t row = 0; row < rows; ++row) {
    CHECK(ids[row] >= 0 && ids[row] < double(limit) && ids[row] == again[row]);
    std::vector<double> x;
    for (int64_t i = 0; i < limit; ++i) x.push_back(logits[row * cols + i]);
    CHECK(std::fabs(logProbs[row] - logProbabilities(x, limit, 1)[size_t(ids[row])]) < 1e-3);
    const std::vector<int> order = ranking(logits, row, cols, limit);
    if (row == 0 || row == 2) CHECK(ids[row] == order[0]);
    if (row == 1) CHECK(std::find(order.begin(), order.begin() + topK, int(ids[row])) != order.begin() + topK);
  }
}

}  // namespace

TEST("sampling: greedy, top-k, top-p and penalties, rows shorter than their memory") {
  everywhere([](Runner& r) {
    for (const DType dtype : kFloats)
      for (const auto& [cols, limit] : {std::pair<int64_t, int64_t>{1, 1}, {7, 5}, {33, 33}, {130, 129}, {1000, 700}})
        check(r, dtype, cols, limit);
  });
}

TEST("sampling: rows that hold no distribution and ids outside of the columns are refused") {
  everywhere([](Runner& r) {
    const std::vector<double> rows[] = {{0, NAN, 0}, {0, INFINITY, 0}, {-INFINITY, -INFINITY, -INFINITY}};
    Buffer settings(std::vector<double>{1, 1, 1.2}, kFloat32), draws = ints({0, 1, 0, 0, 0}), ids(1, kInt32), cu = ints({0, 1}), bad = ints({3});
    for (const std::vector<double>& row : rows) {
      Buffer logits(row, kFloat32);
      CHECK(!r.run("sampling", SamplingParams{logits, settings, draws, nullptr, nullptr, ids, nullptr, 1, 3, 3, kFloat32}).ok());
    }
    Buffer logits = floats(3, kFloat32, 1);
    CHECK(!r.run("sampling", SamplingParams{logits, settings, draws, bad, cu, ids, nullptr, 1, 3, 3, kFloat32}).ok());
  });
}
