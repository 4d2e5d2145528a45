#include "divergenceReference.h"
#include "kernelTest.h"

using namespace lantern;
using namespace lantern::test;

namespace {

constexpr double kTemperature = 2, kBeta = 0.3, kFactor = 4;

void check(Runner& r, int64_t dtype, int64_t kind, int64_t rows, int64_t vocab) {
  Buffer student = floats(rows * vocab, dtype, 1), teacher = floats(rows * vocab, dtype, 2), dvalue = floats(rows, kFloat32, 3);
  Buffer value(rows, kFloat32), stats(rows * kDivergenceStats, kFloat32), dstudent(rows * vocab, dtype);
  OK(r.run("divergence", DivergenceParams{student, teacher, value, nullptr, rows, vocab, dtype, dtype, kind, kTemperature, kBeta, kFactor}));
  OK(r.run("divergence", DivergenceParams{student, teacher, value, stats, rows, vocab, dtype, dtype, kind, kTemperature, kBeta, kFactor}));
  OK(r.run("divergenceBackward", DivergenceBackwardParams{student, teacher, dvalue, stats, dstudent, rows, vocab, dtype, dtype, kind,
                                                          kTemperature, kBeta, kFactor}));
  std::vector<double> want, wantGradient;
  for (int64_t row = 0; row < rows; ++row) {
    std::vector<double> s, t;
    for (int64_t i = row * vocab; i < (row + 1) * vocab; ++i) s.push_back(student[i]), t.push_back(teacher[i]);
    const std::vector<double> target = logProbabilities(t, vocab, kTemperature);
    const auto at = [&](int64_t i, double x) {
      s[size_t(i)] += x;
      const double d = kFactor * divergence(logProbabilities(s, vocab, kTemperature), target, kind, kBeta);
      s[size_t(i)] -= x;
      return d;
    };
    want.push_back(at(0, 0));
    for (int64_t i = 0; i < vocab; ++i) wantGradient.push_back(dvalue[row] * (at(i, 1e-5) - at(i, -1e-5)) / 2e-5);
  }
  NEAR(value, want, 1e-3);
  NEAR(dstudent, wantGradient, dtype == kFloat32 ? 1e-3 : 2e-2);
}

}  // namespace

TEST("divergence and its backward, every kind") {
  everywhere([](Runner& r) {
    for (const DType dtype : kFloats)
      for (int64_t kind = kForwardKL; kind <= kTotalVariation; ++kind)
        for (const int64_t vocab : {2, 7, 33, 130}) check(r, dtype, kind, 5, vocab);
  });
}
