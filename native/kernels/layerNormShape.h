// What both sides of the layerNorm kernels know.
#pragma once

namespace lantern::cuda {

// The backward keeps two sums for every column besides its inputs and the weight: packs of eight would not fit in the registers, nor do
// those of 1,024 threads.
constexpr int kBackwardWidth = 4;
constexpr int kBackwardThreads = 512;

}  // namespace lantern::cuda
