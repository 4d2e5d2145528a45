#include "../../native/kernels/common/parameterTable.h"

#include "kernelTest.h"

using namespace lantern;
using namespace lantern::test;

TEST("gradNorm and adamw over many tensors") {
  everywhere([](Runner& r) {
    const int64_t counts[] = {1, 33, 40000};  // the last one is cut into blocks
    std::vector<Buffer> parameters, grads, ms, vs, copies;
    std::vector<double> want[3], wantM[3], wantV[3];
    double square = 0;
    for (int i = 0; i < 3; ++i) {
      parameters.push_back(floats(counts[i], kFloat32, 10 + i));
      grads.push_back(floats(counts[i], kFloat32, 20 + i));
      ms.push_back(floats(counts[i], kFloat32, 30 + i));
      vs.push_back(floats(counts[i], kFloat32, 40 + i));
      copies.emplace_back(counts[i], kBfloat16);
      for (int64_t j = 0; j < counts[i]; ++j) {
        vs[size_t(i)].set(j, std::fabs(vs[size_t(i)][j]));
        square += grads[size_t(i)][j] * grads[size_t(i)][j];
      }
    }
    const double lr = 0.01, beta1 = 0.9, beta2 = 0.95, eps = 1e-8, decay = 0.1, maxNorm = 2, norm = std::sqrt(square);
    std::vector<ParameterRow> rows;
    for (int i = 0; i < 3; ++i) {
      const size_t at = size_t(i);
      for (int64_t j = 0; j < counts[i]; ++j) {
        const double g = grads[at][j] * std::min(1.0, maxNorm / (norm + 1e-6)), p = parameters[at][j] * (i == 1 ? 1 : 1 - lr * decay);
        wantM[i].push_back(beta1 * ms[at][j] + (1 - beta1) * g);
        wantV[i].push_back(beta2 * vs[at][j] + (1 - beta2) * g * g);
        want[i].push_back(p - lr / (1 - std::pow(beta1, 3)) * wantM[i].back() /
                                  (std::sqrt(wantV[i].back() / (1 - std::pow(beta2, 3))) + eps));
      }
      rows.push_back({parameters[at], grads[at], ms[at], vs[at], i == 2 ? nullptr : (void*)copies[at], counts[i], i != 1});
    }
    Buffer normOut(1, kFloat32);
    OK(r.run("gradNorm", GradNormParams{rows.data(), normOut, 3}));
    NEAR(normOut, std::vector<double>{norm}, 1e-5);
    OK(r.run("adamw", AdamwParams{rows.data(), normOut, 3, 3, 1, lr, beta1, beta2, eps, decay, maxNorm}));
    for (int i = 0; i < 3; ++i) {
      const size_t at = size_t(i);
      NEAR(parameters[at], want[i], 1e-5);
      NEAR(ms[at], wantM[i], 1e-5);
      NEAR(vs[at], wantV[i], 1e-5);
      NEAR(grads[at], std::vector<double>(size_t(counts[i]), 0.0), 0);
      if (i != 2) NEAR(copies[at], want[i], 1e-2);
    }
    grads[1].set(32, NAN);  // a step that is refused: nothing changes, the gradients neither, so that the cause can be found
    const std::vector<double> before = parameters[2].values();
    OK(r.run("gradNorm", GradNormParams{rows.data(), normOut, 3}));
    CHECK(!std::isfinite(normOut[0]));
    OK(r.run("adamw", AdamwParams{rows.data(), normOut, 3, 4, 1, lr, beta1, beta2, eps, decay, maxNorm}));
    NEAR(parameters[2], before, 0);
    CHECK(grads[1][0] == 0 && std::isnan(grads[1][32]));
  });
}
