#include "kernelTest.h"

using namespace lantern;
using namespace lantern::test;

TEST("rmsNorm and its backward") {
  everywhere([](Runner& r) {
    for (const auto& [dtype, streamDtype] : {std::pair{kFloat32, kFloat32}, {kBfloat16, kBfloat16}, {kBfloat16, kFloat32}})
      for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{1, 1}, {3, 7}, {17, 33}, {130, 20}})
        for (const bool fused : {false, true}) {
          Buffer stream = floats(rows * cols, streamDtype, 1), x = floats(rows * cols, dtype, 2), weight = floats(cols, kFloat32, 3);
          Buffer y(rows * cols, dtype), sum(rows * cols, streamDtype), rstd(rows, kFloat32);
          OK(r.run("rmsNorm", RmsNormParams{stream, fused ? (void*)x : nullptr, weight, y, fused ? (void*)sum : nullptr, rstd, rows, cols,
                                            streamDtype, dtype, kFloat32, 1e-6}));
          const Buffer& h = fused ? sum : stream;
          Buffer dy = floats(rows * cols, dtype, 4), dh(rows * cols, streamDtype), dx(rows * cols, dtype), dweight = zeros(cols, kFloat32);
          OK(r.run("rmsNormBackward", RmsNormBackwardParams{dy, fused ? (void*)stream : nullptr, h, weight, rstd, dh, dx, dweight, rows,
                                                            cols, streamDtype, dtype, kFloat32}));

          std::vector<double> wantSum(size_t(rows * cols)), wantY = wantSum, wantDh = wantSum, wantDw(size_t(cols), 0.0);
          for (int64_t at = 0; at < rows * cols; at += cols) {
            double square = 0, dot = 0;
            for (int64_t i = at; i < at + cols; ++i) wantSum[i] = stream[i] + x[i], square += h[i] * h[i];
            const double s = 1 / std::sqrt(square / double(cols) + 1e-6);
            for (int64_t i = 0; i < cols; ++i) dot += dy[at + i] * weight[i] * h[at + i];
            for (int64_t i = 0; i < cols; ++i) {
              wantY[at + i] = h[at + i] * s * weight[i];
              wantDh[at + i] = dy[at + i] * weight[i] * s - h[at + i] * s * s * s * dot / double(cols) + (fused ? stream[at + i] : 0);
              wantDw[i] += dy[at + i] * h[at + i] * s;
            }
          }
          if (fused) NEAR(sum, wantSum, tolerance(dtype));
          NEAR(y, wantY, tolerance(dtype));
          if (cols > 1) NEAR(dh, wantDh, tolerance(dtype)), NEAR(dx, wantDh, tolerance(dtype));  // with one column it is about zero
          NEAR(dweight, wantDw, tolerance(dtype));
        }
  });
}
