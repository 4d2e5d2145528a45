// Running a grid: blocks one after another, the warps of a block in turn. What a warp does in its turn is in step.cc.
#include <algorithm>
#include <chrono>
#include <numeric>

#include "step.h"

namespace lantern::simt {

// ---- messages ----

std::string nameOf(const Source& s) {
  return s.file + ":" + std::to_string(s.line) + (s.inlinedAt.empty() ? "" : " (inlined at " + s.inlinedAt + ")");
}
std::string where(const Warp& w, const Insn& insn, int lane) {
  const Program& p = w.run->program;
  const Dim& block = w.cta->index;
  std::string text = p.kernel + ", block (" + std::to_string(block.x) + "," + std::to_string(block.y) + "," + std::to_string(block.z) + "), ";
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
  cta.written.clear();
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
  cta.written.resize(cta.shared.size());
  if (!p.sharedArrays.empty()) {
    cta.usable.resize(cta.shared.size());
    for (const SharedArray& a : p.sharedArrays) cta.usable.setRange(a.offset, a.bytes);
    cta.usable.setRange(p.sharedBytes, launch.dynamicShared);
  }
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
  r.barriers = run.barriers;
  r.multiplyAdds = run.multiplyAdds;
  for (size_t k = 0; k < p.code.size(); ++k) {
    if (!run.counters[k].issues) continue;
    r.total += run.counters[k];
    r.issuesByClass[int(p.code[k].kind)] += run.counters[k].issues;
  }
  r.counters = std::move(run.counters);
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
  report.program = kernel.program;
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
