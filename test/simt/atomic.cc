// atom and red: read, modify, write of one lane after another, in an order that follows the schedule.
#include <cstring>
#include <numeric>

#include "access.h"
#include "floats.h"

namespace lantern::simt {

namespace {

enum class Op : uint8_t { add, min, max, inc, dec, bitAnd, bitOr, bitXor, exch, cas };

template <class T>
T modified(Op op, T old, T a, T b) {
  switch (op) {
    case Op::exch: return a;
    case Op::cas: return old == a ? b : old;
    case Op::add:
      if constexpr (std::is_floating_point_v<T>) return old + a;
      else return T(std::make_unsigned_t<T>(old) + std::make_unsigned_t<T>(a));
    case Op::min: return a < old ? a : old;
    case Op::max: return a > old ? a : old;
    default: break;
  }
  if constexpr (std::is_integral_v<T>) {
    switch (op) {
      case Op::inc: return old >= a ? T(0) : T(old + 1);
      case Op::dec: return old == 0 || old > a ? a : T(old - 1);
      case Op::bitAnd: return T(old & a);
      case Op::bitOr: return T(old | a);
      case Op::bitXor: return T(old ^ a);
      default: break;
    }
  }
  return old;
}
// Sums of 16-bit floats, one or two.
template <class T, bool kPair>
uint32_t halfSum(uint32_t old, uint32_t a) {
  uint32_t r = 0;
  for (int half = 0; half < (kPair ? 2 : 1); ++half) {
    const double sum = oddSum(toFloat(T{uint16_t(old >> (16 * half))}), toFloat(T{uint16_t(a >> (16 * half))}));
    r |= uint32_t(fromDouble<T>(sum).bits) << (16 * half);
  }
  return r;
}

void laneOrder(Warp& w, int (&order)[kLanes]) {
  std::iota(order, order + kLanes, 0);
  if (w.run->options.schedule == Schedule::reverse) std::reverse(order, order + kLanes);
  if (w.run->options.schedule == Schedule::random) std::shuffle(order, order + kLanes, w.run->random);
}

// Operands: 0 the old value, 1 and 2 the arguments.
template <class T, class F>
void atomic(Warp& w, const Insn& i, F f) {
  if (i.releases) orderFence(w, i.deviceScope);
  Places p;
  resolve(w, i, Access::atomic, p);
  int order[kLanes];
  laneOrder(w, order);
  auto* d = w.reg<Slot<T>>(i.operand[0]);
  const auto *a = w.reg<Slot<T>>(i.operand[1]), *b = w.reg<Slot<T>>(i.operand[2]);
  for (int l : order) {
    if (!(w.active >> l & 1)) continue;
    T old;
    std::memcpy(&old, p.at[l], sizeof old);
    const T now = f(old, fromSlot<T>(a[l]), fromSlot<T>(b[l]));
    std::memcpy(p.at[l], &now, sizeof now);
    d[l] = toSlot<T>(old);
    if (w.run->program.hasFences)
      orderAtomic(w, i.address32 ? w.reg<uint32_t>(i.operand[kAddressOperand])[l] + uint64_t(i.immediate)
                                 : w.reg<uint64_t>(i.operand[kAddressOperand])[l] + uint64_t(i.immediate), true, true);
  }
  if (i.acquires) orderFence(w, i.deviceScope);
}

template <class T>
Handler plain() {
  return [](Warp& w, const Insn& i) { atomic<T>(w, i, [op = Op(i.mode)](T old, T a, T b) { return modified(op, old, a, b); }); };
}
template <class T, bool kPair>
Handler half() {
  using Element = std::conditional_t<kPair, uint32_t, uint16_t>;
  return [](Warp& w, const Insn& i) { atomic<Element>(w, i, [](Element old, Element a, Element) { return Element(halfSum<T, kPair>(old, a)); }); };
}

void decode(Decoder& d) {
  const bool reduction = d.opcode() == "red";
  const std::string_view type = d.takeType();
  Insn& i = d.insn();
  static const std::map<std::string_view, Op> names = {{"add", Op::add}, {"min", Op::min}, {"max", Op::max}, {"inc", Op::inc}, {"dec", Op::dec},
                                                       {"and", Op::bitAnd}, {"or", Op::bitOr}, {"xor", Op::bitXor}, {"exch", Op::exch}, {"cas", Op::cas}};
  bool found = false;
  for (const auto& [name, op] : names)
    if (d.take(name)) i.mode = uint8_t(op), found = true;
  if (!found) d.refuse();
  const bool both = d.take("acq_rel");
  i.acquires = d.take("acquire") | both;
  i.releases = d.take("release") | both;
  d.take("relaxed");
  d.take("noftz");
  i.deviceScope = !d.take("cta");
  d.take("gpu");
  d.take("sys");
  if (i.acquires || i.releases) d.program().hasFences = true;
  i.space = d.take("global") ? Space::global : d.take("shared") || d.take("shared::cta") ? Space::shared : Space::generic;
  i.kind = i.space == Space::shared ? InstructionClass::shared : InstructionClass::memory;
  i.strong = true;
  i.elementBytes = uint8_t(ptx::bytesOfType(type));
  size_t at = 0;
  if (!reduction) ++at;
  d.address(d.operand(at++));
  d.use(1, d.operand(at++), slotBytes(type));
  if (Op(i.mode) == Op::cas) d.use(2, d.operand(at++), slotBytes(type));
  else i.operand[2] = i.operand[1], d.use(2, d.operand(at - 1), slotBytes(type));
  if (at != d.operands().size()) d.refuse();
  if (reduction) d.scratch(0, slotBytes(type));
  else d.define(0, d.operand(0), slotBytes(type));

  const bool isAdd = Op(i.mode) == Op::add;
  if (type == "f32") i.run = plain<float>();
  else if (type == "f64") i.run = plain<double>();
  else if (type == "f16" && isAdd) i.run = half<Half, false>();
  else if (type == "f16x2" && isAdd) i.run = half<Half, true>();
  else if (type == "bf16" && isAdd) i.run = half<Bfloat, false>();
  else if (type == "bf16x2" && isAdd) i.run = half<Bfloat, true>();
  else i.run = forInteger(d, type, [](auto t) { return plain<decltype(t)>(); });
  if (type[0] == 'f' && Op(i.mode) > Op::add) d.refuse();
}

}  // namespace

void atomicOpcodes(OpcodeTable& t) {
  t["atom"] = decode;
  t["red"] = decode;
}

}  // namespace lantern::simt
