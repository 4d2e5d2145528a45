// A warp's turn, see step.cc.
#pragma once
#include "state.h"

namespace lantern::simt {

// Runs the warp until it waits for others, has ended, or its quantum is spent.
void runWarp(Warp& warp);
// A mask of the warps that have not ended.
uint32_t liveWarps(const Cta& cta);

}  // namespace lantern::simt
