#include "divergenceReference.h"
#include "kernelTest.h"

using namespace lantern;
using namespace lantern::test;

namespace {

void check(Runner& r, int64_t dtype, int64_t rows, int64_t classes, bool soft, bool weighted) {
  Buffer logits = floats(rows * classes, dtype, 1), targets(rows * classes, kFloat32), weights(classes, kFloat32);
  std::vector<int> list;
  for (int64_t i = 0; i < rows; ++i) list.push_back(i % 3 == 2 ? -100 : int(i * 5 % classes));
  for (int64_t i = 0; i < classes; ++i) weights.set(i, 0.5 + double(i % 4));
  for (int64_t i = 0; i < rows * classes; ++i) targets.set(i, i % 5 == 4 ? 0 : (1 + double(i * 7 % 11)) / double(6 * classes));
  Buffer labels = ints(list), loss(1, kFloat32), parts(3, kFloat32), dlogits(rows * classes, dtype);
  const double scale = 0.5;
  CrossEntropyParams p{logits, soft ? nullptr : (int32_t*)labels, soft ? (void*)targets : nullptr, weighted ? (float*)weights : nullptr,
                       loss, parts, dlogits, rows, classes, -100, dtype, kFloat32, scale};
  OK(r.run("crossEntropy", p));
  double want = 0;
  std::vector<double> wantGradient(size_t(rows * classes), 0.0);
  for (int64_t row = 0; row < rows; ++row) {
    if (!soft && list[size_t(row)] < 0) continue;
    std::vector<double> x;
    for (int64_t i = 0; i < classes; ++i) x.push_back(logits[row * classes + i]);
    const std::vector<double> l = logProbabilities(x, classes, 1);
    double mass = 0;
    for (int64_t i = 0; i < classes; ++i) {
      const double q = soft ? targets[row * classes + i] : i == list[size_t(row)], w = (weighted ? weights[i] : 1) * q;
      if (q > 0) want += w * (std::log(q) - l[size_t(i)]);
      mass += w;
      wantGradient[size_t(row * classes + i)] -= scale * w;
    }
    for (int64_t i = 0; i < classes; ++i) wantGradient[size_t(row * classes + i)] += scale * mass * std::exp(l[size_t(i)]);
  }
  NEAR(loss, std::vector<double>{scale * want}, 1e-4);
  NEAR(dlogits, wantGradient, dtype == kFloat32 ? 1e-3 : 2e-2);
  CHECK(parts[2] == double(soft ? rows : rows - rows / 3));
  p.dlogits = nullptr;
  OK(r.run("crossEntropy", p));
  NEAR(loss, std::vector<double>{scale * want}, 1e-4);
}

}  // namespace

TEST("crossEntropy: labels and targets, with and without class weights") {
  everywhere([](Runner& r) {
    for (const DType dtype : kFloats)
      for (const auto& [rows, classes] : {std::pair<int64_t, int64_t>{1, 2}, {7, 3}, {19, 33}, {40, 130}})
        for (const bool soft : {false, true})
          for (const bool weighted : {false, true}) check(r, dtype, rows, classes, soft, weighted);
  });
}
