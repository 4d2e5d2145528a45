// What host and device of the CUDA divergence share: how rows are cut.
#pragma once
#include <cstdint>

namespace lantern::cuda {

constexpr int kDivergenceThreads = 512;   // the most of a block that reduces a row
constexpr int kGradientThreads = 256;     // of a block of the backward,
constexpr int kGradientPacks = 4;         // and packs that each of its threads takes
constexpr int kGradientBlocks = 3;        // of a multiprocessor, at least: with more to fit, or unstated, the compiler spills

struct DivergenceTask {
  float invT, beta, logRest;  // DivergenceScalars
  int32_t wide;               // whether both arrays start at multiples of a pack
  double factor;              // factor / T: of the gradient
};

}  // namespace lantern::cuda
