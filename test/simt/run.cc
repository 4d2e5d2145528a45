// Running a grid: blocks one after another, warps of a block in turn, groups of lanes within a warp.
//
// A warp's live lanes are groups that stand at one instruction each. The group at the lowest instruction runs; groups that meet become one,
// so that lanes reconverge where the code is laid out in order. A .sync instruction parks its lanes until every live lane of its mask is
// there. A barrier parks the warp.
#include <algorithm>
#include <chrono>
#include <numeric>

#include "state.h"

namespace lantern::simt {

// ---- messages ----

std::string nameOf(const Source& s) {
  return s.file + ":" + std::to_string(s.line) + (s.inlinedAt.empty() ? "" : " (inlined at " + s.inlinedAt + ")");
}
std::string where(const Warp& w, const Insn& insn, int lane) {
  const Program& p = w.run->program;
  std::string text = p.kernel + ", block (" + std::to_string(w.cta->index.x) + "," + std::to_string(w.cta->index.y) + "," + std::to_string(w.cta->index.z) + "), ";
  text += lane < 0 ? "warp " + std::to_string(w.id) : "thread " + std::to_string(w.id * kLanes + uint32_t(lane));
  return text + ", " + nameOf(p.sources[insn.source]) + ": " + p.text[insn.index];
}
void fail(Result code, const std::string& what, const Warp& w, const Insn& insn, int lane) { throw Error(code, what + ". " + where(w, insn, lane)); }

void Run::describe(Finding& f, FindingKind kind, const std::string& what, const Warp& w, const Insn& insn, int lane) const {
  static constexpr const char* kNames[] = {"uninitialised", "shared race", "global race", "async copy", "shuffle", "read-only load"};
  f.kind = kNames[int(kind)];
  f.what = what + ". " + where(w, insn, lane);
  f.source = program.sources[insn.source];
}

namespace {

// ---- barriers ----

uint32_t liveWarps(const Cta& cta) {
  uint32_t mask = 0;
  for (const Warp& w : cta.warps)
    if (w.state != Warp::State::done) mask |= 1u << w.id;
  return mask;
}

// Lets everybody go when all that are expected have arrived.
void release(Cta& cta, Barrier& b, const Insn* code) {
  const uint32_t live = liveWarps(cta);
  const bool all = (b.warps & live) == live;
  if (!b.warps || (b.expected ? b.arrived < b.expected : !all)) return;
  uint32_t waiting = 0;
  for (Warp& w : cta.warps)
    if (w.state == Warp::State::atBarrier && &cta.barriers[size_t(w.barrier)] == &b) waiting |= 1u << w.id;
  for (Warp& w : cta.warps) {
    if (!(waiting >> w.id & 1)) continue;
    const Insn& i = code[w.pc];
    if (i.mode == kBarrierCount) std::fill_n(w.reg<uint32_t>(i.operand[0]), kLanes, b.count);
    if (i.mode == kBarrierAnd || i.mode == kBarrierOr) w.setPredicate(i.operand[0], (i.mode == kBarrierAnd ? b.all : b.any) ? kAllLanes : 0);
    ++w.pc;
    w.state = Warp::State::ready;
  }
  orderBarrier(cta, waiting, b.warps & ~waiting, all && !(b.warps & ~waiting));
  ++cta.warps[0].run->barriers;
  b = {};
}

// The whole live warp is at a barrier instruction.
void arrive(Warp& w, const Insn& i) {
  const int lane = std::countr_zero(w.active);
  const uint32_t number = w.reg<uint32_t>(i.operand[1])[lane], expected = i.flag ? w.reg<uint32_t>(i.operand[2])[lane] : 0;
  if (number > 15) fail(Result::illegalInstruction, "barrier " + std::to_string(number) + " of 16", w, i);
  if (expected % kLanes) fail(Result::illegalInstruction, "a barrier of " + std::to_string(expected) + " threads, no multiple of a warp", w, i);
  Barrier& b = w.cta->barriers[number];
  if (b.warps && b.expected != expected) fail(Result::launchFailed, "warps arrive at barrier " + std::to_string(number) + " with different numbers of threads", w, i);
  if (!b.warps) b.all = 1;
  b.expected = expected;
  b.arrived += kLanes;
  b.warps |= 1u << w.id;
  if (i.mode >= kBarrierCount) {
    const Mask p = (i.negatedPredicate ? ~w.predicate[i.operand[3]] : w.predicate[i.operand[3]]) & w.active;
    b.count += uint32_t(std::popcount(p));
    b.any |= p != 0;
    b.all &= p == w.active;
  }
  if (i.mode == kBarrierArrive) {
    ++w.pc;
  } else {
    w.state = Warp::State::atBarrier;
    w.barrier = int(number);
  }
  release(*w.cta, b, w.run->code);
}

// ---- groups of lanes ----

void join(Warp& w, uint32_t pc, Mask lanes) {
  for (Group& g : w.others)
    if (g.pc == pc) {
      g.lanes |= lanes;
      g.parked = false;
      return;
    }
  w.others.push_back({pc, lanes, false});
}
// Lanes of the group that stand at a .sync instruction and miss nobody.
Mask complete(const Warp& w, const Insn& i, Mask here) {
  if (i.flow == Flow::aligned || i.flow == Flow::barrier) return here == w.live ? here : 0;
  const uint32_t* masks = w.reg<uint32_t>(i.operand[i.maskOperand]);
  Mask ready = 0;
  for (int l = 0; l < kLanes; ++l) {
    if (!(here >> l & 1)) continue;
    if (!(masks[l] >> l & 1)) fail(Result::launchFailed, "a lane that its own mask does not name", w, i, l);
    if (!(masks[l] & w.live & ~here)) ready |= Mask(1) << l;
  }
  return ready;
}
[[noreturn]] void stuck(Warp& w) {
  std::string text = "lanes wait for each other at different places";
  for (const Group& g : w.others) {
    char mask[16];
    std::snprintf(mask, sizeof mask, "%08x", g.lanes);
    const Insn& i = w.run->code[g.pc];
    text += std::string("; lanes ") + mask + " at " + nameOf(w.run->program.sources[i.source]) + " " + w.run->program.text[i.index];
  }
  fail(Result::launchFailed, text, w, w.run->code[w.others.front().pc]);
}

// __syncwarp in different branches: all lanes of one mask wait, at whatever place.
bool releaseWarpBarriers(Warp& w) {
  for (const Group& g : w.others) {
    const Insn& i = w.run->code[g.pc];
    if (i.flow != Flow::warpSync || !i.flag) continue;
    const Mask wanted = w.reg<uint32_t>(i.operand[i.maskOperand])[std::countr_zero(g.lanes)] & w.live;
    Mask present = 0;
    for (const Group& o : w.others)
      if (w.run->code[o.pc].flow == Flow::warpSync && w.run->code[o.pc].flag) present |= o.lanes;
    if (wanted & ~present) continue;
    for (Group& o : std::vector<Group>(w.others)) {
      if (!(o.lanes & wanted)) continue;
      std::erase_if(w.others, [&](const Group& x) { return x.pc == o.pc; });
      if (o.lanes & ~wanted) w.others.push_back({o.pc, o.lanes & ~wanted, true});
      join(w, o.pc + 1, o.lanes & wanted);
    }
    orderWarp(w, wanted);
    return true;
  }
  return false;
}

// The next group to run, or false if all lanes have exited.
bool choose(Warp& w) {
  for (;;) {
    if (w.others.empty()) return false;
    auto best = w.others.end();
    for (auto g = w.others.begin(); g != w.others.end(); ++g)
      if (!g->parked && (best == w.others.end() || g->pc < best->pc)) best = g;
    if (best == w.others.end())  // lanes that have exited are waited for no longer
      best = std::find_if(w.others.begin(), w.others.end(), [&](const Group& g) { return complete(w, w.run->code[g.pc], g.lanes) != 0; });
    if (best != w.others.end()) {
      w.pc = best->pc;
      w.activate(best->lanes);
      w.others.erase(best);
      return true;
    }
    if (!releaseWarpBarriers(w)) stuck(w);
  }
}
// Takes in groups that stand where the running one does, and yields to one that is behind.
void converge(Warp& w) {
  for (size_t k = 0; k < w.others.size(); ++k) {
    Group& g = w.others[k];
    if (g.pc == w.pc) {
      w.activate(w.active | g.lanes);
      w.others.erase(w.others.begin() + ptrdiff_t(k--));
    } else if (!g.parked && g.pc < w.pc) {
      const Group mine{w.pc, w.active, false};
      w.pc = g.pc;
      w.activate(g.lanes);
      g = mine;
      return converge(w);
    }
  }
}

void branchByTable(Warp& w, const Insn& i, Mask lanes) {
  const auto& table = w.run->program.branchTables[i.target];
  const uint32_t* index = w.reg<uint32_t>(i.operand[0]);
  for (int l = 0; l < kLanes; ++l) {
    if (!(lanes >> l & 1)) continue;
    if (index[l] >= table.size()) fail(Result::illegalInstruction, "a branch beyond its table", w, i, l);
    join(w, table[index[l]], Mask(1) << l);
  }
}

// ---- a warp, until it waits for others, ends, or its turn is over ----

void runWarp(Warp& w) {
  Run& run = *w.run;
  const Insn* code = run.code;
  for (;;) {
    if (w.quantum-- == 0) return;
    if (!w.others.empty()) converge(w);
    const Insn& i = code[w.pc];
    const Mask full = w.active;
    Mask m = full;
    if (i.guard >= 0) m &= i.guardNegated ? ~w.predicate[i.guard] : w.predicate[i.guard];
    Counters& c = run.counters[i.index];
    ++c.issues;
    c.lanes += uint32_t(std::popcount(m));
    if (++run.executed > run.options.maxInstructions) fail(Result::launchTimeout, "the instruction budget is spent; an endless loop?", w, i);

    switch (i.flow) {
      case Flow::next:
        if (m == full) {
          if (i.run) i.run(w, i);
        } else if (m) {
          w.activate(m);
          i.run(w, i);
          w.activate(full);
        }
        ++w.pc;
        break;
      case Flow::branch:
        if (m == full) {
          w.pc = i.target;
        } else if (!m) {
          ++w.pc;
        } else {
          ++c.divergent;
          join(w, i.target, m);
          w.activate(full & ~m);
          ++w.pc;
        }
        break;
      case Flow::branchTable:
        if (m != full) join(w, w.pc + 1, full & ~m);
        branchByTable(w, i, m);
        c.divergent += w.others.size() > 1;
        choose(w);
        break;
      case Flow::exit:
        w.live &= ~m;
        if (m != full) {
          w.activate(full & ~m);
          ++w.pc;
        } else if (!choose(w)) {
          w.state = Warp::State::done;
          for (Barrier& b : w.cta->barriers) release(*w.cta, b, code);
          return;
        }
        break;
      case Flow::warpSync:
      case Flow::aligned:
      case Flow::barrier: {
        if (m != full) join(w, w.pc + 1, full & ~m);
        if (!m) {
          choose(w);
          break;
        }
        const Mask ready = complete(w, i, m);
        if (ready != m) w.others.push_back({w.pc, m & ~ready, true});
        if (!ready) {
          choose(w);
          break;
        }
        w.activate(ready);
        if (i.flow == Flow::barrier) {
          arrive(w, i);
          if (w.state != Warp::State::ready) return;
          break;
        }
        if (i.flow == Flow::aligned && i.kind != InstructionClass::control && w.live != w.initial)
          fail(Result::launchFailed, "lanes have exited that this instruction needs", w, i);
        if (i.run) i.run(w, i);
        ++w.pc;
        break;
      }
    }
  }
}

// ---- a block ----

void setSpecials(Warp& w, bool firstBlock) {
  const Run& run = *w.run;
  const Dim &grid = run.launch.grid, &block = run.launch.block, &cta = w.cta->index;
  for (const auto& [special, place] : run.program.specials) {
    const bool perBlock = special == Special::ctaX || special == Special::ctaY || special == Special::ctaZ;
    if (!firstBlock && !perBlock) continue;
    uint32_t* d = w.reg<uint32_t>(place);
    for (uint32_t l = 0; l < kLanes; ++l) {
      const uint32_t t = w.id * kLanes + l;
      switch (special) {
        case Special::tidX: d[l] = t % block.x; break;
        case Special::tidY: d[l] = t / block.x % block.y; break;
        case Special::tidZ: d[l] = t / block.x / block.y; break;
        case Special::ntidX: d[l] = block.x; break;
        case Special::ntidY: d[l] = block.y; break;
        case Special::ntidZ: d[l] = block.z; break;
        case Special::ctaX: d[l] = cta.x; break;
        case Special::ctaY: d[l] = cta.y; break;
        case Special::ctaZ: d[l] = cta.z; break;
        case Special::nctaX: d[l] = grid.x; break;
        case Special::nctaY: d[l] = grid.y; break;
        case Special::nctaZ: d[l] = grid.z; break;
        case Special::lane: d[l] = l; break;
        case Special::warp: d[l] = w.id; break;
        case Special::lanemaskEq: d[l] = 1u << l; break;
        case Special::lanemaskLt: d[l] = (1u << l) - 1; break;
        case Special::lanemaskLe: d[l] = (2u << l) - 1; break;
        case Special::lanemaskGt: d[l] = ~((2u << l) - 1); break;
        case Special::lanemaskGe: d[l] = ~((1u << l) - 1); break;
        case Special::dynamicShared: d[l] = run.launch.dynamicShared; break;
        case Special::totalShared: d[l] = run.program.sharedBytes + run.launch.dynamicShared; break;
      }
    }
  }
}

void beginBlock(Cta& cta, bool first) {
  Run& run = *cta.warps[0].run;
  std::fill(cta.shared.begin(), cta.shared.end(), 0xff);
  std::fill(cta.sharedState.begin(), cta.sharedState.end(), run.program.sharedArrays.empty() ? kUnwritten : kGap);
  for (const SharedArray& a : run.program.sharedArrays) std::fill_n(cta.sharedState.begin() + a.offset, a.bytes, kUnwritten);
  std::fill(cta.sharedState.begin() + run.program.sharedBytes, cta.sharedState.end(), kUnwritten);
  cta.barriers = {};
  const uint32_t threads = uint32_t(run.launch.block.count());
  for (Warp& w : cta.warps) {
    const uint32_t left = threads - w.id * kLanes;
    w.live = w.initial = left >= kLanes ? kAllLanes : (1u << left) - 1;
    w.activate(w.live);
    w.pc = 0;
    w.others.clear();
    w.state = Warp::State::ready;
    w.copies = {};
    std::fill(w.local.begin(), w.local.end(), 0xff);
    setSpecials(w, first);
  }
  orderBlock(cta);
}

[[noreturn]] void deadlock(const Cta& cta) {
  const Warp& first = *std::find_if(cta.warps.begin(), cta.warps.end(), [](const Warp& w) { return w.state == Warp::State::atBarrier; });
  std::string text = "deadlock: no warp can go on";
  for (const Warp& w : cta.warps) {
    if (w.state != Warp::State::atBarrier) continue;
    const Insn& i = w.run->code[w.pc];
    text += "; warp " + std::to_string(w.id) + " waits at " + nameOf(w.run->program.sources[i.source]) + " " + w.run->program.text[i.index];
  }
  fail(Result::launchFailed, text, first, first.run->code[first.pc]);
}

void runBlock(Cta& cta) {
  Run& run = *cta.warps[0].run;
  const Schedule schedule = run.options.schedule;
  std::vector<uint32_t> order(cta.warps.size());
  std::iota(order.begin(), order.end(), 0u);
  if (schedule == Schedule::reverse) std::reverse(order.begin(), order.end());
  for (;;) {
    if (schedule == Schedule::random) std::shuffle(order.begin(), order.end(), run.random);
    bool ran = false;
    for (uint32_t id : order) {
      Warp& w = cta.warps[id];
      if (w.state != Warp::State::ready) continue;
      ran = true;
      w.quantum = schedule == Schedule::random ? 1 + run.random() % 200 : 100000;
      runWarp(w);
    }
    if (ran) continue;
    if (liveWarps(cta) == 0) break;
    deadlock(cta);
  }
  for (Warp& w : cta.warps)
    if (!w.copies.pending.empty())
      run.find(FindingKind::asyncCopy, w, *w.copies.pending[0].insn, -1, [] { return "the block ends while a cp.async has not been waited for"; });
}

// ---- a grid ----

void checkLaunch(const Kernel& kernel, const Launch& launch) {
  auto refuse = [&](Result code, const std::string& why) { throw Error(code, kernel.name + ": " + why); };
  const auto text = [](const Dim& d) { return "(" + std::to_string(d.x) + "," + std::to_string(d.y) + "," + std::to_string(d.z) + ")"; };
  const Dim &g = launch.grid, &b = launch.block;
  if (!g.count() || g.x > 0x7fffffff || g.y > 65535 || g.z > 65535) refuse(Result::invalidValue, "a grid of " + text(g) + " blocks");
  if (!b.count() || b.x > 1024 || b.y > 1024 || b.z > 64 || b.count() > 1024) refuse(Result::invalidValue, "a block of " + text(b) + " threads");
  if (kernel.maxThreads && b.count() > kernel.maxThreads)
    refuse(Result::invalidValue, "a block of " + text(b) + " threads, its launch bound is " + std::to_string(kernel.maxThreads));
  if (launch.params.size() != kernel.paramBytes)
    refuse(Result::invalidValue, std::to_string(launch.params.size()) + " bytes of parameters, " + std::to_string(kernel.paramBytes) + " are declared");
}

// Blocks in their order, reversed, or permuted by the seed.
std::vector<uint64_t> blockOrder(Run& run) {
  std::vector<uint64_t> order(run.launch.grid.count());
  std::iota(order.begin(), order.end(), uint64_t(0));
  if (run.options.schedule == Schedule::reverse) std::reverse(order.begin(), order.end());
  if (run.options.schedule == Schedule::random) std::shuffle(order.begin(), order.end(), run.random);
  return order;
}

void runGrid(Run& run) {
  const Program& p = run.program;
  const Launch& launch = run.launch;
  const size_t warps = size_t((launch.block.count() + kLanes - 1) / kLanes);
  Cta cta;
  cta.shared.resize(p.sharedBytes + launch.dynamicShared);
  cta.sharedState.resize(cta.shared.size());
  if (run.options.checkRaces) cta.sharedShadow.cover(cta.shared.size());
  cta.warps = std::vector<Warp>(warps);
  std::vector<ConstantLine> registers((p.registerBytes * warps) / sizeof(ConstantLine) + 1);
  std::vector<Mask> predicates((p.predicates + 1) * warps);
  for (size_t k = 0; k < warps; ++k) {
    Warp& w = cta.warps[k];
    w.id = uint32_t(k);
    w.cta = &cta;
    w.run = &run;
    w.base[0] = registers[0].bytes + p.registerBytes * k;
    w.base[1] = const_cast<uint8_t*>(p.constants.empty() ? nullptr : p.constants[0].bytes);
    w.predicate = &predicates[(p.predicates + 1) * k];
    w.local.resize(size_t(p.localBytes) * kLanes);
  }
  orderLaunch(run);
  bool first = true;
  for (uint64_t n : blockOrder(run)) {
    cta.serial = cta.serial + 1;
    cta.index = {uint32_t(n % launch.grid.x), uint32_t(n / launch.grid.x % launch.grid.y), uint32_t(n / launch.grid.x / launch.grid.y)};
    beginBlock(cta, first);
    first = false;
    runBlock(cta);
  }
}

void fillReport(Run& run) {
  Report& r = run.report;
  const Program& p = run.program;
  r.sources = p.sources;
  r.barriers = run.barriers;
  r.multiplyAdds = run.multiplyAdds;
  for (size_t k = 0; k < p.code.size(); ++k) {
    const Insn& i = run.code[k];
    r.instructions.push_back({i.source, i.kind, p.text[k], run.counters[k]});
    r.total += run.counters[k];
    r.issuesByClass[int(i.kind)] += run.counters[k].issues;
  }
  for (Allocation* a : run.memory.touched) {
    const uint64_t sectors = (a->bytes + kSector - 1) / kSector;
    const Footprint f{a->block(), a->readSectors.countRange(0, sectors) * kSector, a->writtenSectors.countRange(0, sectors) * kSector};
    if (f.bytesRead || f.bytesWritten) r.footprint.push_back(f);
  }
  std::sort(r.footprint.begin(), r.footprint.end(), [](const Footprint& a, const Footprint& b) { return a.block.address < b.block.address; });
  for (auto& [key, f] : run.findings) r.findings.push_back(f);
  std::sort(r.findings.begin(), r.findings.end(), [](const Finding& a, const Finding& b) { return std::tie(a.kind, a.what) < std::tie(b.kind, b.what); });
}

}  // namespace

Counters& Counters::operator+=(const Counters& o) {
  issues += o.issues, lanes += o.lanes, bytesRead += o.bytesRead, bytesWritten += o.bytesWritten, sectors += o.sectors, idealSectors += o.idealSectors;
  wavefronts += o.wavefronts, idealWavefronts += o.idealWavefronts, divergent += o.divergent;
  return *this;
}

void launch(const Kernel& kernel, Memory& memory, const Launch& launch, const Options& options, Report& report) {
  checkLaunch(kernel, launch);
  const Program& p = *kernel.program;
  report = {};
  report.kernel = kernel.name;
  report.grid = launch.grid;
  report.block = launch.block;
  report.dynamicShared = launch.dynamicShared;
  Memory::State& state = memory.state();
  ++state.launches;
  state.touched.clear();
  const Insn* code = options.contract && !p.contracted.empty() ? p.contracted.data() : p.code.data();
  Run run{p, code, state, launch, options, report, std::vector<Counters>(p.code.size()), std::vector<Allocation*>(p.code.size()), {},
          std::mt19937_64(options.seed), {}, 0, 0, 0};
  const auto start = std::chrono::steady_clock::now();
  auto finish = [&] {
    report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    fillReport(run);
  };
  try {
    runGrid(run);
  } catch (...) {
    finish();
    throw;
  }
  finish();
}

}  // namespace lantern::simt
