// Loads and stores of a warp: from addresses to places in host memory, with every check and every counter on the way.
#pragma once
#include "state.h"

namespace lantern::simt {

struct Places {
  uint8_t* at[kLanes];  // of the active lanes
};

// The addresses are those of operand kAddressOperand plus the immediate; insn.elements * insn.elementBytes bytes each.
void resolve(Warp& warp, const Insn& insn, Access access, Places& places);

// One lane's bytes, without counters.
uint8_t* globalPlace(Warp& warp, const Insn& insn, uint64_t address, uint32_t bytes, int lane, Access access);
uint8_t* sharedPlace(Warp& warp, const Insn& insn, uint64_t offset, uint32_t bytes, int lane, Access access);

// 32-byte sectors that one warp instruction asks for, and the fewest that could hold its bytes.
void countSectors(Warp& warp, const Insn& insn, const uint64_t (&address)[kLanes], Mask lanes, uint32_t bytes, bool writes);
// Passes over the 32 banks of 4 bytes: by half warps for 8-byte accesses, by quarter warps for 16-byte ones.
void countWavefronts(Warp& warp, const Insn& insn, const uint64_t (&offset)[kLanes], Mask lanes, uint32_t bytes);

}  // namespace lantern::simt
