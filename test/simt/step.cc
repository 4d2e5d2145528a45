// A warp's turn.
//
// A warp's live lanes are groups that stand at one instruction each. The group at the lowest instruction runs; groups that meet become one,
// so that lanes reconverge where the code is laid out in order. A .sync instruction parks its lanes until every live lane of its mask is
// there. A barrier parks the warp.
#include "step.h"

#include <algorithm>

namespace lantern::simt {

uint32_t liveWarps(const Cta& cta) {
  uint32_t mask = 0;
  for (const Warp& w : cta.warps)
    if (w.state != Warp::State::done) mask |= 1u << w.id;
  return mask;
}

namespace {

// ---- barriers ----

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
  if (b.warps && b.expected != expected)
    fail(Result::launchFailed, "warps arrive at barrier " + std::to_string(number) + " with different numbers of threads", w, i);
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
  if (here == w.live) {  // as nearly always: nobody is missing, whatever the masks say beyond themselves
    Mask without = 0;
    for (int l = 0; l < kLanes; ++l) without |= ~masks[l] & Mask(1) << l;
    if (!(without & here)) return here;
  }
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

}  // namespace

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

}  // namespace lantern::simt
