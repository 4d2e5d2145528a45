// Clocks of warps: what barriers, fences and atomics order. The rules are in order.h; accesses are compared with the clocks in cells.cc.
#include "order.h"

#include <algorithm>

#include "state.h"

namespace lantern::simt {

namespace {

constexpr uint64_t kManyStamps = uint64_t(256) << 20;  // bytes

void newInterval(Warp& w) {
  Memory::State& memory = w.run->memory;
  if (memory.nextInterval >= kMaxInterval)
    throw Error(Result::launchFailed, w.run->program.kernel + ": too many synchronisations to check this launch for races; switch that check off");
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

}  // namespace

void orderLaunch(Run& run) {
  run.order.on = run.options.checkRaces;
  Memory::State& memory = run.memory;
  const bool ranOut = memory.nextInterval > kMaxInterval / 2;
  uint64_t bytes = 0;
  for (const auto& [address, a] : memory.live) bytes += a->shadow.bytes();
  if (ranOut || bytes > kManyStamps) {  // what earlier launches left counts no longer
    for (auto& [address, a] : memory.live) a->shadow.reset();
    if (ranOut) memory.nextInterval = 1;
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
    w.order.sinceFloor = w.order.interval;
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
      w.order.sinceFloor = w.order.interval;
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

}  // namespace lantern::simt
