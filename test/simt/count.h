// Counters of loads and stores.
#pragma once
#include "request.h"
#include "state.h"

namespace lantern::simt {

// 32-byte sectors that one warp instruction asks for, and the fewest that could hold its bytes.
void countSectors(Warp& warp, const Insn& insn, const Request& addresses);
// Passes over the 32 banks of 4 bytes: by half warps for 8-byte accesses, by quarter warps for 16-byte ones.
void countWavefronts(Warp& warp, const Insn& insn, const Request& offsets);
// Sectors of the allocation that the launch has touched.
void countFootprint(Warp& warp, Allocation& a, const Request& offsets);

}  // namespace lantern::simt
