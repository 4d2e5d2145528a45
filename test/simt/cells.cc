// Races: accesses leave stamps on the cells of memory, and are compared with the stamps that others left. The rules are in order.h.
#include <algorithm>
#include <cstring>
#include <map>

#include "state.h"

namespace lantern::simt {

namespace {

// ---- other blocks ----

uint64_t blockOf(const LaunchOrder& order, uint32_t interval) {
  auto it = std::upper_bound(order.blocks.begin(), order.blocks.end(), interval, [](uint32_t i, const auto& b) { return i < b.first; });
  return std::prev(it)->second;
}

// Calls f(release) for the releases of a block that w has acquired, directly or through other blocks, until f returns true.
template <class F>
bool acquiredFrom(const Warp& w, uint64_t block, F f) {
  std::map<const std::vector<Release>*, size_t> done;  // blocks run one after another: lists are sorted by block
  std::vector<Acquired> open = w.order.acquired;
  while (!open.empty()) {
    const Acquired a = open.back();
    open.pop_back();
    size_t& seen = done[a.releases];
    if (seen >= a.count) continue;
    const auto end = a.releases->begin() + ptrdiff_t(a.count);
    auto it = std::lower_bound(a.releases->begin(), end, block, [](const Release& r, uint64_t b) { return r.block < b; });
    for (; it != end && it->block == block; ++it)
      if (it->deviceScope && f(*it)) return true;
    for (size_t i = seen; i < a.count; ++i)
      for (const Acquired& further : (*a.releases)[i].acquired) open.push_back(further);
    seen = a.count;
  }
  return false;
}

// ---- is it ordered ----

bool orderedAcrossBlocks(const Warp& w, uint32_t interval) {
  const LaunchOrder& order = w.run->order;
  if (w.order.acquired.empty()) return false;
  const uint32_t owner = order.owner[interval - order.launchFirst];
  return acquiredFrom(w, blockOf(order, interval), [&](const Release& r) { return r.seen[owner] > interval; });
}

// lane: of the one who left the stamp; -1: several
bool ordered(const Warp& w, uint32_t interval, int otherLane, int lane) {
  const LaunchOrder& order = w.run->order;
  if (interval < order.launchFirst) return true;
  if (interval < order.blockFirst) return orderedAcrossBlocks(w, interval);
  const WarpOrder& o = w.order;
  if (interval < o.blockFloor) return true;
  const uint32_t owner = order.owner[interval - order.launchFirst];
  if (owner != w.id) return !o.seen.empty() && o.seen[owner] > interval;
  if (otherLane == lane || interval < o.warpFloor) return true;
  return otherLane >= 0 && !o.lanes.empty() && o.lanes[size_t(lane * kLanes + otherLane)] > interval;
}

bool readersOrdered(const Warp& w, uint32_t read, int lane) {
  const LaunchOrder& order = w.run->order;
  const uint32_t interval = intervalOf(read);
  if (interval < order.launchFirst) return true;
  if (read & kManyBlocks) {  // every block so far may be among them
    for (const auto& [first, block] : order.blocks)
      if (block != w.cta->serial && !acquiredFrom(w, block, [](const Release&) { return true; })) return false;
  }
  if (interval < order.blockFirst) return (read & kManyBlocks) || orderedAcrossBlocks(w, interval);
  if (interval < w.order.blockFloor) return true;
  if (read & kManyWarps) {
    if (w.order.seen.empty() || interval >= w.order.warpFloor) return false;
    for (size_t v = 0; v < w.order.seen.size(); ++v)  // numbers go up over all warps: only warp v's own intervals are its reads
      for (uint32_t i = w.order.seen[v]; i <= interval; ++i)
        if (v != w.id && order.owner[i - order.launchFirst] == v) return false;
    return true;
  }
  return ordered(w, interval, read & kManyLanes ? -1 : int(read >> kLaneShift & 31), lane);
}

// ---- reports ----

std::string threadOf(const Warp& w, uint32_t stamp, bool several) {
  const LaunchOrder& order = w.run->order;
  const uint32_t interval = intervalOf(stamp);
  const uint32_t owner = order.owner[interval - order.launchFirst], lane = stamp >> kLaneShift & 31;
  std::string s = (several ? "threads such as " : "thread ") + std::to_string(owner * kLanes + lane);
  if (interval < order.blockFirst) s += " of another block";
  else if (owner == w.id) s += " of the same warp";
  return s;
}

void race(Warp& w, const Insn& insn, int lane, const char* now, const char* before, uint32_t stamp, bool shared, bool several) {
  if (stamp & kInFlight && *before == 'w')
    return w.run->find(FindingKind::asyncCopy, w, insn, lane, [&] {
      return std::string(now) + " of shared memory that a cp.async of " + threadOf(w, stamp, false) + " has not filled yet";
    });
  w.run->find(shared ? FindingKind::sharedRace : FindingKind::globalRace, w, insn, lane,
              [&] { return std::string(now) + " of what " + threadOf(w, stamp, several) + " " + before + ", with nothing that orders the two"; });
}

// ---- one cell ----

struct Cell {
  uint32_t &write, &read;
};

// The first interval that counts: shared memory is new in every block.
uint32_t firstInterval(const LaunchOrder& order, bool shared) { return shared ? order.blockFirst : order.launchFirst; }

void readCell(Warp& w, const Insn& insn, const Cell& c, uint32_t mine, int lane, bool shared) {
  const LaunchOrder& order = w.run->order;
  const uint32_t first = firstInterval(order, shared);
  if (intervalOf(c.write) >= first) {
    const bool bothStrong = (c.write & kAtomic) && insn.strong;
    if (!bothStrong && ((c.write & kInFlight) || !ordered(w, intervalOf(c.write), int(c.write >> kLaneShift & 31), lane)))
      race(w, insn, lane, "read", "wrote", c.write, shared, false);
    if (insn.readOnly)
      w.run->find(FindingKind::readOnlyLoad, w, insn, lane,
                  [&] { return "ld.global.nc of memory that " + threadOf(w, c.write, false) + " has written in this launch"; });
  }
  const uint32_t before = intervalOf(c.read), now = intervalOf(mine);
  if (before < first) {
    c.read = mine;
  } else if (before < order.blockFirst) {
    c.read = mine | (orderedAcrossBlocks(w, before) && !(c.read & kManyBlocks) ? 0 : kManyBlocks);
  } else if (before < w.order.blockFloor) {
    c.read = mine | (c.read & kManyBlocks);
  } else if (order.owner[before - order.launchFirst] == w.id && !(c.read & kManyWarps)) {
    const bool alone = !(c.read & kManyLanes) && (c.read >> kLaneShift & 31) == uint32_t(lane);
    c.read = mine | (c.read & kManyBlocks) | (alone || before < w.order.warpFloor ? 0 : kManyLanes);
  } else {
    c.read = std::max(c.read & ~7u, mine) | (c.read & 7) | kManyLanes | kManyWarps;
    if (now > before) c.read = mine | (c.read & 7);
  }
}

void writeCell(Warp& w, const Insn& insn, const Cell& c, uint32_t mine, int lane, Access access, bool shared) {
  const LaunchOrder& order = w.run->order;
  const bool strong = access == Access::atomic || insn.strong;
  const uint32_t first = firstInterval(order, shared);
  if (intervalOf(c.write) >= first) {
    const bool bothStrong = (c.write & kAtomic) && strong;
    if (!bothStrong && ((c.write & kInFlight) || !ordered(w, intervalOf(c.write), int(c.write >> kLaneShift & 31), lane)))
      race(w, insn, lane, "write", "wrote", c.write, shared, false);
  }
  if (intervalOf(c.read) >= first && !readersOrdered(w, c.read, lane))
    race(w, insn, lane, "write", "read", c.read, shared, (c.read & (kManyLanes | kManyWarps | kManyBlocks)) != 0);
  c.write = mine | (strong ? kAtomic : 0) | (access == Access::asyncWrite ? kInFlight : 0);
  c.read = 0;
}

// ---- the cells of a warp ----

// What nearly all accesses are, decided for all lanes at once: what they meet is from before the launch, or before the last barrier of the
// block, or this warp's own, or a read that another read meets. Stamps compare as numbers, since the interval is their upper part.
using Vector = uint32_t __attribute__((vector_size(64)));
using Truth = decltype(Vector() < Vector());  // all bits or none
constexpr int kVector = sizeof(Vector) / sizeof(uint32_t);

struct Edges {
  uint32_t first;      // stamps from here on are of this launch (of this block, for shared memory),
  uint32_t block;      // of this block,
  uint32_t floor;      // since its last barrier,
  uint32_t warpFloor;  // since the warp's lanes last met
  bool acquired;       // something from other blocks
  bool readOnly;       // nothing of this launch may have been written
};
Edges edgesOf(const Warp& w, const Insn& insn, bool shared) {
  const LaunchOrder& order = w.run->order;
  const WarpOrder& o = w.order;
  const auto stamp = [](uint32_t interval) { return interval << kIntervalShift; };
  return {stamp(firstInterval(order, shared)), stamp(order.blockFirst), stamp(o.blockFloor), stamp(o.warpFloor), !o.acquired.empty(), insn.readOnly};
}

constexpr uint32_t kFlags = 7, kLaneBits = 31u << kLaneShift;

// Whether the write (the reads) that left a stamp came before what is stamped `mine`. False: it takes a closer look. `own`: the stamp is of this
// warp, since the block's last barrier.
inline Truth writeCameBefore(const Edges& e, Vector stamp, Vector mine, Truth own) {
  const Truth beforeBarrier = (stamp >= e.block) & (stamp < e.floor);
  const Truth inWarp = own & ((stamp < e.warpFloor) | (((stamp ^ mine) & kLaneBits) == 0));
  const Truth ordered = (beforeBarrier | inWarp) & ((stamp & kInFlight) == 0);
  return (stamp < e.first) | (e.readOnly ? Truth{} : ordered);
}
inline Truth readsCameBefore(const Edges& e, Vector stamp, Vector mine, Truth own) {
  const Truth beforeBarrier = (stamp >= e.block) & (stamp < e.floor);
  const Truth inWarp = own & ((stamp & kManyWarps) == 0) & ((stamp < e.warpFloor) | (((stamp ^ mine) & (kLaneBits | kManyLanes)) == 0));
  return (stamp < e.first) | ((beforeBarrier | inWarp) & ((stamp & kManyBlocks) == 0));
}
// What a read leaves where reads have left `stamp`, as readCell does. readIsKnown: false if it takes a closer look.
inline Vector joinedRead(const Edges& e, Vector stamp, Vector mine, Truth own) {
  const Vector alone = mine | (stamp & kManyBlocks), before = stamp & ~kFlags;
  const Truth sameLane = ((stamp ^ mine) & (kLaneBits | kManyLanes)) == 0;
  const Vector inWarp = sameLane | (stamp < e.warpFloor) ? alone : alone | kManyLanes;
  const Vector several = (before > mine ? before : mine) | (stamp & kFlags) | (kManyLanes | kManyWarps);
  const Vector sinceFloor = own & ((stamp & kManyWarps) == 0) ? inWarp : several;
  const Vector inBlock = stamp < e.floor ? alone : sinceFloor;
  return stamp < e.first ? mine : stamp < e.block ? mine | kManyBlocks : inBlock;
}
inline Truth readIsKnown(const Edges& e, Vector stamp) {
  const Truth all = Truth{} == 0;
  return e.acquired ? (stamp < e.first) | (stamp >= e.block) : all;
}

template <int kCells>
struct Lanes {  // kCells numbers of each lane
  static constexpr int kAll = kLanes * kCells, kVectors = kAll / kVector;
  union {
    uint32_t of[kAll];
    Vector vector[kVectors];
  };
  void load(Stamps& from, const Request& r, uint32_t shift) {
    if (r.row) std::memcpy(of, &from[r.low >> shift], sizeof of);
    else
      for (int l = 0; l < kLanes; ++l) std::memcpy(&of[l * kCells], &from[r.at[l] >> shift], sizeof(uint32_t) * kCells);
  }
  void store(Stamps& to, const Request& r, uint32_t shift) const {
    if (r.row) std::memcpy(&to[r.low >> shift], of, sizeof of);
    else
      for (int l = 0; l < kLanes; ++l) std::memcpy(&to[r.at[l] >> shift], &of[l * kCells], sizeof(uint32_t) * kCells);
  }
  bool differs(const Lanes& other, int lane) const {
    return std::memcmp(&of[lane * kCells], &other.of[lane * kCells], sizeof(uint32_t) * kCells) != 0;
  }
};

template <int kCells>
void stampsOf(const Warp& w, Mask lanes, uint32_t flags, Lanes<kCells>& mine) {
  const int first = std::countr_zero(lanes);
  for (int l = 0; l < kLanes; ++l)
    for (int c = 0; c < kCells; ++c)
      mine.of[l * kCells + c] = w.order.interval << kIntervalShift | uint32_t(lanes >> l & 1 ? l : first) << kLaneShift | flags;
}
// Which stamps this warp has left since the block's last barrier.
template <int kCells>
void findOwn(const Warp& w, const Lanes<kCells>& stamps, Truth (&own)[Lanes<kCells>::kVectors]) {
  const WarpOrder& o = w.order;
  if (o.interval == o.sinceFloor) {  // it has not begun another interval
    for (int k = 0; k < stamps.kVectors; ++k) own[k] = stamps.vector[k] >> kIntervalShift == o.interval;
    return;
  }
  const LaunchOrder& order = w.run->order;
  uint32_t interval = 0, is = 0;
  for (int k = 0; k < stamps.kAll; ++k) {
    if (const uint32_t next = intervalOf(stamps.of[k]); next != interval) {
      interval = next;
      is = interval >= o.sinceFloor && order.owner[interval - order.launchFirst] == w.id ? ~0u : 0;
    }
    own[k / kVector][k % kVector] = int32_t(is);
  }
}
template <int kCells, class F>
bool all(F f) {
  Truth fine = Truth{} == 0;
  for (int k = 0; k < Lanes<kCells>::kVectors; ++k) fine &= f(k);
  int32_t every = -1;
  for (int i = 0; i < kVector; ++i) every &= fine[i];
  return every != 0;
}

// False, with nothing changed: some cell takes a closer look.
template <int kCells>
bool readCells(const Warp& w, const Edges& e, Shadow& s, const Request& r) {
  Lanes<kCells> write, read, mine, next;
  Truth own[mine.kVectors];
  write.load(s.write, r, s.shift);
  read.load(s.read, r, s.shift);
  stampsOf(w, r.lanes, 0, mine);
  findOwn(w, write, own);
  if (!all<kCells>([&](int k) { return writeCameBefore(e, write.vector[k], mine.vector[k], own[k]) & readIsKnown(e, read.vector[k]); })) return false;
  findOwn(w, read, own);
  for (int k = 0; k < mine.kVectors; ++k) next.vector[k] = joinedRead(e, read.vector[k], mine.vector[k], own[k]);
  next.store(s.read, r, s.shift);
  if (r.row) return true;
  read.load(s.read, r, s.shift);  // another stamp than was stored: lanes share a cell
  if (std::memcmp(read.of, next.of, sizeof next.of) == 0) return true;
  for (int l = 0; l < kLanes; ++l)
    if (read.differs(next, l))
      for (uint64_t c = r.at[l] >> s.shift, end = c + kCells; c < end; ++c) s.read[c] |= kManyLanes;
  return true;
}
template <int kCells>
bool writeCells(const Warp& w, const Edges& e, Shadow& s, const Request& r) {
  Lanes<kCells> write, read, mine, check;
  Truth own[mine.kVectors];
  write.load(s.write, r, s.shift);
  read.load(s.read, r, s.shift);
  stampsOf(w, r.lanes, 0, mine);
  findOwn(w, write, own);
  if (!all<kCells>([&](int k) { return writeCameBefore(e, write.vector[k], mine.vector[k], own[k]); })) return false;
  findOwn(w, read, own);
  if (!all<kCells>([&](int k) { return readsCameBefore(e, read.vector[k], mine.vector[k], own[k]); })) return false;
  stampsOf(w, r.lanes, r.access == Access::asyncWrite ? kInFlight : 0, mine);
  mine.store(s.write, r, s.shift);
  if (!r.row) {
    check.load(s.write, r, s.shift);
    if (std::memcmp(check.of, mine.of, sizeof mine.of) != 0) {  // lanes share a cell
      write.store(s.write, r, s.shift);
      return false;
    }
  }
  std::memset(read.of, 0, sizeof read.of);
  read.store(s.read, r, s.shift);
  return true;
}

// All lanes read the same cells, and what was written there came before any of them: the first lane and the last leave what all leave.
bool readOnePlace(Warp& w, const Insn& insn, const Edges& e, Shadow& s, const Request& r, bool shared) {
  for (uint64_t c = r.low >> s.shift; c < r.high >> s.shift; ++c)
    if (!writeCameBefore(e, Vector{} + s.write[c], Vector{}, Truth{})[0]) return false;
  orderAccess(w, insn, s, r.low, r.bytes, std::countr_zero(r.lanes), r.access, shared);
  if (r.lanes & (r.lanes - 1)) orderAccess(w, insn, s, r.low, r.bytes, 31 - std::countl_zero(r.lanes), r.access, shared);
  return true;
}

bool stampCells(Warp& w, const Insn& insn, Shadow& s, const Request& r, bool shared) {
  if (insn.strong || r.access == Access::atomic) return false;
  const Edges e = edgesOf(w, insn, shared);
  const bool reads = r.access == Access::read;
  if (reads && r.uniform()) return readOnePlace(w, insn, e, s, r, shared);
  switch (r.bytes >> s.shift) {
    case 1: return reads ? readCells<1>(w, e, s, r) : writeCells<1>(w, e, s, r);
    case 2: return reads ? readCells<2>(w, e, s, r) : writeCells<2>(w, e, s, r);
    case 4: return reads ? readCells<4>(w, e, s, r) : writeCells<4>(w, e, s, r);
    case 8: return reads ? readCells<8>(w, e, s, r) : writeCells<8>(w, e, s, r);
  }
  return false;
}

void refineFor(Shadow& shadow, uint32_t bytes) {
  if (bytes < (1u << shadow.shift)) shadow.refine(bytes == 1 ? 0 : 1);
}

}  // namespace

void orderAccess(Warp& w, const Insn& insn, Shadow& shadow, uint64_t offset, uint32_t bytes, int lane, Access access, bool shared) {
  refineFor(shadow, bytes);
  const uint32_t mine = w.order.interval << kIntervalShift | uint32_t(lane) << kLaneShift;
  for (uint64_t k = offset >> shadow.shift, end = k + (bytes >> shadow.shift); k < end; ++k) {
    const Cell cell{shadow.write[k], shadow.read[k]};
    if (access == Access::read) readCell(w, insn, cell, mine, lane, shared);
    else writeCell(w, insn, cell, mine, lane, access, shared);
  }
}

void orderAccesses(Warp& w, const Insn& insn, Shadow& shadow, const Request& r, bool shared) {
  refineFor(shadow, r.bytes);
  if (stampCells(w, insn, shadow, r, shared)) return;
  eachLane(r.lanes, [&](int l) { orderAccess(w, insn, shadow, r.at[l], r.bytes, l, r.access, shared); });
}

void orderLanded(Warp& w, Shadow& shadow, const Request& r) {
  eachLane(r.lanes, [&](int l) {
    const uint32_t mine = w.order.interval << kIntervalShift | uint32_t(l) << kLaneShift;
    for (uint64_t k = r.at[l] >> shadow.shift, end = k + (r.bytes >> shadow.shift); k < end; ++k) shadow.write[k] = mine;
  });
}

}  // namespace lantern::simt
