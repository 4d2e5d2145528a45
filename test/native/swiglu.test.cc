#include "gatedUnit.h"

TEST("swiglu and its backward") {
  lantern::test::testGatedUnit("swiglu", [](double z) {
    const double s = 1 / (1 + std::exp(-z));
    return std::pair{z * s, s * (1 + z * (1 - s))};
  });
}
