// What both sides of the layerNorm kernels know.
#pragma once

namespace lantern::cuda {

constexpr int kLayerNormWidth = 4;       // elements of a pack in the backward, of bfloat16 too
constexpr int kLayerNormThreads = 512;  // the most a block of the backward has: two gradients a column want more registers than rmsNorm's one

}  // namespace lantern::cuda
