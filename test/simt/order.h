// Which accesses are ordered: races in shared and in global memory.
//
// Time is cut into intervals: a warp begins a new one whenever it synchronises or fences, and numbers go up over all warps and launches. What
// a thread did is ordered before what the warp at hand does now if
//   the same lane did it, or
//   another lane of this warp, before a __syncwarp or block barrier that both took part in, or
//   another warp of this block, before a barrier that both took part in, or
//   anybody, before a fence that was followed by an atomic access (or a volatile store), whose value this warp read with an atomic (or a
//   volatile load) followed by a fence; at block scope with membar.cta, across blocks with membar.gl or membar.sys.
// Lanes of a warp are not ordered by luck, nor by shuffles or votes. Two accesses to the same bytes that are not ordered, one of them a
// write, not both atomic, are a race. A read through the read-only path (ld.nc) of what the same launch has written is wrong in any order.
#pragma once
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "memory.h"
#include "program.h"
#include "request.h"

namespace lantern::simt {

struct Cta;
struct Run;

// A cell's stamps: the interval in the upper 24 bits, then 5 bits of lane, then flags.
constexpr uint32_t kIntervalShift = 8, kLaneShift = 3, kMaxInterval = 1u << 24;
constexpr uint32_t kAtomic = 2, kInFlight = 1;                           // of a write
constexpr uint32_t kManyLanes = 4, kManyWarps = 2, kManyBlocks = 1;      // of a read: the stamp is the latest of several
inline uint32_t intervalOf(uint32_t stamp) { return stamp >> kIntervalShift; }

// What a fence ordered before itself: everything another warp of the block did before seen[warp], and what had been acquired.
struct Release;
struct Acquired {
  const std::vector<Release>* releases;  // of one address
  size_t count;                          // the first so many
};
struct Release {
  uint64_t block;                 // serial
  uint32_t warp;
  bool deviceScope;
  std::vector<uint32_t> seen;     // by warp of that block
  std::vector<Acquired> acquired;
};

struct WarpOrder {
  uint32_t interval = 0;    // now
  uint32_t sinceFloor = 0;  // the first one that is not below blockFloor
  uint32_t warpFloor = 0;   // what lanes of this warp did before is ordered
  uint32_t blockFloor = 0;  // what threads of this block did before is ordered
  std::vector<uint32_t> seen;  // by warp of the block: what it did before is ordered; empty: no more than blockFloor says
  std::vector<uint32_t> lanes; // [lane][lane]: what the other did before is ordered; empty until a __syncwarp of some lanes only
  std::shared_ptr<Release> fenced;      // as of the last fence
  std::vector<Acquired> read, acquired; // atomics read since the last fence; those a fence has made effective
};

struct LaunchOrder {
  bool on = false;
  uint32_t launchFirst = 0, blockFirst = 0;  // intervals
  std::vector<std::pair<uint32_t, uint64_t>> blocks;  // first interval and serial
  std::vector<uint8_t> owner;                // warp of each interval of this launch
  std::unordered_map<uint64_t, std::unique_ptr<std::vector<Release>>> releases;  // by address of an atomic
};

void orderLaunch(Run& run);
void orderBlock(Cta& cta);
// `warps` met, `arrivers` only signalled (bar.arrive); all: no live warp is missing.
void orderBarrier(Cta& cta, uint32_t warps, uint32_t arrivers, bool all);
void orderWarp(Warp& warp, Mask lanes);                 // __syncwarp
void orderFence(Warp& warp, bool deviceScope);
// An atomic access, or a volatile one, to the address: it publishes what was fenced, and will acquire what others published.
void orderAtomic(Warp& warp, uint64_t address, bool reads, bool writes);

// Checks an access and stamps the cells. Offsets are from the start of the shadow's memory.
void orderAccesses(Warp& warp, const Insn& insn, Shadow& shadow, const Request& offsets, bool shared);
void orderAccess(Warp& warp, const Insn& insn, Shadow& shadow, uint64_t offset, uint32_t bytes, int lane, Access access, bool shared);
// The copies that asyncWrite announced have landed.
void orderLanded(Warp& warp, Shadow& shadow, const Request& offsets);

}  // namespace lantern::simt
