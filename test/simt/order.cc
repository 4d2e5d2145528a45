// Races: stamps on the cells of memory, and the clocks of warps they are compared with. The rules are in order.h.
#include "order.h"

#include <algorithm>
#include <map>

#include "state.h"

namespace lantern::simt {

namespace {

void newInterval(Warp& w) {
  Memory::State& memory = w.run->memory;
  if (memory.nextInterval >= kMaxInterval) throw Error(Result::launchFailed, w.run->program.kernel + ": too many synchronisations to check this launch for races; switch that check off");
  w.order.interval = memory.nextInterval++;
  w.run->order.owner.push_back(uint8_t(w.id));
}

// What warp w knows of every warp of its block.
std::vector<uint32_t> seenBy(const Warp& w, uint32_t own) {
  std::vector<uint32_t> seen = w.order.seen;
  if (seen.empty()) seen.assign(w.cta->warps.size(), w.order.blockFloor);
  seen[w.id] = own;
  return seen;
}
void join(std::vector<uint32_t>& a, const std::vector<uint32_t>& b) {
  for (size_t i = 0; i < a.size(); ++i) a[i] = std::max(a[i], b[i]);
}
void join(std::vector<Acquired>& a, const std::vector<Acquired>& b) {
  for (const Acquired& x : b) {
    const auto same = std::find_if(a.begin(), a.end(), [&](const Acquired& y) { return y.releases == x.releases; });
    if (same == a.end()) a.push_back(x);
    else same->count = std::max(same->count, x.count);
  }
}

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
    for (size_t v = 0; v < w.order.seen.size(); ++v)
      if (v != w.id && w.order.seen[v] <= interval) return false;
    return true;
  }
  return ordered(w, interval, read & kManyLanes ? -1 : int(read >> kLaneShift & 31), lane);
}

// ---- reports ----

