// What host and device of the CUDA cross entropy share.
#pragma once
#include <cstdint>

namespace lantern::cuda {

constexpr int kCrossEntropyThreads = 512;       // the most of a block that takes a row
constexpr int kCrossEntropyTotalThreads = 256;  // of the block that adds the rows

struct CrossEntropyRow {  // what a row contributes
  double loss;
  int32_t correct, counts;
};

}  // namespace lantern::cuda
