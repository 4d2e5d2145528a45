#include "kernelTest.h"

using namespace lantern;
using namespace lantern::test;

constexpr int64_t kCounts[] = {0, 1, 7, 33, 16385};

TEST("fill") {
  everywhere([](Runner& r) {
    for (const int64_t dtype : {int64_t(kFloat32), int64_t(kBfloat16), int64_t(kInt32)})
      for (const int64_t n : kCounts) {
        Buffer y(n, dtype);
        OK(r.run("fill", FillParams{y, n, dtype, -2.5}));
        NEAR(y, std::vector<double>(size_t(n), dtype == kInt32 ? -2 : -2.5), 0);
      }
  });
}

TEST("copy between dtypes and strides") {
  everywhere([](Runner& r) {
    for (const DType from : kFloats)
      for (const DType to : kFloats)
        for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{0, 3}, {1, 1}, {5, 7}, {3, 33}}) {
          const int64_t xStride = cols + 3, yStride = cols + 5;
          Buffer x = strided(rows, cols, xStride, from, 1), y(span(rows, cols, yStride), to);
          OK(r.run("copy", CopyParams{x, y, rows, cols, xStride, yStride, from, to}));
          NEAR(packed(y, rows, cols, yStride), packed(x, rows, cols, xStride).values(), to == from ? 0 : 5e-3);
        }
    Buffer x = ints({1, -2, 3}), y(3, kInt32);
    OK(r.run("copy", CopyParams{x, y, 1, 3, 3, 3, kInt32, kInt32}));
    NEAR(y, x.values(), 0);
  });
}

TEST("addScaled") {
  everywhere([](Runner& r) {
    for (const DType in : kFloats)
      for (const DType out : kFloats)
        for (const int64_t n : kCounts)
          for (const bool two : {false, true}) {
            Buffer a = floats(n, in, 1), b = floats(n, out, 2), y(n, out);
            std::vector<double> want(static_cast<size_t>(n));
            for (int64_t i = 0; i < n; ++i) want[size_t(i)] = 0.5 * a[i] + (two ? -3 * b[i] : 0);
            OK(r.run("addScaled", AddScaledParams{a, two ? (void*)b : nullptr, y, n, in, out, out, 0.5, -3}));
            NEAR(y, want, tolerance(out));
            if (two) OK(r.run("addScaled", AddScaledParams{a, b, b, n, in, out, out, 0.5, -3}));  // in place
            if (two) NEAR(b, want, tolerance(out));
          }
  });
}

TEST("multiply") {
  everywhere([](Runner& r) {
    for (const DType dtype : kFloats)
      for (const int64_t n : kCounts) {
        Buffer a = floats(n, dtype, 1), b = floats(n, dtype, 2), y(n, dtype);
        std::vector<double> want(static_cast<size_t>(n));
        for (int64_t i = 0; i < n; ++i) want[size_t(i)] = double(a[i]) * b[i];
        OK(r.run("multiply", MultiplyParams{a, b, y, n, dtype}));
        NEAR(y, want, tolerance(dtype));
        OK(r.run("multiply", MultiplyParams{a, b, b, n, dtype}));  // in place
        NEAR(b, want, tolerance(dtype));
      }
  });
}

TEST("countNonFinite") {
  everywhere([](Runner& r) {
    for (const DType dtype : kFloats)
      for (const int64_t n : kCounts) {
        Buffer x = floats(n, dtype, 1), found(1, kInt32);
        int bad = 0;
        for (int64_t i = 0; i < n; i += 5, ++bad) x.set(i, i % 2 ? NAN : dtype == kFloat32 ? -INFINITY : INFINITY);
        OK(r.run("countNonFinite", CountNonFiniteParams{x, found, n, dtype}));
        CHECK(found[0] == bad);
      }
  });
}