std::string threadOf(const Warp& w, uint32_t stamp, bool several) {
  const LaunchOrder& order = w.run->order;
  const uint32_t interval = intervalOf(stamp);
  std::string s = (several ? "threads such as " : "thread ") + std::to_string(order.owner[interval - order.launchFirst] * kLanes + (stamp >> kLaneShift & 31));
  if (interval < order.blockFirst) s += " of another block";
  else if (order.owner[interval - order.launchFirst] == w.id) s += " of the same warp";
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

// The first interval that counts: shared memory is new in every block.
uint32_t firstInterval(const LaunchOrder& order, bool shared) { return shared ? order.blockFirst : order.launchFirst; }

void readCell(Warp& w, const Insn& insn, Cell& c, uint32_t mine, int lane, bool shared) {
  const LaunchOrder& order = w.run->order;
  const uint32_t first = firstInterval(order, shared);
  if (intervalOf(c.write) >= first) {
    const bool bothStrong = (c.write & kAtomic) && insn.strong;
    if (!bothStrong && ((c.write & kInFlight) || !ordered(w, intervalOf(c.write), int(c.write >> kLaneShift & 31), lane)))
      race(w, insn, lane, "read", "wrote", c.write, shared, false);
    if (insn.readOnly)
      w.run->find(FindingKind::readOnlyLoad, w, insn, lane, [&] { return "ld.global.nc of memory that " + threadOf(w, c.write, false) + " has written in this launch"; });
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

void writeCell(Warp& w, const Insn& insn, Cell& c, uint32_t mine, int lane, Access access, bool shared) {
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

Cell* cellsOf(Shadow& shadow, uint64_t offset, uint32_t bytes, Cell*& end) {
  if (bytes < (1u << shadow.shift)) shadow.refine(bytes == 1 ? 0 : 1);
  Cell* c = &shadow.cells[offset >> shadow.shift];
  end = c + (bytes >> shadow.shift);
  return c;
}

}  // namespace

void orderLaunch(Run& run) {
  run.order.on = run.options.checkRaces;
  Memory::State& memory = run.memory;
  if (memory.nextInterval > kMaxInterval / 2) {  // numbers run out: forget the old ones
    for (auto& [address, a] : memory.live) a->shadow.reset();
    memory.nextInterval = 1;
  }
  run.order.launchFirst = memory.nextInterval;
}

void orderBlock(Cta& cta) {
  Run& run = *cta.warps[0].run;
  if (!run.order.on) return;
  const uint32_t first = run.memory.nextInterval;
  run.order.blockFirst = first;
  run.order.blocks.emplace_back(first, cta.serial);
  for (Warp& w : cta.warps) {
    w.order = {};
    w.order.warpFloor = w.order.blockFloor = first;
    newInterval(w);
  }
}

void orderBarrier(Cta& cta, uint32_t warps, uint32_t arrivers, bool all) {
  Run& run = *cta.warps[0].run;
  if (!run.order.on) return;
  std::vector<Acquired> acquired;  // what one warp has acquired, all that it meets have
  for (const Warp& w : cta.warps)
    if ((warps | arrivers) >> w.id & 1) join(acquired, w.order.acquired);
  if (all) {
    const uint32_t floor = run.memory.nextInterval;
    for (Warp& w : cta.warps) {
      if (!(warps >> w.id & 1)) continue;
      w.order.warpFloor = w.order.blockFloor = floor;
      w.order.acquired = acquired;
      w.order.seen.clear();
      w.order.lanes.clear();
      newInterval(w);
    }
    return;
  }
  std::vector<uint32_t> seen(cta.warps.size());
  for (const Warp& w : cta.warps)
    if ((warps | arrivers) >> w.id & 1) join(seen, seenBy(w, w.order.interval + 1));
  for (Warp& w : cta.warps) {
    if (!((warps | arrivers) >> w.id & 1)) continue;
    if (warps >> w.id & 1) {
      w.order.seen = seen;
      w.order.acquired = acquired;
    }
    newInterval(w);
    if (warps >> w.id & 1) {
      w.order.warpFloor = w.order.interval;
      w.order.lanes.clear();
    }
  }
}

void orderWarp(Warp& w, Mask lanes) {
  if (!w.run->order.on) return;
  WarpOrder& o = w.order;
  const uint32_t before = o.interval;
  newInterval(w);
  if ((lanes & w.live) == w.live) {
    o.warpFloor = o.interval;
    o.lanes.clear();
    return;
  }
  if (o.lanes.empty()) o.lanes.assign(kLanes * kLanes, o.warpFloor);
  std::vector<uint32_t> row(kLanes);
  for (int a = 0; a < kLanes; ++a)
    for (int b = 0; b < kLanes && lanes >> a & 1; ++b) row[size_t(b)] = std::max(row[size_t(b)], o.lanes[size_t(a * kLanes + b)]);
  for (int b = 0; b < kLanes; ++b)
    if (lanes >> b & 1) row[size_t(b)] = before + 1;
  for (int a = 0; a < kLanes; ++a)
    if (lanes >> a & 1) std::copy(row.begin(), row.end(), o.lanes.begin() + a * kLanes);
}

void orderFence(Warp& w, bool deviceScope) {
  if (!w.run->order.on) return;
  WarpOrder& o = w.order;
  for (const Acquired& a : o.read) {
    for (size_t i = 0; i < a.count; ++i) {
      const Release& r = (*a.releases)[i];
      if (r.block != w.cta->serial) continue;
      if (o.seen.empty()) o.seen = seenBy(w, o.warpFloor);
      join(o.seen, r.seen);
    }
    if (deviceScope) join(o.acquired, {a});
  }
  if (deviceScope) o.read.clear();
  Release r{w.cta->serial, w.id, deviceScope, seenBy(w, o.interval + 1), o.acquired};
  o.fenced = std::make_shared<Release>(std::move(r));
  newInterval(w);
}

void orderAtomic(Warp& w, uint64_t address, bool reads, bool writes) {
  if (!w.run->order.on) return;
  auto& list = w.run->order.releases[address];
  if (!list) list = std::make_unique<std::vector<Release>>();
  if (reads && !list->empty()) w.order.read.push_back({list.get(), list->size()});
  if (writes && w.order.fenced) list->push_back(*w.order.fenced);
}

void orderAccess(Warp& w, const Insn& insn, Shadow& shadow, uint64_t offset, uint32_t bytes, int lane, Access access, bool shared) {
  const LaunchOrder& order = w.run->order;
  if (!order.on) return;
  const uint32_t mine = w.order.interval << kIntervalShift | uint32_t(lane) << kLaneShift;
  const uint32_t first = firstInterval(order, shared) << kIntervalShift;
  Cell* end;
  for (Cell* c = cellsOf(shadow, offset, bytes, end); c < end; ++c) {
    // The two cases that nearly all accesses are: memory that nobody has written in this launch is read, or nobody has touched is written.
    if (access == Access::read) {
      if (c->write < first && (c->read < first || c->read == mine)) c->read = mine;
      else readCell(w, insn, *c, mine, lane, shared);
    } else {
      if (access == Access::write && !insn.strong && c->write < first && c->read < first) c->write = mine, c->read = 0;
      else writeCell(w, insn, *c, mine, lane, access, shared);
    }
  }
}

void orderLanded(Warp& w, Shadow& shadow, uint64_t offset, uint32_t bytes, int lane) {
  if (!w.run->order.on) return;
  Cell* end;
  for (Cell* c = cellsOf(shadow, offset, bytes, end); c < end; ++c)
    c->write = w.order.interval << kIntervalShift | uint32_t(lane) << kLaneShift;
}

}  // namespace lantern::simt
