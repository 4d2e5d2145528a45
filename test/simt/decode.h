// From the tree of a kernel to a Program. Each family of opcodes has a decode function in the file that also holds its handlers; it is called
// with the Decoder, takes the modifiers it knows, and fills in the instruction. A modifier that nobody takes is an error.
#pragma once
#include <map>
#include <string_view>
#include <unordered_map>

#include "program.h"
#include "ptx.h"

namespace lantern::simt {

class Decoder;
using DecodeFunction = void (*)(Decoder&);
using OpcodeTable = std::unordered_map<std::string_view, DecodeFunction>;

void integerOpcodes(OpcodeTable&);
void bitOpcodes(OpcodeTable&);
void floatOpcodes(OpcodeTable&);
void specialOpcodes(OpcodeTable&);
void compareOpcodes(OpcodeTable&);
void moveOpcodes(OpcodeTable&);
void convertOpcodes(OpcodeTable&);
void memoryOpcodes(OpcodeTable&);
void atomicOpcodes(OpcodeTable&);
void warpOpcodes(OpcodeTable&);
void matrixOpcodes(OpcodeTable&);
void asyncOpcodes(OpcodeTable&);
void controlOpcodes(OpcodeTable&);
void systemCall(Decoder&, std::string_view name, const std::vector<uint64_t>& arguments);

using Variables = std::map<std::string, Module::Variable>;

// A reference of an instruction to a register, for the allocation of registers.
struct RegisterUse {
  uint32_t insn;
  uint8_t operand;
  bool defines;
  uint32_t reg;
};

void fuseProducts(Program& program, const std::vector<RegisterUse>& uses);  // fills in `contracted`

class Decoder {
 public:
  Decoder(const ptx::Module& module, const Variables& variables, Program& program, Kernel& kernel)
      : module_(module), variables_(variables), program_(program), kernel_(kernel) {}
  void run(const ptx::Function& entry);

  // ---- for the opcodes' decode functions ----
  Insn& insn() { return program_.code.back(); }
  const ptx::Instruction& source() const { return *source_; }
  const std::vector<ptx::Operand>& operands() const { return source_->operands; }
  const ptx::Operand& operand(size_t i) const;
  std::string_view opcode() const { return source_->opcode; }

  bool take(std::string_view modifier);          // was it there?
  std::string_view takeType();                   // the last modifier
  std::string_view takeAny();                    // the first that is left
  [[noreturn]] void refuse(const std::string& why = "unknown instruction or variant") const;

  // Set insn().operand[slot]. `bytes` is the size the instruction needs: 4 (also for narrower types) or 8.
  void define(int slot, const ptx::Operand& o, uint32_t bytes);
  void use(int slot, const ptx::Operand& o, uint32_t bytes);
  void usePredicate(int slot, const ptx::Operand& o);  // also to define one; the number of it
  void address(const ptx::Operand& o, int slot = kAddressOperand);  // and insn().immediate, address32
  void scratch(int slot, uint32_t bytes);              // a register of its own, for results that nobody wants
  void carryPredicate(int slot);                       // of the function: what add.cc leaves to addc
  uint32_t bytesOf(const ptx::Operand& o) const;       // of a register: 4 or 8; 0 for anything else

  // ld.param: where a parameter of the kernel, or of an inlined function, lives.
  struct Place {
    Space space;
    uint64_t offset;
  };
  Place param(const ptx::Operand& o) const;

  void branchTo(std::string_view label);
  void branchTable(std::string_view table);
  void call();
  void returns();

  Program& program() { return program_; }

 private:
  struct Frame {  // a function, the kernel or one inlined into it
    const ptx::Function* function;
    std::vector<int> registers;  // by the function's number; -1 until used
    int carry = -1;              // predicate
    std::map<std::string_view, Place> places;  // params, results, local arrays, parameters of calls
    std::vector<uint32_t> starts;               // position in the program of each instruction, and of the end
    std::vector<std::pair<uint32_t, std::string_view>> branches;  // to labels; an empty name is the end
    std::vector<std::pair<std::string_view, uint32_t>> tables;    // and their place in the program
  };

  void layoutShared(const ptx::Function& f);
  void collectShared(const ptx::Function& f, std::vector<const ptx::Variable*>& used, std::vector<std::string_view>& visited);
  const ptx::Variable* sharedVariable(const ptx::Function& f, std::string_view name) const;
  void function(Frame& frame);
  void instruction(const ptx::Instruction& i);
  uint64_t reserveLocal(uint32_t bytes, uint32_t alignment);
  uint64_t symbol(std::string_view name) const;
  uint32_t constant(uint64_t value, uint32_t bytes);
  uint32_t registerOf(const ptx::Operand& o);
  uint32_t newRegister(uint32_t bytes);
  uint32_t sourceIndex(const ptx::Location& l);
  void assignRegisters();

  const ptx::Module& module_;
  const Variables& variables_;
  Program& program_;
  Kernel& kernel_;
  const ptx::Instruction* source_ = nullptr;
  std::vector<std::string_view> modifiers_;  // not taken yet
  std::vector<Frame*> frames_;
  std::map<std::string_view, uint64_t> shared_;
  std::map<std::pair<uint64_t, uint32_t>, uint32_t> constants_;
  std::map<Special, uint32_t> specials_;  // registers
  std::map<std::vector<int>, uint32_t> sources_;
  std::vector<uint8_t> registerBytes_;
  std::vector<RegisterUse> uses_;
};

}  // namespace lantern::simt
