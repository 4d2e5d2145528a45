// The state of a running grid: the launch, the block at hand, its warps.
#pragma once
#include <array>
#include <bit>
#include <random>
#include <unordered_map>
#include <vector>

#include "async.h"
#include "memory.h"
#include "order.h"
#include "program.h"

namespace lantern::simt {

// Generic addresses of the windows; global memory lies below them.
constexpr uint64_t kSharedWindow = 0x7b0000000000, kLocalWindow = 0x7c0000000000, kParamWindow = 0x7d0000000000, kWindowEnd = 0x7e0000000000;

// Lanes that are at the same instruction.
struct Group {
  uint32_t pc;
  Mask lanes;
  bool parked;  // waits at a .sync instruction for lanes that are elsewhere
};

struct Run;
struct Cta;

struct Warp {
  alignas(64) int32_t on[kLanes] = {};  // -1 where `active`
  Mask active = 0;                      // the lanes that execute
  Mask live = 0;                        // that have not exited
  Mask initial = 0;                     // that exist
  uint8_t* base[2] = {};                // registers, constants
  Mask* predicate = nullptr;
  uint32_t pc = 0, id = 0;
  std::vector<Group> others;            // besides the group that executes
  enum class State { ready, atBarrier, done } state = State::ready;
  int barrier = 0;
  Cta* cta = nullptr;
  Run* run = nullptr;
  std::vector<uint8_t> local;           // by lane
  AsyncCopies copies;
  WarpOrder order;
  uint64_t quantum = 0;                 // instructions until another warp gets its turn

  template <class T>
  T* reg(uint32_t operand) const {
    return reinterpret_cast<T*>(base[operand >> 31] + (operand & ~kConstant));
  }
  void activate(Mask lanes) {
    if (lanes == active) return;
    active = lanes;
    for (int l = 0; l < kLanes; ++l) on[l] = -int32_t(lanes >> l & 1);
  }
  void setPredicate(uint32_t p, Mask value) { predicate[p] = (predicate[p] & ~active) | (value & active); }
};

// One of the 16 barriers of a block.
struct Barrier {
  uint32_t arrived = 0;   // threads
  uint32_t expected = 0;  // threads; 0: all that live
  uint32_t warps = 0;     // mask of those that wait or have arrived
  Mask any = 0, all = 0;  // bar.red
  uint32_t count = 0;
};

// A block of threads ("cooperative thread array"); the object is used again for the next block.
struct Cta {
  Dim index;
  uint64_t serial = 0;
  std::vector<uint8_t> shared;
  Bits written;  // of its bytes
  Bits usable;   // that are not in a gap between arrays; empty: all
  Shadow sharedShadow;
  std::array<Barrier, 16> barriers;
  std::vector<Warp> warps;
};

enum class FindingKind : uint8_t { uninitialised, sharedRace, globalRace, asyncCopy, shuffle, readOnlyLoad };

// A launch.
struct Run {
  const Program& program;
  const Insn* code;
  Memory::State& memory;
  const Launch& launch;
  const Options& options;
  Report& report;
  std::vector<Counters> counters;       // by instruction
  std::vector<Allocation*> allocation;  // by instruction: the one it last touched
  std::unordered_map<uint64_t, Finding> findings;  // by kind and instruction
  std::mt19937_64 random;
  LaunchOrder order;
  uint64_t executed = 0;
  uint64_t barriers = 0, multiplyAdds = 0;

  // Counts a finding; `what()` is asked for the first of its kind at an instruction only, since there may be millions.
  template <class What>
  void find(FindingKind kind, const Warp& warp, const Insn& insn, int lane, What what) {
    Finding& f = findings[uint64_t(insn.index) << 8 | uint64_t(kind)];
    if (f.count++ == 0) describe(f, kind, what(), warp, insn, lane);
  }

 private:
  void describe(Finding& f, FindingKind kind, const std::string& what, const Warp& warp, const Insn& insn, int lane) const;
};

// "rows.cu:12 (inlined at rows.cu:80)"
std::string nameOf(const Source& source);
// "rows_forward, block (3,0,0), thread 17, rows.cu:12: ld.global.f32 ..."; without a lane the warp is named.
std::string where(const Warp& warp, const Insn& insn, int lane = -1);
[[noreturn]] void fail(Result code, const std::string& what, const Warp& warp, const Insn& insn, int lane = -1);

}  // namespace lantern::simt
