// How the threads of a block share tokens, heads and pairs: [tokens][headLanes][lanes].
#pragma once
#include <cstdint>

namespace lantern::cuda {

constexpr int kRopeThreads = 256;

struct RopeShape {
  int32_t width;      // pairs that a thread turns at once: 4, or 1 where addresses allow no more
  int32_t lanes;      // threads along the pairs of a head
  int32_t headLanes;  // heads at once
  int32_t tokens;     // of a block
};

}  // namespace lantern::cuda
