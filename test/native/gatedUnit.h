// What holds for every gated unit: gate and up as halves of one projection, and the gradients written over them.
#pragma once
#include "kernelTest.h"

namespace lantern::test {

// f(z) gives the activation and its slope, in double.
template <class F>
void testGatedUnit(const std::string& kernel, F&& f) {
  everywhere([&](Runner& r) {
    for (const DType dtype : kFloats)
      for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{1, 1}, {3, 7}, {5, 33}, {17, 1100}}) {
        const int64_t stride = cols + 1;
        Buffer gate = strided(rows, cols, stride, dtype, 1), up = strided(rows, cols, stride, dtype, 2), y(rows * cols, dtype);
        OK(r.run(kernel.c_str(), SwigluParams{gate, up, y, rows, cols, stride, stride, cols, dtype}));
        Buffer dy = floats(rows * cols, dtype, 3);
        std::vector<double> wantY(size_t(rows * cols)), wantDg = wantY, wantDu = wantY;
        for (int64_t i = 0; i < rows * cols; ++i) {
          const double u = up[i / cols * stride + i % cols];
          const auto [value, slope] = f(gate[i / cols * stride + i % cols]);
          wantY[size_t(i)] = value * u;
          wantDu[size_t(i)] = dy[i] * value;
          wantDg[size_t(i)] = dy[i] * u * slope;
        }
        const std::string backward = kernel + "Backward";
        OK(r.run(backward.c_str(), SwigluBackwardParams{dy, gate, up, gate, up, rows, cols, cols, stride, stride, stride, stride, dtype}));
        NEAR(y, wantY, tolerance(dtype));
        NEAR(packed(gate, rows, cols, stride), wantDg, tolerance(dtype));
        NEAR(packed(up, rows, cols, stride), wantDu, tolerance(dtype));
      }
  });
}

}  // namespace lantern::test
