#include "kernelTest.h"

using namespace lantern;
using namespace lantern::test;

TEST("layerNorm and its backward") {
  everywhere([](Runner& r) {
    for (const auto& [dtype, streamDtype] : {std::pair{kFloat32, kFloat32}, {kBfloat16, kBfloat16}, {kBfloat16, kFloat32}})
      for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{1, 2}, {3, 7}, {17, 33}, {130, 20}})
        for (const bool fused : {false, true}) {
          Buffer stream = floats(rows * cols, streamDtype, 1), x = floats(rows * cols, dtype, 2), weight = floats(cols, kFloat32, 3);
          Buffer bias = floats(cols, kFloat32, 5), mean(2 * rows, kFloat32);
          Buffer y(rows * cols, dtype), sum(rows * cols, streamDtype), rstd(rows, kFloat32);
          OK(r.run("layerNorm", LayerNormParams{stream, fused ? (void*)x : nullptr, weight, fused ? (void*)bias : nullptr, y,
                                                fused ? (void*)sum : nullptr, mean, rstd, rows, cols, streamDtype, dtype, kFloat32, 1e-2}));
          const Buffer& h = fused ? sum : stream;
          Buffer dy = floats(rows * cols, dtype, 4), dh(rows * cols, streamDtype), dx(rows * cols, dtype);
          Buffer dweight = zeros(cols, kFloat32), dbias = zeros(cols, kFloat32);
          OK(r.run("layerNormBackward", LayerNormBackwardParams{dy, fused ? (void*)stream : nullptr, h, weight, mean, rstd, dh, dx, dweight,
                                                                dbias, rows, cols, streamDtype, dtype, kFloat32}));

          std::vector<double> wantSum(size_t(rows * cols)), wantY = wantSum, wantDh = wantSum, wantDw(size_t(cols), 0.0), wantDb = wantDw;
          for (int64_t at = 0; at < rows * cols; at += cols) {
            double m = 0, variance = 0, a = 0, b = 0;
            for (int64_t i = at; i < at + cols; ++i) wantSum[i] = stream[i] + x[i], m += h[i] / double(cols);
            for (int64_t i = at; i < at + cols; ++i) variance += (h[i] - m) * (h[i] - m) / double(cols);
            const double s = 1 / std::sqrt(variance + 1e-2);
            for (int64_t i = 0; i < cols; ++i) {
              const double g = dy[at + i] * weight[i] / double(cols);
              a += g, b += g * (h[at + i] - m) * s;
            }
            for (int64_t i = 0; i < cols; ++i) {
              const double z = (h[at + i] - m) * s;
              wantY[at + i] = z * weight[i] + (fused ? bias[i] : 0);
              wantDh[at + i] = (dy[at + i] * weight[i] - a - z * b) * s + (fused ? stream[at + i] : 0);
              wantDw[i] += dy[at + i] * z, wantDb[i] += dy[at + i];
            }
          }
          if (fused) NEAR(sum, wantSum, tolerance(dtype));
          NEAR(y, wantY, tolerance(dtype));
          if (cols > 2) NEAR(dh, wantDh, tolerance(dtype)), NEAR(dx, wantDh, tolerance(dtype));  // with two columns it is about zero
          NEAR(dweight, wantDw, tolerance(dtype));
          NEAR(dbias, wantDb, tolerance(dtype));
        }
  });
}
