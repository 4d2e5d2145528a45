// Moves: mov with packing and unpacking of vectors, cvta, reading the clock.
#include "lanes.h"

namespace lantern::simt {

namespace {

// mov.b32 d, {a, b}; mov.b64 d, {a, b}; mov.b64 d, {a, b, c, e}: the first is lowest.
template <class D, int kParts>
void pack(Warp& w, const Insn& i) {
  constexpr int kBits = int(sizeof(D) * 8) / kParts;
  auto* d = w.reg<D>(i.operand[0]);
  D r[kLanes] = {};
  for (int p = 0; p < kParts; ++p) {
    const auto* a = w.reg<uint32_t>(i.operand[1 + p]);
    SIMT_LANES r[l] |= (D(a[l]) & ((D(1) << kBits) - 1)) << (kBits * p);
  }
  SIMT_LANES d[l] = w.on[l] ? r[l] : d[l];
}
template <class S, int kParts>
void unpack(Warp& w, const Insn& i) {
  constexpr int kBits = int(sizeof(S) * 8) / kParts;
  const auto* a = w.reg<S>(i.operand[kParts]);
  S x[kLanes];
  SIMT_LANES x[l] = a[l];
  for (int p = 0; p < kParts; ++p) {
    auto* d = w.reg<uint32_t>(i.operand[p]);
    SIMT_LANES d[l] = w.on[l] ? uint32_t((x[l] >> (kBits * p)) & ((S(1) << kBits) - 1)) : d[l];
  }
}

void movePredicate(Decoder& d) {
  d.usePredicate(0, d.operand(0));
  const ptx::Operand& from = d.operand(1);
  if (from.kind == ptx::Operand::Kind::immediate) {
    d.insn().flag = from.value != 0;
    d.insn().run = [](Warp& w, const Insn& i) { w.setPredicate(i.operand[0], i.flag ? kAllLanes : 0); };
    return;
  }
  d.usePredicate(1, from);
  d.insn().run = [](Warp& w, const Insn& i) { w.setPredicate(i.operand[0], w.predicate[i.operand[1]]); };
}

// The clock counts the warp instructions of this launch.
void moveClock(Decoder& d, std::string_view type) {
  d.define(0, d.operand(0), slotBytes(type));
  auto make = [](auto t) -> Handler {
    using T = decltype(t);
    return [](Warp& w, const Insn& i) {
      T* r = w.reg<T>(i.operand[0]);
      SIMT_LANES r[l] = w.on[l] ? T(w.run->executed) : r[l];
    };
  };
  d.insn().run = slotBytes(type) == 8 ? make(uint64_t()) : make(uint32_t());
}

void mov(Decoder& d) {
  const std::string_view type = d.takeType();
  if (type == "pred") return movePredicate(d);
  const ptx::Operand &to = d.operand(0), &from = d.operand(1);
  if (from.kind == ptx::Operand::Kind::special && (from.name.starts_with("%clock") || from.name.starts_with("%globaltimer"))) return moveClock(d, type);
  const uint32_t bytes = slotBytes(type);
  if (from.kind == ptx::Operand::Kind::vector) {
    const int parts = int(from.parts.size());
    for (int p = 0; p < parts; ++p) d.use(1 + p, from.parts[size_t(p)], 4);
    d.define(0, to, bytes);
    if (parts == 2) d.insn().run = bytes == 8 ? pack<uint64_t, 2> : pack<uint32_t, 2>;
    else if (parts == 4) d.insn().run = bytes == 8 ? pack<uint64_t, 4> : pack<uint32_t, 4>;
    return;
  }
  if (to.kind == ptx::Operand::Kind::vector) {
    const int parts = int(to.parts.size());
    d.use(parts, from, bytes);
    for (int p = 0; p < parts; ++p) d.define(p, to.parts[size_t(p)], 4);
    if (parts == 2) d.insn().run = bytes == 8 ? unpack<uint64_t, 2> : unpack<uint32_t, 2>;
    else if (parts == 4) d.insn().run = bytes == 8 ? unpack<uint64_t, 4> : unpack<uint32_t, 4>;
    return;
  }
  sameSize(d, type, 1);
  d.insn().run = bytes == 8 ? handler1<uint64_t, uint64_t>([](uint64_t a) { return a; }) : handler1<uint32_t, uint32_t>([](uint32_t a) { return a; });
}

// Between addresses within a space and generic ones. Global and constant addresses are the same in both.
template <uint64_t kWindow, bool kToGeneric>
Handler shifted() {
  return handler1<uint64_t, uint64_t>([](uint64_t a) { return kToGeneric ? a + kWindow : a - kWindow; });
}
void cvta(Decoder& d) {
  const std::string_view type = d.takeType();
  const bool to = d.take("to");
  const std::string_view space = d.takeAny();
  if (slotBytes(type) != 8) d.refuse();
  sameSize(d, type, 1);
  if (space == "global" || space == "const") d.insn().run = shifted<0, true>();
  else if (space.starts_with("shared")) d.insn().run = to ? shifted<kSharedWindow, false>() : shifted<kSharedWindow, true>();
  else if (space == "local") d.insn().run = to ? shifted<kLocalWindow, false>() : shifted<kLocalWindow, true>();
  else if (space.starts_with("param")) d.insn().run = to ? shifted<kParamWindow, false>() : shifted<kParamWindow, true>();
}

// isspacep: is a generic address in a space?
template <uint64_t kFrom, uint64_t kTo, bool kInside>
void inWindow(Warp& w, const Insn& i) {
  const auto* a = w.reg<uint64_t>(i.operand[1]);
  Mask m = 0;
  for (int l = 0; l < kLanes; ++l) m |= Mask((a[l] >= kFrom && a[l] < kTo) == kInside) << l;
  w.setPredicate(i.operand[0], m);
}
void isspacep(Decoder& d) {
  const std::string_view space = d.takeAny();
  d.use(1, d.operand(1), 8);
  d.usePredicate(0, d.operand(0));
  if (space == "global") d.insn().run = inWindow<kSharedWindow, kWindowEnd, false>;
  else if (space.starts_with("shared")) d.insn().run = inWindow<kSharedWindow, kLocalWindow, true>;
  else if (space == "local") d.insn().run = inWindow<kLocalWindow, kParamWindow, true>;
}

}  // namespace

void moveOpcodes(OpcodeTable& t) {
  t["mov"] = mov;
  t["cvta"] = cvta;
  t["isspacep"] = isspacep;
}

}  // namespace lantern::simt
