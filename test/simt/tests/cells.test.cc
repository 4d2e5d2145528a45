// The stamps of a warp's access, taken all at once, are those that its lanes would leave one after another.
#include <random>

#include "state.h"
#include "support.h"

using namespace lantern::simt;
using namespace lantern::simt::test;

namespace {

// Warp 1 of 3 in the second block of a launch, at interval 50; what happened before is random.
class Scene {
 public:
  explicit Scene(uint64_t seed, bool syncedSinceBarrier) : random(seed) {
    program.text = {"an access"};
    program.sources = {{"cells.test.cc", 1, ""}};
    run.order.on = true;
    run.order.launchFirst = 10, run.order.blockFirst = 20;
    run.order.blocks = {{10, 1}, {20, 2}};
    for (uint32_t i = 10; i < 60; ++i) run.order.owner.push_back(uint8_t(random() % 3));
    cta.serial = 2;
    cta.warps = std::vector<Warp>(3);
    for (uint32_t id = 0; id < 3; ++id) cta.warps[id].id = id, cta.warps[id].cta = &cta, cta.warps[id].run = &run;
    WarpOrder& o = warp().order;
    o.interval = 50, o.blockFloor = 30;
    o.sinceFloor = syncedSinceBarrier ? 31 : 50;
    o.warpFloor = syncedSinceBarrier ? 40 : 30;
    for (uint32_t i = 30; i < 60; ++i)
      if (owner(i) == 1 && i != 50 && (!syncedSinceBarrier || i > 50)) owner(i) = 2;
    owner(50) = 1;
  }
  Warp& warp() { return cta.warps[1]; }
  uint8_t& owner(uint32_t interval) { return run.order.owner[interval - 10]; }

  // Stamps as accesses leave them: often 0, often of one interval.
  void fill(Shadow& s, bool shared) {
    s.cover(4096);
    const uint32_t common = uint32_t(random() % 56), spread = random() % 3 ? 1000 : 4;
    for (size_t i = 0; i < s.write.size(); ++i) {
      const auto stamp = [&](uint32_t flags) {
        uint32_t interval = random() % spread ? common : uint32_t(random() % 56);
        if (shared && interval >= 10 && interval < 20) interval += 10;
        return interval < 1 || random() % 4 == 0 ? 0 : interval << kIntervalShift | uint32_t(random() % 32) << kLaneShift | flags;
      };
      s.write[i] = stamp(random() % spread ? 0 : uint32_t(random() % 4));
      const uint32_t readFlags[] = {0, 0, kManyLanes, kManyLanes | kManyWarps, shared ? 0 : kManyBlocks, shared ? kManyLanes : kManyLanes | kManyBlocks};
      s.read[i] = stamp(readFlags[random() % 6]);
    }
  }
  Request request() {
    static constexpr Access kAccesses[] = {Access::read, Access::read, Access::write, Access::asyncWrite};
    const uint32_t bytes = 4u << random() % 3, places = uint32_t(random() % 3 ? 64 : 3);
    const Access access = kAccesses[random() % 4];
    const Mask lanes = random() % 2 ? kAllLanes : Mask(random()) | 1;
    uint64_t at[kLanes];
    const bool row = random() % 2;
    for (uint64_t l = 0; l < kLanes; ++l) at[l] = bytes * (row ? 5 + l : random() % places);
    return {at, lanes, bytes, access};
  }
  std::map<uint64_t, uint64_t> takeFindings() {
    std::map<uint64_t, uint64_t> counts;
    for (const auto& [key, f] : run.findings) counts[key] = f.count;
    run.findings.clear();
    return counts;
  }

  std::mt19937_64 random;
  Program program;
  Memory memory;
  Launch launch;
  Options options;
  Report report;
  Run run{program, nullptr, memory.state(), launch, options, report, {}, {}, {}, std::mt19937_64(), {}, 0, 0, 0};
  Cta cta;
};

// The lane of a stamp that several lanes left is any of them.
uint32_t comparable(uint32_t read) { return read & kManyLanes ? read & ~(31u << kLaneShift) : read; }

}  // namespace

TEST("cells: a warp's access leaves the stamps and findings that its lanes would leave in turn") {
  int races = 0, clean = 0;
  for (uint64_t seed = 0; seed < 4000; ++seed) {
    Scene scene(seed, seed % 2);
    const bool shared = seed / 2 % 2;
    Shadow together, inTurn;
    scene.fill(together, shared);
    inTurn.cover(4096);
    for (size_t i = 0; i < together.write.size(); ++i) inTurn.write[i] = together.write[i], inTurn.read[i] = together.read[i];
    const Request r = scene.request();
    Insn insn;
    insn.readOnly = seed % 7 == 0;
    orderAccesses(scene.warp(), insn, together, r, shared);
    const auto found = scene.takeFindings();
    eachLane(r.lanes, [&](int l) { orderAccess(scene.warp(), insn, inTurn, r.at[l], r.bytes, l, r.access, shared); });
    CHECK(scene.takeFindings() == found);
    ++(found.empty() ? clean : races);
    bool same = true;
    for (size_t i = 0; i < together.write.size(); ++i)
      same &= together.write[i] == inTurn.write[i] && comparable(together.read[i]) == comparable(inTurn.read[i]);
    CHECK(same);
  }
  CHECK(races > 1000 && clean > 500);
}
