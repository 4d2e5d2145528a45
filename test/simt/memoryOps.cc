// Loads, stores and prefetches.
#include <algorithm>
#include <cstring>

#include "access.h"
#include "lanes.h"

namespace lantern::simt {

namespace {

// Cache operators and eviction hints say nothing about the value.
void takeHints(Decoder& d) {
  for (const char* hint : {"ca", "cg", "cs", "lu", "cv", "wb", "wt", "L1::evict_normal", "L1::evict_unchanged", "L1::evict_first", "L1::evict_last",
                           "L1::no_allocate", "L2::64B", "L2::128B", "L2::256B"})
    d.take(hint);
}
// Volatile, relaxed, acquire, release: strong accesses do not race with each other.
void takeOrder(Decoder& d) {
  Insn& i = d.insn();
  i.acquires = d.take("acquire");
  i.releases = d.take("release");
  i.strong = bool(d.take("volatile") | d.take("relaxed") | i.acquires | i.releases);
  d.take("weak");
  i.deviceScope = !d.take("cta");
  d.take("gpu");
  d.take("sys");
  if (i.acquires || i.releases) d.program().hasFences = true;
}
Space takeSpace(Decoder& d) {
  if (d.take("global") || d.take("const")) return Space::global;
  if (d.take("shared") || d.take("shared::cta")) return Space::shared;
  if (d.take("local")) return Space::local;
  if (d.take("param") || d.take("param::entry") || d.take("param::func")) return Space::param;
  return Space::generic;
}
InstructionClass classOf(Space s) { return s == Space::shared ? InstructionClass::shared : InstructionClass::memory; }

// The registers of data: one operand or a vector of them. Registers may be wider than the type.
uint32_t dataOperands(Decoder& d, const ptx::Operand& o, std::string_view type, bool defines) {
  Insn& i = d.insn();
  const bool vector = o.kind == ptx::Operand::Kind::vector;
  if (vector != (i.elements > 1) || (vector && o.parts.size() != i.elements)) d.refuse();
  uint32_t bytes = 0;
  for (int k = 0; k < i.elements; ++k) {
    const ptx::Operand& part = vector ? o.parts[size_t(k)] : o;
    bytes = std::max({bytes, d.bytesOf(part), slotBytes(type)});
  }
  for (int k = 0; k < i.elements; ++k) {
    const ptx::Operand& part = vector ? o.parts[size_t(k)] : o;
    if (defines) d.define(k, part, bytes);
    else d.use(k, part, bytes);
  }
  return bytes;
}

// A strong access to global or shared memory, in a kernel that fences, publishes and acquires.
void synchronise(Warp& w, const Insn& i, bool reads, bool writes) {
  if (!i.strong || !w.run->program.hasFences) return;
  uint64_t address[kLanes];
  addressesOf(w, i, kAddressOperand, address);
  eachLane(w.active, [&](int l) { orderAtomic(w, address[l], reads, writes); });
}

// kElements registers of each lane.
template <class T, class Register, int kElements>
void load(Warp& w, const Insn& i) {
  Places p;
  resolve(w, i, Access::read, p);
  T v[kLanes][kElements];
  if (p.row) std::memcpy(v, p.at[0], sizeof v);
  else
    for (int l = 0; l < kLanes; ++l) std::memcpy(v[l], p.at[l], sizeof v[l]);
  for (int k = 0; k < kElements; ++k) {
    Register* d = w.reg<Register>(i.operand[k]);
    if (w.active == kAllLanes) SIMT_LANES d[l] = Register(v[l][k]);
    else SIMT_LANES d[l] = w.on[l] ? Register(v[l][k]) : d[l];
  }
  synchronise(w, i, true, false);
  if (i.acquires) orderFence(w, i.deviceScope);
}
template <class T, class Register, int kElements>
void store(Warp& w, const Insn& i) {
  if (i.releases) orderFence(w, i.deviceScope);
  Places p;
  resolve(w, i, Access::write, p);
  T v[kLanes][kElements];
  for (int k = 0; k < kElements; ++k) {
    const Register* d = w.reg<Register>(i.operand[k]);
    SIMT_LANES v[l][k] = T(d[l]);
  }
  if (p.row) std::memcpy(p.at[0], v, sizeof v);
  else eachLane(w.active, [&](int l) { std::memcpy(p.at[l], v[l], sizeof v[l]); });
  synchronise(w, i, false, true);
}

// A parameter of the kernel at a fixed place is the same for all lanes.
template <class T, class Register>
void loadParam(Warp& w, const Insn& i) {
  const std::byte* from = w.run->launch.params.data() + i.immediate;
  for (int k = 0; k < i.elements; ++k) {
    Register* d = w.reg<Register>(i.operand[k]);
    T v;
    std::memcpy(&v, from + size_t(k) * sizeof v, sizeof v);
    SIMT_LANES d[l] = w.on[l] ? Register(v) : d[l];
  }
}

// f(element, register) with the types of a PTX type and of the registers.
template <class F>
Handler forElement(Decoder& d, std::string_view type, uint32_t registerBytes, F f) {
  auto sized = [&](auto t) { return registerBytes == 8 ? f(t, uint64_t()) : f(t, uint32_t()); };
  const bool isSigned = type[0] == 's';
  switch (ptx::bytesOfType(type)) {
    case 1: return isSigned ? sized(int8_t()) : sized(uint8_t());
    case 2: return isSigned ? sized(int16_t()) : sized(uint16_t());
    case 4: return isSigned ? sized(int32_t()) : sized(uint32_t());
    case 8: return f(uint64_t(), uint64_t());
  }
  d.refuse();
}

void vectorType(Decoder& d, std::string_view type) {
  Insn& i = d.insn();
  i.elements = d.take("v2") ? 2 : d.take("v4") ? 4 : d.take("v8") ? 8 : 1;
  i.elementBytes = uint8_t(ptx::bytesOfType(type));
  if (i.elements * i.elementBytes > 16) d.refuse("an access of more than 16 bytes");
}

// [param + offset] of the kernel stays a parameter; of an inlined function it is local memory.
bool paramAddress(Decoder& d, const ptx::Operand& o) {
  if (o.reg >= 0 || o.name.empty()) {
    d.address(o);
    return false;
  }
  const Decoder::Place place = d.param(o);
  if (place.space == Space::param) {
    d.insn().immediate = int64_t(place.offset);
    return true;
  }
  d.insn().space = Space::local;
  ptx::Operand base;
  base.kind = ptx::Operand::Kind::immediate;
  base.value = place.offset;
  d.use(kAddressOperand, base, 8);
  return false;
}

void ld(Decoder& d) {
  const std::string_view type = d.takeType();
  Insn& i = d.insn();
  takeHints(d);
  takeOrder(d);
  i.space = takeSpace(d);
  i.readOnly = d.take("nc");
  i.kind = classOf(i.space);
  vectorType(d, type);
  bool param = false;
  if (i.space == Space::param) param = paramAddress(d, d.operand(1));
  else d.address(d.operand(1));
  const uint32_t bytes = dataOperands(d, d.operand(0), type, true);
  if (param) {
    if (uint64_t(i.immediate) + i.elements * i.elementBytes > d.program().paramBytes) d.refuse("a read beyond the parameters");
    i.kind = InstructionClass::integer;
    i.run = forElement(d, type, bytes, [](auto t, auto r) { return Handler(loadParam<decltype(t), decltype(r)>); });
  } else {
    i.run = forElement(d, type, bytes, [&](auto t, auto r) {
      using T = decltype(t);
      using R = decltype(r);
      return i.elements == 1 ? load<T, R, 1> : i.elements == 2 ? load<T, R, 2> : i.elements == 4 ? load<T, R, 4> : Handler(load<T, R, 8>);
    });
  }
}
void st(Decoder& d) {
  const std::string_view type = d.takeType();
  Insn& i = d.insn();
  takeHints(d);
  takeOrder(d);
  i.space = takeSpace(d);
  i.kind = classOf(i.space);
  vectorType(d, type);
  if (i.space == Space::param) {
    if (paramAddress(d, d.operand(0)) || i.space == Space::param) d.refuse("parameters of a kernel are not written");
  } else {
    d.address(d.operand(0));
  }
  const uint32_t bytes = dataOperands(d, d.operand(1), type, false);
  i.run = forElement(d, type, bytes, [&](auto t, auto r) {
    using T = decltype(t);
    using R = decltype(r);
    return i.elements == 1 ? store<T, R, 1> : i.elements == 2 ? store<T, R, 2> : i.elements == 4 ? store<T, R, 4> : Handler(store<T, R, 8>);
  });
}

void prefetch(Decoder& d) {
  for (const char* word : {"global", "local", "L1", "L2", "L2::evict_last", "L2::evict_normal"}) d.take(word);
  d.insn().kind = InstructionClass::memory;
  d.insn().run = [](Warp&, const Insn&) {};
}

}  // namespace

void memoryOpcodes(OpcodeTable& t) {
  t["ld"] = ld;
  t["ldu"] = ld;
  t["st"] = st;
  t["prefetch"] = prefetch;
  t["prefetchu"] = prefetch;
}

}  // namespace lantern::simt
