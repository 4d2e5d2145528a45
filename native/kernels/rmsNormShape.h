// What both sides of the rmsNorm kernels know.
#pragma once

namespace lantern::cuda {

constexpr int kBackwardWidth = 4;  // elements of a pack, of bfloat16 too: sums, inputs and weights of eight would not fit in the registers

}  // namespace lantern::cuda
