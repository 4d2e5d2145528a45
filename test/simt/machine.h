// The PTX machine: executes the compute_80 PTX that nvcc emits where there is no GPU, lane by lane, checks every access, and counts.
//
// This is all that the driver (driver*.cc) and the machine's own tests see. A program is one Memory, modules loaded into it, and launches:
//
//   Memory memory;
//   auto module = Module::load(ptxText, memory);
//   uint64_t x = memory.allocate(1024, "x");
//   memory.copyIn(x, host, 1024);
//   Report report;
//   launch(*module->kernel("rows_forward"), memory, {.grid = {8}, .block = {256}, .params = argumentBytes}, Options{}, report);
//
// What a GPU would die of (an illegal address, a misaligned access, a deadlock) is thrown as an Error with the CUresult that the driver would
// give. What a GPU would let pass (a race, a read of memory that was never written) is a Finding in the report, and the kernel goes on.
// Nothing here is thread-safe: the caller serialises.
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace lantern::simt {

// The values of CUresult that the machine raises.
enum class Result : int {
  invalidValue = 1,
  outOfMemory = 2,
  invalidPtx = 218,
  unsupportedPtxVersion = 222,
  notFound = 500,
  illegalAddress = 700,
  launchOutOfResources = 701,
  launchTimeout = 702,       // the instruction budget is spent
  assertion = 710,
  illegalInstruction = 715,  // also: trap
  misalignedAddress = 716,
  launchFailed = 719,        // deadlock, lanes missing at a .sync instruction
};

// The message names kernel, block, thread, source line and PTX text where there are any.
class Error : public std::runtime_error {
 public:
  Error(Result code, const std::string& message) : std::runtime_error(message), code(code) {}
  Result code;
};

// ---- memory ----

// Device memory. Addresses lie in a range that the host cannot read, and are never given out twice, so that a host access faults and a use
// after free is certain to be seen. Fresh memory holds 0xff (NaN in every float type) and counts as uninitialised byte by byte.
class Memory {
 public:
  struct Block {
    uint64_t address, bytes;
    std::string label;
    bool global;  // a variable of a module, not an allocation
  };

  Memory();
  ~Memory();
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  void limit(uint64_t bytes);  // total size of the device's memory; allocate beyond it is outOfMemory
  uint64_t capacity() const;
  uint64_t used() const;

  uint64_t allocate(uint64_t bytes, const std::string& label = "");
  void free(uint64_t address);  // invalidValue unless it is the start of a live allocation; says so if it was freed before
  bool find(uint64_t address, Block& block) const;  // the live block that holds the address
  std::vector<Block> blocks() const;                // all live ones, by address: at exit, those that are not `global` are leaks

  // All throw invalidValue when a range is not inside one live block.
  void copyIn(uint64_t to, const void* from, uint64_t bytes);
  uint64_t copyOut(void* to, uint64_t from, uint64_t bytes) const;  // how many of the bytes were never written
  void copy(uint64_t to, uint64_t from, uint64_t bytes);            // uninitialised bytes stay so; the ranges may overlap
  void set(uint64_t to, uint32_t value, uint32_t width, uint64_t count);  // width 1, 2 or 4

  struct State;
  State& state() { return *state_; }

 private:
  std::unique_ptr<State> state_;
};

// ---- modules ----

struct Program;  // decoded instructions

struct Param {
  std::string name;
  uint32_t offset, bytes, alignment;
};

struct Kernel {
  std::string name;
  std::vector<Param> params;
  uint32_t paramBytes = 0;
  uint32_t staticShared = 0;  // bytes
  uint32_t localBytes = 0;    // per thread: arrays that are not in registers
  uint32_t maxThreads = 0;    // .maxntid, from __launch_bounds__; 0: not stated
  uint32_t minBlocks = 0;     // .minnctapersm; 0: not stated
  std::shared_ptr<const Program> program;
};

class Module {
 public:
  struct Variable {
    uint64_t address, bytes;
  };

  // Error invalidPtx names the line of the PTX text and what is wrong or unknown there: an unknown instruction fails here, not when it runs.
  static std::unique_ptr<Module> load(const std::string& ptx, Memory& memory);
  ~Module();  // frees its variables

  std::vector<std::string> kernelNames() const;
  const Kernel* kernel(const std::string& name) const;      // nullptr: none of that name
  const Variable* variable(const std::string& name) const;  // .global and .const variables

 private:
  Module() = default;
  Memory* memory_ = nullptr;
  std::map<std::string, Kernel> kernels_;
  std::map<std::string, Variable> variables_;
};

// ---- launches ----

struct Dim {
  uint32_t x = 1, y = 1, z = 1;
  uint64_t count() const { return uint64_t(x) * y * z; }
};

struct Launch {
  Dim grid, block;
  uint32_t dynamicShared = 0;
  std::span<const std::byte> params;  // kernel.paramBytes, each argument at its Param's offset
};

// The order in which what is unordered runs: warps of a block, lanes that have diverged, blocks of a grid.
enum class Schedule { forward, reverse, random };

struct Options {
  Schedule schedule = Schedule::forward;
  uint64_t seed = 0;  // of the random schedule

  // Numerics. All off is the plain reading of the PTX.
  bool contract = false;      // products feed sums unrounded wherever ptxas may fuse them
  bool approxNoise = false;   // .approx results are off by up to their documented error,
  uint64_t noiseSeed = 0;     // the same for the same operands, as long as this is the same
  bool truncateSums = false;  // tensor cores add aligned products and cut off the low bits, as the hardware does

  // Checks that cost time. Bounds, alignment and use after free are always on.
  bool checkRaces = true;
  bool checkInitialised = true;
  bool count = true;  // sectors, wavefronts and footprint

  uint64_t maxInstructions = uint64_t(4) << 30;  // warp instructions of one launch; more is launchTimeout
};

struct Source {
  std::string file;
  uint32_t line = 0;
  std::string inlinedAt;  // "file:line" of the outermost call, if the instruction was inlined
};

// What limits its issue rate on a GPU, roughly.
enum class InstructionClass : uint8_t { integer, float32, float64, half, conversion, special, memory, shared, warp, matrix, control };
constexpr int kInstructionClasses = 11;

struct Counters {
  uint64_t issues = 0;       // warp instructions
  uint64_t lanes = 0;        // lanes that took part: lanes / (32 issues) is the lane use
  uint64_t bytesRead = 0;    // of global memory, asked for by lanes
  uint64_t bytesWritten = 0;
  uint64_t sectors = 0;      // 32-byte sectors of global memory touched, warp instruction by warp instruction
  uint64_t idealSectors = 0; // the fewest that could hold those bytes
  uint64_t wavefronts = 0;   // passes over the 32 banks of shared memory
  uint64_t idealWavefronts = 0;  // without bank conflicts
  uint64_t divergent = 0;    // branches on which the warp split
  Counters& operator+=(const Counters&);
};

// The part of one block of memory that a launch touched, in whole sectors: what must at least cross the memory bus.
struct Footprint {
  Memory::Block block;
  uint64_t bytesRead = 0, bytesWritten = 0;
};

struct Finding {
  std::string kind;  // "uninitialised", "shared race", "global race", "async copy", "shuffle", "read-only load"
  std::string what;  // one sentence with block and thread of the first occurrence, source and PTX text
  Source source;
  uint64_t count = 0;
};

struct Report {
  std::string kernel;
  Dim grid, block;
  uint32_t dynamicShared = 0;
  double seconds = 0;           // of this machine; says nothing about a GPU
  uint64_t barriers = 0;        // summed over blocks
  uint64_t multiplyAdds = 0;    // of mma instructions: one is two FLOP
  Counters total;
  uint64_t issuesByClass[kInstructionClasses] = {};
  std::shared_ptr<const Program> program;  // what ran (program.h): its instructions, their source
  std::vector<Counters> counters;          // by its instructions
  std::vector<Footprint> footprint;
  std::vector<Finding> findings;
};

// Runs the grid. `report` is filled as far as it got when this throws.
void launch(const Kernel& kernel, Memory& memory, const Launch& launch, const Options& options, Report& report);

}  // namespace lantern::simt
