// cp.async: copies that land as late as the instruction set allows, at the wait.
#pragma once
#include <cstdint>
#include <vector>

#include "program.h"

namespace lantern::simt {

struct AsyncCopy {
  uint64_t from[kLanes];
  uint32_t to[kLanes];     // shared memory
  uint8_t bytes[kLanes];   // from global memory; the rest of `size` is zeros
  uint32_t group[kLanes];  // counted by lane
  Mask lanes;              // under way
  uint8_t size;
  const Insn* insn;
};

struct AsyncCopies {
  std::vector<AsyncCopy> pending;
  uint32_t group[kLanes] = {};  // the one that is open
};

}  // namespace lantern::simt
