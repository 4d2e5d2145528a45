#include "gatedUnit.h"

TEST("geglu and its backward") {
  lantern::test::testGatedUnit("geglu", [](double z) {
    const double below = std::erfc(-z / std::sqrt(2.)) / 2, density = std::exp(-z * z / 2) / std::sqrt(2 * std::acos(-1.));
    return std::pair{z * below, below + z * density};
  });
}
