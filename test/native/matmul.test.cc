#include "kernelTest.h"

using namespace lantern;
using namespace lantern::test;

namespace {

struct Case {
  int64_t m, n, k;
};
// One row, a few rows, full tiles and their remainders in every direction, and an empty sum.
constexpr Case kCases[] = {{1, 1, 1}, {1, 37, 65}, {2, 5, 3}, {5, 33, 130}, {17, 31, 29}, {70, 67, 300}, {33, 130, 7}, {3, 4, 0}, {0, 4, 4}};

double activate(double z, int64_t activation) {
  if (activation == kSilu) return z / (1 + std::exp(-z));
  return activation == kGelu ? 0.5 * z * (1 + std::erf(z / std::sqrt(2.0))) : z;
}

void check(Runner& r, const Case& c, bool transposeA, bool transposeB, int64_t aDtype, int64_t bDtype, int64_t yDtype, bool fused,
           int64_t activation) {
  const auto [m, n, k] = c;
  const int64_t aRows = transposeA ? k : m, aCols = transposeA ? m : k, bRows = transposeB ? n : k, bCols = transposeB ? k : n;
  const int64_t lda = aCols + 3, ldb = bCols + 1, ldy = n + 2;
  Buffer a = strided(aRows, aCols, lda, aDtype, 1), b = strided(bRows, bCols, ldb, bDtype, 2), bias = floats(n, kFloat32, 3);
  Buffer residual = strided(m, n, n + 1, yDtype, 4), y(span(m, n, ldy), yDtype), z(span(m, n, ldy), yDtype);
  OK(r.run("matmul", MatmulParams{a, b, fused ? (void*)bias : nullptr, fused ? (void*)residual : nullptr,
                                  fused && activation ? (void*)z : nullptr, y, m, n, k, lda, ldb, n + 1, ldy, transposeA, transposeB, aDtype,
                                  bDtype, kFloat32, yDtype, activation}));
  std::vector<double> wantZ(size_t(m * n)), wantY = wantZ;
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) {
      double sum = fused ? bias[j] : 0;
      for (int64_t l = 0; l < k; ++l) sum += a[transposeA ? l * lda + i : i * lda + l] * b[transposeB ? j * ldb + l : l * ldb + j];
      wantZ[size_t(i * n + j)] = sum;
      wantY[size_t(i * n + j)] = activate(sum, activation) + (fused ? residual[i * (n + 1) + j] : 0);
    }
  const double limit = aDtype == kBfloat16 || bDtype == kBfloat16 ? 2e-2 : tolerance(yDtype);
  NEAR(packed(y, m, n, ldy), wantY, limit);
  if (fused && activation) NEAR(packed(z, m, n, ldy), wantZ, limit);
}

}  // namespace

TEST("matmul: all transposes, dtypes and epilogues") {
  everywhere([](Runner& r) {
    for (const Case& c : kCases)
      for (const DType aDtype : kFloats)
        for (const DType bDtype : kFloats)
          for (const int transposes : {0, 1, 2, 3}) {
            check(r, c, transposes & 1, transposes & 2, aDtype, bDtype, kFloat32, false, kNoActivation);
            check(r, c, transposes & 1, transposes & 2, aDtype, bDtype, aDtype, true, transposes % 3);
          }
  });
}

TEST("matmul: adds to its own output, as a weight gradient does") {
  everywhere([](Runner& r) {
    for (const DType dtype : kFloats) {
      const int64_t m = 19, n = 23, k = 11;
      Buffer dy = floats(k * m, dtype, 1), x = floats(k * n, dtype, 2), dw = floats(m * n, kFloat32, 3);
      std::vector<double> want = dw.values();
      for (int64_t i = 0; i < m * n; ++i)
        for (int64_t l = 0; l < k; ++l) want[size_t(i)] += dy[l * m + i / n] * x[l * n + i % n];
      OK(r.run("matmul", MatmulParams{dy, x, nullptr, dw, nullptr, dw, m, n, k, m, n, n, n, 1, 0, dtype, dtype, kFloat32, kFloat32,
                                      kNoActivation}));
      NEAR(dw, want, tolerance(dtype));
    }
  });
}

TEST("activationBackward and columnSum") {
  everywhere([](Runner& r) {
    for (const DType dtype : kFloats)
      for (const int64_t n : {1, 7, 33, 16385}) {
        for (const int64_t activation : {int64_t(kSilu), int64_t(kGelu)}) {
          Buffer dy = floats(n, dtype, 1), z = floats(n, dtype, 2), dz(n, dtype);
          OK(r.run("activationBackward", ActivationBackwardParams{dy, z, dz, n, dtype, activation}));
          std::vector<double> want(static_cast<size_t>(n));
          for (int64_t i = 0; i < n; ++i) want[size_t(i)] = dy[i] * (activate(z[i] + 1e-5, activation) - activate(z[i] - 1e-5, activation)) / 2e-5;
          NEAR(dz, want, tolerance(dtype));
        }
        const int64_t rows = 13;
        Buffer x = strided(rows, n, n + 1, dtype, 3), sum = floats(n, kFloat32, 4);
        std::vector<double> want = sum.values();
        for (int64_t i = 0; i < rows * n; ++i) want[size_t(i % n)] += x[i / n * (n + 1) + i % n];
        OK(r.run("columnSum", ColumnSumParams{x, sum, rows, n, n + 1, dtype}));
        NEAR(sum, want, 1e-4);
      }
  });
}
