#include "kernelTest.h"

using namespace lantern;
using namespace lantern::test;

TEST("rmsNorm and its backward") {
  everywhere([](Runner& r) {
    for (const DType dtype : kFloats)
      for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{1, 1}, {3, 7}, {17, 33}, {130, 20}})
        for (const bool fused : {false, true}) {
          Buffer x = floats(rows * cols, dtype, 1), residual = floats(rows * cols, dtype, 2), weight = floats(cols, kFloat32, 3);
          Buffer y(rows * cols, dtype), sum(rows * cols, dtype), rstd(rows, kFloat32);
          OK(r.run("rmsNorm", RmsNormParams{x, fused ? (void*)residual : nullptr, weight, y, fused ? (void*)sum : nullptr, rstd, rows,
                                            cols, dtype, kFloat32, 1e-6}));
          const Buffer& h = fused ? sum : x;
          Buffer dy = floats(rows * cols, dtype, 4), dh(rows * cols, dtype), dweight = zeros(cols, kFloat32);
          OK(r.run("rmsNormBackward", RmsNormBackwardParams{dy, fused ? (void*)residual : nullptr, h, weight, rstd, dh, dweight, rows, cols,
                                                            dtype, kFloat32}));

          std::vector<double> wantSum(size_t(rows * cols)), wantY = wantSum, wantDh = wantSum, wantDw(size_t(cols), 0.0);
          for (int64_t at = 0; at < rows * cols; at += cols) {
            double square = 0, dot = 0;
            for (int64_t i = at; i < at + cols; ++i) wantSum[i] = x[i] + residual[i], square += h[i] * h[i];
            const double s = 1 / std::sqrt(square / double(cols) + 1e-6);
            for (int64_t i = 0; i < cols; ++i) dot += dy[at + i] * weight[i] * h[at + i];
            for (int64_t i = 0; i < cols; ++i) {
              wantY[at + i] = h[at + i] * s * weight[i];
              wantDh[at + i] = dy[at + i] * weight[i] * s - h[at + i] * s * s * s * dot / double(cols) + (fused ? residual[at + i] : 0);
              wantDw[i] += dy[at + i] * h[at + i] * s;
            }
          }
          if (fused) NEAR(sum, wantSum, tolerance(dtype));
          NEAR(y, wantY, tolerance(dtype));
          if (cols > 1) NEAR(dh, wantDh, tolerance(dtype));  // with one column the exact gradient is about zero
          NEAR(dweight, wantDw, tolerance(dtype));
        }
  });
}
