#include "kernelTest.h"

using namespace lantern;
using namespace lantern::test;

constexpr int64_t kCols[] = {1, 7, 33, 130};
const std::vector<int> kStarts{0, 1, 4, 12};
constexpr int64_t kTokens = 12, kSequences = 3;

TEST("lastTokenPooling, meanPooling and their backwards") {
  everywhere([](Runner& r) {
    for (const DType dtype : kFloats)
      for (const int64_t cols : kCols) {
        Buffer x = floats(kTokens * cols, dtype, 1), cu = ints(kStarts), dy = floats(kSequences * cols, dtype, 2);
        Buffer last(kSequences * cols, dtype), mean(kSequences * cols, dtype), dLast(kTokens * cols, dtype), dMean(kTokens * cols, dtype);
        OK(r.run("lastTokenPooling", LastTokenPoolingParams{x, cu, last, kTokens, kSequences, cols, dtype}));
        OK(r.run("meanPooling", MeanPoolingParams{x, cu, mean, kTokens, kSequences, cols, dtype}));
        OK(r.run("lastTokenPoolingBackward", LastTokenPoolingBackwardParams{dy, cu, dLast, kTokens, kSequences, cols, dtype}));
        OK(r.run("meanPoolingBackward", MeanPoolingBackwardParams{dy, cu, dMean, kTokens, kSequences, cols, dtype}));
        std::vector<double> wantLast(size_t(kSequences * cols), 0.0), wantMean = wantLast, wantDLast(size_t(kTokens * cols), 0.0),
            wantDMean = wantDLast;
        for (int64_t s = 0; s < kSequences; ++s)
          for (int64_t t = kStarts[size_t(s)]; t < kStarts[size_t(s) + 1]; ++t)
            for (int64_t i = 0; i < cols; ++i) {
              const double length = kStarts[size_t(s) + 1] - kStarts[size_t(s)];
              wantLast[s * cols + i] = x[t * cols + i];
              wantMean[s * cols + i] += x[t * cols + i] / length;
              wantDLast[t * cols + i] = t + 1 == kStarts[size_t(s) + 1] ? dy[s * cols + i] : 0;
              wantDMean[t * cols + i] = dy[s * cols + i] / length;
            }
        NEAR(last, wantLast, 0);
        NEAR(mean, wantMean, tolerance(dtype));
        NEAR(dLast, wantDLast, 0);
        NEAR(dMean, wantDMean, tolerance(dtype));
      }
  });
}

TEST("gatherRows and its backward") {
  everywhere([](Runner& r) {
    const std::vector<int> list{3, 3, 0, 1, 3};
    const int64_t xRows = 4, count = int64_t(list.size());
    for (const DType dtype : kFloats)
      for (const int64_t cols : kCols) {
        Buffer x = floats(xRows * cols, dtype, 1), rows = ints(list), y(count * cols, dtype);
        Buffer dy = floats(count * cols, dtype, 2), dx(xRows * cols, dtype);
        OK(r.run("gatherRows", GatherRowsParams{x, rows, y, xRows, count, cols, dtype}));
        OK(r.run("gatherRowsBackward", GatherRowsBackwardParams{dy, rows, dx, xRows, count, cols, dtype}));
        std::vector<double> wantY(size_t(count * cols)), wantDx(size_t(xRows * cols), 0.0);
        for (int64_t i = 0; i < count * cols; ++i) {
          const int64_t at = list[size_t(i / cols)] * cols + i % cols;
          wantY[size_t(i)] = x[at];
          wantDx[size_t(at)] += dy[i];
        }
        NEAR(y, wantY, 0);
        NEAR(dx, wantDx, tolerance(dtype));
      }
  });
}

TEST("l2Normalize and its backward") {
  everywhere([](Runner& r) {
    const int64_t rows = 5;
    for (const DType dtype : kFloats)
      for (const int64_t cols : kCols) {
        Buffer x = floats(rows * cols, dtype, 1), y(rows * cols, dtype), norm(rows, kFloat32);
        Buffer dy = floats(rows * cols, dtype, 2), dx(rows * cols, dtype);
        OK(r.run("l2Normalize", L2NormalizeParams{x, y, norm, rows, cols, dtype, 1e-12}));
        OK(r.run("l2NormalizeBackward", L2NormalizeBackwardParams{dy, x, norm, dx, rows, cols, dtype, 1e-12}));
        std::vector<double> wantY(size_t(rows * cols)), wantDx = wantY;
        for (int64_t at = 0; at < rows * cols; at += cols) {
          double square = 0, dot = 0;
          for (int64_t i = at; i < at + cols; ++i) square += x[i] * x[i];
          for (int64_t i = at; i < at + cols; ++i) dot += dy[i] * x[i] / std::sqrt(square);
          for (int64_t i = at; i < at + cols; ++i) {
            wantY[i] = x[i] / std::sqrt(square);
            wantDx[i] = (dy[i] - wantY[i] * dot) / std::sqrt(square);
          }
        }
        NEAR(y, wantY, tolerance(dtype));
        if (cols > 1) NEAR(dx, wantDx, tolerance(dtype));  // with one column the exact gradient is 0
      }
  });
}

TEST("pooling: empty sequences and rows out of range are refused") {
  everywhere([](Runner& r) {
    Buffer x = floats(4 * 3, kFloat32, 1), y(2 * 3, kFloat32), empty = ints({0, 0, 4}), rows = ints({0, 4});
    CHECK(!r.run("lastTokenPooling", LastTokenPoolingParams{x, empty, y, 4, 2, 3, kFloat32}).ok());
    CHECK(!r.run("meanPooling", MeanPoolingParams{x, empty, y, 4, 2, 3, kFloat32}).ok());
    CHECK(!r.run("gatherRows", GatherRowsParams{x, rows, y, 4, 2, 3, kFloat32}).ok());
    CHECK(std::isnan(y[0]));
  });
}
