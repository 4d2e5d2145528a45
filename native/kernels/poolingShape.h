// What both sides of the pooling kernels know.
#pragma once
#include <cstdint>

namespace lantern::cuda {

constexpr int kPoolThreads = 256;
constexpr int kPoolLanes = 32;  // of meanPooling: threads side by side over the columns; each of the block's warps sums its share of the tokens

enum class PooledBy : int32_t { lastTokenPooling, lastTokenPoolingBackward, meanPooling, meanPoolingBackward };  // what a fault is called

}  // namespace lantern::cuda
