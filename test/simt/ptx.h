// PTX text as a tree: functions, registers, instructions with operands. Knows the grammar that nvcc emits and refuses anything else by line.
//
// Names are resolved as far as the text alone allows: registers become numbers, scopes are gone, labels are positions. What a symbol
// (shared array, parameter, device variable) stands for is the decoder's business. Text is referred to, not copied: the tree lives as long
// as the string it was parsed from.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace lantern::simt::ptx {

struct Operand {
  enum class Kind {
    reg,        // reg
    special,    // name: %tid.x, %laneid
    immediate,  // value; floating: its bits, 32 or 64 of them
    address,    // [base + value], base being reg or name or neither; parts: further coordinates
    vector,     // {parts}; also d|p, a register with a predicate beside it
    symbol,     // name + value: a variable or a label
    sink,       // _
  };
  Kind kind = Kind::sink;
  bool negated = false;  // !p
  bool floating = false;
  int bits = 64;  // of a floating immediate
  int reg = -1;
  uint64_t value = 0;
  std::string_view name;
  std::vector<Operand> parts;
};

struct Location {  // .loc
  int file = 0, line = 0, inlinedFile = 0, inlinedLine = 0;
};

struct Instruction {
  std::string_view opcode;               // "ld"
  std::vector<std::string_view> modifiers;  // "global", "v4", "f32"
  std::vector<Operand> operands;
  int guard = -1;  // predicate register
  bool guardNegated = false;
  Location location;
  int textLine = 0;       // in the PTX
  std::string_view text;  // the statement
};

struct Variable {
  std::string_view name;
  uint32_t bytes = 0, alignment = 1;
  bool isExtern = false, isConstant = false;
  std::vector<uint8_t> initial;  // shorter than bytes: the rest is zero
  // Initial values that are addresses of other variables: offset and name.
  std::vector<std::pair<uint32_t, std::string_view>> references;
};

struct Function {
  std::string_view name;
  bool isEntry = false, isDefined = false;
  std::vector<Variable> params, results;
  std::vector<std::string_view> registerTypes;  // by register number
  std::vector<Instruction> code;
  std::unordered_map<std::string_view, uint32_t> labels;  // positions in code
  std::unordered_map<std::string_view, std::vector<std::string_view>> branchTables;
  std::vector<Variable> shared, local, callParams;  // callParams: .param variables that calls pass
  uint32_t maxThreads = 0, minBlocks = 0;
};

struct Module {
  std::string_view version, target;
  std::map<int, std::string> files;
  std::vector<Variable> globals, shared;
  std::map<std::string_view, Function> functions;
};

// Throws simt::Error invalidPtx.
Module parse(std::string_view text);

// Bytes of a fundamental type: "f32", "b64", "bf16x2", "pred" (1).
uint32_t bytesOfType(std::string_view type);

}  // namespace lantern::simt::ptx
