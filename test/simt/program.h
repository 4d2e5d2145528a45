// A kernel as the machine runs it: instructions with their handler and operands resolved to places, and what they refer to.
#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "machine.h"

namespace lantern::simt {

constexpr int kLanes = 32;
using Mask = uint32_t;
constexpr Mask kAllLanes = ~Mask(0);

struct Warp;
struct Insn;
using Handler = void (*)(Warp&, const Insn&);

// What happens to the program counter.
enum class Flow : uint8_t {
  next,
  branch,       // to `target`
  branchTable,  // to Program::branchTables[target], by operand 0
  exit,
  warpSync,     // waits for the lanes of a mask: operand `maskOperand`
  aligned,      // waits for all live lanes
  barrier,      // waits for other warps
};
// Modes of Flow::barrier.
enum : uint8_t { kBarrierSync, kBarrierArrive, kBarrierCount, kBarrierAnd, kBarrierOr };

// Generic is resolved by address, lane by lane.
enum class Space : uint8_t { global, shared, local, param, generic };

// A register is 32 lanes of 4 or 8 bytes, one after another. An operand is the offset of one in the warp's registers, or, with kConstant, in
// the program's constants. Predicates are one mask each and have numbers of their own.
constexpr uint32_t kConstant = 0x80000000u;
constexpr int kMaxOperands = 14;

// Products and sums without a stated rounding mode, which ptxas may fuse.
enum class Fusable : uint8_t { no, product, sum, difference };

struct Insn {
  Handler run = nullptr;
  uint32_t operand[kMaxOperands] = {};
  int64_t immediate = 0;  // address offset, or what the handler makes of it
  uint32_t target = 0;
  int32_t guard = -1;  // predicate; -1: none
  uint32_t index = 0;  // position in the code
  uint32_t source = 0;
  Flow flow = Flow::next;
  Space space = Space::global;
  uint8_t elements = 1;      // of a vector access
  uint8_t elementBytes = 4;
  uint8_t maskOperand = 0;
  uint8_t mode = 0;          // rounding and the like
  bool guardNegated = false;
  bool flag = false;         // a second variant of the handler
  bool negatedPredicate = false;  // bar.red: its predicate is negated
  bool strong = false;       // atomic or volatile: does not race with its like
  bool acquires = false, releases = false, deviceScope = true;
  bool readOnly = false;     // ld.nc: of memory that this launch must not write
  bool address32 = false;    // the address register has 32 bits
  Fusable fusable = Fusable::no;
  InstructionClass kind = InstructionClass::integer;
};
constexpr int kAddressOperand = 8;  // of loads and stores, which have up to 8 registers of data

enum class Special : uint8_t { tidX, tidY, tidZ, ntidX, ntidY, ntidZ, ctaX, ctaY, ctaZ, nctaX, nctaY, nctaZ, lane, warp, lanemaskEq, lanemaskLt,
                               lanemaskLe, lanemaskGt, lanemaskGe, dynamicShared, totalShared };

// A static shared array. Between arrays the machine leaves gaps that no access may touch; where a compiler would put them is its own affair.
struct SharedArray {
  std::string name;
  uint32_t offset, bytes;
};

struct alignas(64) ConstantLine {
  uint8_t bytes[64];
};

struct Program {
  std::string kernel;
  std::vector<Insn> code;
  std::vector<Insn> contracted;  // the same with products and sums fused; empty if there is nothing to fuse
  std::vector<ConstantLine> constants;
  std::vector<std::pair<Special, uint32_t>> specials;  // and the register that holds it
  uint32_t registerBytes = 0, predicates = 0;
  std::vector<std::vector<uint32_t>> branchTables;
  std::vector<std::string> text;  // by instruction
  std::vector<Source> sources;
  std::vector<SharedArray> sharedArrays;
  uint32_t sharedBytes = 0;    // with gaps; dynamic shared memory begins here
  bool usesDynamicShared = false;
  uint32_t localBytes = 0, paramBytes = 0;
  bool hasFences = false;
};

}  // namespace lantern::simt
