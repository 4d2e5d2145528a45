// Instructions in which the lanes of a warp look at each other: shuffles, votes, matches, reductions.
//
// When a handler runs, every live lane that its mask names is here (step.cc sees to that). Lanes may come with different masks; each set of
// lanes with one mask is a group of its own.
#include <algorithm>

#include "lanes.h"
#include "request.h"

namespace lantern::simt {

namespace {

// f(members): the active lanes of each mask.
template <class F>
void eachGroup(Warp& w, const Insn& i, F f) {
  const uint32_t* masks = w.reg<uint32_t>(i.operand[i.maskOperand]);
  for (Mask left = w.active; left;) {
    const Mask mask = masks[std::countr_zero(left)];
    Mask members = 0;
    for (int l = 0; l < kLanes; ++l)
      if ((left >> l & 1) && masks[l] == mask) members |= Mask(1) << l;
    left &= ~members;
    f(members);
  }
}
void memberMask(Decoder& d, size_t operand, int slot) {
  d.insn().flow = Flow::warpSync;
  d.insn().kind = InstructionClass::warp;
  d.insn().maskOperand = uint8_t(slot);
  d.use(slot, d.operand(operand), 4);
}

// ---- shfl.sync d|p, a, b, c, mask ----
enum class Shuffle : uint8_t { up, down, butterfly, index };

template <Shuffle kMode>
void shuffle(Warp& w, const Insn& i) {
  const auto *a = w.reg<uint32_t>(i.operand[1]), *b = w.reg<uint32_t>(i.operand[2]), *c = w.reg<uint32_t>(i.operand[3]);
  const auto* mask = w.reg<uint32_t>(i.operand[4]);
  int from[kLanes];
  Mask inRange = 0, silent = 0;
  SIMT_LANES {
    const int clamp = int(c[l] & 31), segment = int(c[l] >> 8 & 31), lane = int(b[l] & 31);
    const int last = (l & segment) | (clamp & ~segment), first = l & segment;
    switch (kMode) {
      case Shuffle::up: from[l] = l - lane; break;
      case Shuffle::down: from[l] = l + lane; break;
      case Shuffle::butterfly: from[l] = l ^ lane; break;
      case Shuffle::index: from[l] = first | (lane & ~segment); break;
    }
    const bool ok = kMode == Shuffle::up ? from[l] >= last : from[l] <= last;
    from[l] = ok ? from[l] : l;
    inRange |= Mask(ok) << l;
    silent |= ((w.active & mask[l]) >> from[l] & 1 ? 0 : Mask(1)) << l;
  }
  eachLane(silent & w.active, [&](int l) {
    w.run->find(FindingKind::shuffle, w, i, l, [&] { return "reads lane " + std::to_string(from[l]) + ", which takes no part"; });
  });
  uint32_t out[kLanes];
  SIMT_LANES out[l] = a[from[l]];
  auto* d = w.reg<uint32_t>(i.operand[0]);
  SIMT_LANES d[l] = w.on[l] ? out[l] : d[l];
  if (i.flag) w.setPredicate(i.operand[5], inRange);
}
void shfl(Decoder& d) {
  if (d.takeType() != "b32" || !d.take("sync")) d.refuse();
  const ptx::Operand& result = d.operand(0);
  d.insn().flag = result.kind == ptx::Operand::Kind::vector;
  for (int s = 1; s < 4; ++s) d.use(s, d.operand(size_t(s)), 4);
  memberMask(d, 4, 4);
  d.define(0, d.insn().flag ? result.parts[0] : result, 4);
  if (d.insn().flag) d.usePredicate(5, result.parts[1]);
  d.insn().run = d.take("up") ? shuffle<Shuffle::up> : d.take("down") ? shuffle<Shuffle::down> : d.take("bfly") ? shuffle<Shuffle::butterfly>
                 : d.take("idx") ? shuffle<Shuffle::index> : nullptr;
}

// ---- vote.sync: of a predicate, perhaps negated ----
enum class Vote : uint8_t { all, any, uniform, ballot };

template <Vote kMode>
void vote(Warp& w, const Insn& i) {
  const Mask p = i.flag ? ~w.predicate[i.operand[1]] : w.predicate[i.operand[1]];
  Mask result = 0;
  eachGroup(w, i, [&](Mask members) {
    const Mask yes = p & members;
    if (kMode == Vote::ballot) {
      for (int l = 0; l < kLanes; ++l)
        if (members >> l & 1) w.reg<uint32_t>(i.operand[0])[l] = yes;
    }
    const bool holds = kMode == Vote::all ? yes == members : kMode == Vote::any ? yes != 0 : yes == 0 || yes == members;
    if (holds) result |= members;
  });
  if (kMode != Vote::ballot) w.setPredicate(i.operand[0], result);
}
void vote(Decoder& d) {
  const std::string_view type = d.takeType();
  if (!d.take("sync")) d.refuse();
  d.usePredicate(1, d.operand(1));
  d.insn().flag = d.operand(1).negated;
  memberMask(d, 2, 2);
  if (type == "b32") {
    d.define(0, d.operand(0), 4);
    if (d.take("ballot")) d.insn().run = vote<Vote::ballot>;
  } else if (type == "pred") {
    d.usePredicate(0, d.operand(0));
    d.insn().run = d.take("all") ? vote<Vote::all> : d.take("any") ? vote<Vote::any> : d.take("uni") ? vote<Vote::uniform> : nullptr;
  }
}

// ---- match.sync: lanes that hold the same value ----
template <class T>
void matchAny(Warp& w, const Insn& i) {
  T a[kLanes];
  std::copy_n(w.reg<T>(i.operand[1]), kLanes, a);
  eachGroup(w, i, [&](Mask members) {
    for (int l = 0; l < kLanes; ++l) {
      if (!(members >> l & 1)) continue;
      Mask same = 0;
      for (int k = 0; k < kLanes; ++k) same |= Mask((members >> k & 1) && a[k] == a[l]) << k;
      w.reg<uint32_t>(i.operand[0])[l] = same;
    }
  });
}
template <class T>
void matchAll(Warp& w, const Insn& i) {
  T a[kLanes];
  std::copy_n(w.reg<T>(i.operand[1]), kLanes, a);
  Mask holds = 0;
  eachGroup(w, i, [&](Mask members) {
    const T first = a[std::countr_zero(members)];
    bool same = true;
    for (int k = 0; k < kLanes; ++k) same &= !(members >> k & 1) || a[k] == first;
    if (same) holds |= members;
    for (int l = 0; l < kLanes; ++l)
      if (members >> l & 1) w.reg<uint32_t>(i.operand[0])[l] = same ? members : 0;
  });
  if (i.flag) w.setPredicate(i.operand[3], holds);
}
void match(Decoder& d) {
  const std::string_view type = d.takeType();
  if (!d.take("sync")) d.refuse();
  const bool all = d.take("all");
  if (!all && !d.take("any")) d.refuse();
  d.use(1, d.operand(1), slotBytes(type));
  memberMask(d, 2, 2);
  const ptx::Operand& result = d.operand(0);
  d.insn().flag = result.kind == ptx::Operand::Kind::vector;
  if (d.insn().flag) d.usePredicate(3, result.parts[1]);
  d.define(0, d.insn().flag ? result.parts[0] : result, 4);
  const bool wide = slotBytes(type) == 8;
  d.insn().run = all ? (wide ? matchAll<uint64_t> : matchAll<uint32_t>) : (wide ? matchAny<uint64_t> : matchAny<uint32_t>);
}

// ---- redux.sync ----
template <class T, class F>
Handler reduction(F) {
  return [](Warp& w, const Insn& i) {
    T a[kLanes];
    std::copy_n(w.reg<T>(i.operand[1]), kLanes, a);
    eachGroup(w, i, [&](Mask members) {
      T r = a[std::countr_zero(members)];
      for (Mask left = members & (members - 1); left; left &= left - 1) r = F{}(r, a[std::countr_zero(left)]);
      for (int l = 0; l < kLanes; ++l)
        if (members >> l & 1) w.reg<T>(i.operand[0])[l] = r;
    });
  };
}
void redux(Decoder& d) {
  const std::string_view type = d.takeType();
  if (!d.take("sync")) d.refuse();
  d.use(1, d.operand(1), 4);
  memberMask(d, 2, 2);
  d.define(0, d.operand(0), 4);
  auto forType = [&](auto f) { return type == "s32" ? reduction<int32_t>(f) : reduction<uint32_t>(f); };
  if (d.take("add")) d.insn().run = reduction<uint32_t>([](uint32_t a, uint32_t b) { return a + b; });
  else if (d.take("min")) d.insn().run = forType([](auto a, auto b) { return a < b ? a : b; });
  else if (d.take("max")) d.insn().run = forType([](auto a, auto b) { return a > b ? a : b; });
  else if (d.take("and")) d.insn().run = reduction<uint32_t>([](uint32_t a, uint32_t b) { return a & b; });
  else if (d.take("or")) d.insn().run = reduction<uint32_t>([](uint32_t a, uint32_t b) { return a | b; });
  else if (d.take("xor")) d.insn().run = reduction<uint32_t>([](uint32_t a, uint32_t b) { return a ^ b; });
}

void activemask(Decoder& d) {
  if (d.takeType() != "b32") d.refuse();
  d.insn().kind = InstructionClass::warp;
  d.define(0, d.operand(0), 4);
  d.insn().run = [](Warp& w, const Insn& i) {
    auto* r = w.reg<uint32_t>(i.operand[0]);
    SIMT_LANES r[l] = w.on[l] ? w.active : r[l];
  };
}

}  // namespace

// bar.warp.sync mask
void warpBarrier(Decoder& d) {
  memberMask(d, 0, 0);
  d.insn().flag = true;  // may meet its partners at another place in the program
  d.insn().run = [](Warp& w, const Insn& i) { eachGroup(w, i, [&](Mask members) { orderWarp(w, members); }); };
}

void warpOpcodes(OpcodeTable& t) {
  t["shfl"] = shfl;
  t["vote"] = vote;
  t["match"] = match;
  t["redux"] = redux;
  t["activemask"] = activemask;
}

}  // namespace lantern::simt
