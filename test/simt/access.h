// Loads and stores of a warp: from addresses to places in host memory, with every check and every counter on the way.
#pragma once
#include "request.h"
#include "state.h"

namespace lantern::simt {

// Of every lane; one that takes no part has the place of one that does. row: one behind the other.
struct Places {
  uint8_t* at[kLanes];
  bool row = false;
};

// The addresses are those of operand kAddressOperand plus the immediate; insn.elements * insn.elementBytes bytes each. There is an active lane.
void resolve(Warp& warp, const Insn& insn, Access access, Places& places);

// Places in one memory, with all checks; sectors and wavefronts are counted by the caller.
void globalPlaces(Warp& warp, const Insn& insn, const Request& addresses, Places& places);
void sharedPlaces(Warp& warp, const Insn& insn, const Request& offsets, Places& places);
// One lane's bytes.
uint8_t* globalPlace(Warp& warp, const Insn& insn, uint64_t address, uint32_t bytes, int lane, Access access);

// Addresses in a register, plus the immediate. Those of 32 bits wrap.
void addressesOf(const Warp& warp, const Insn& insn, int operand, uint64_t (&address)[kLanes]);

}  // namespace lantern::simt
