#include "kernelTest.h"

using namespace lantern;
using namespace lantern::test;

TEST("swiglu and its backward, gate and up as halves of one projection") {
  everywhere([](Runner& r) {
    for (const DType dtype : kFloats)
      for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{1, 1}, {3, 7}, {5, 33}, {17, 1100}}) {
        const int64_t stride = cols + 1;
        Buffer gate = strided(rows, cols, stride, dtype, 1), up = strided(rows, cols, stride, dtype, 2), y(rows * cols, dtype);
        OK(r.run("swiglu", SwigluParams{gate, up, y, rows, cols, stride, stride, cols, dtype}));
        Buffer dy = floats(rows * cols, dtype, 3);
        std::vector<double> wantY(size_t(rows * cols)), wantDg = wantY, wantDu = wantY;
        for (int64_t i = 0; i < rows * cols; ++i) {
          const double g = gate[i / cols * stride + i % cols], u = up[i / cols * stride + i % cols], s = 1 / (1 + std::exp(-g));
          wantY[size_t(i)] = g * s * u;
          wantDu[size_t(i)] = dy[i] * g * s;
          wantDg[size_t(i)] = dy[i] * u * s * (1 + g * (1 - s));
        }
        OK(r.run("swigluBackward", SwigluBackwardParams{dy, gate, up, gate, up, rows, cols, cols, stride, stride, stride, stride, dtype}));
        NEAR(y, wantY, tolerance(dtype));
        NEAR(packed(gate, rows, cols, stride), wantDg, tolerance(dtype));
        NEAR(packed(up, rows, cols, stride), wantDu, tolerance(dtype));
      }
  });
}
