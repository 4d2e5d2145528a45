// Comparisons and selection: setp, set, selp, slct.
#include "floats.h"

namespace lantern::simt {

namespace {

enum class Relation : uint8_t { eq, ne, lt, le, gt, ge, equ, neu, ltu, leu, gtu, geu, num, nan };

// lo, ls, hi, hs are the unsigned names of lt, le, gt, ge.
Relation takeRelation(Decoder& d, std::string_view type) {
  static const std::map<std::string_view, Relation> names = {
      {"eq", Relation::eq},   {"ne", Relation::ne},   {"lt", Relation::lt},   {"le", Relation::le},   {"gt", Relation::gt},   {"ge", Relation::ge},
      {"lo", Relation::lt},   {"ls", Relation::le},   {"hi", Relation::gt},   {"hs", Relation::ge},   {"equ", Relation::equ}, {"neu", Relation::neu},
      {"ltu", Relation::ltu}, {"leu", Relation::leu}, {"gtu", Relation::gtu}, {"geu", Relation::geu}, {"num", Relation::num}, {"nan", Relation::nan}};
  const auto it = names.find(d.takeAny());
  if (it == names.end()) d.refuse();
  const bool isFloat = type[0] == 'f' || type.starts_with("bf");
  if (it->second >= Relation::equ && !isFloat) d.refuse();
  if (type[0] == 'b' && !isFloat && it->second > Relation::ne) d.refuse();
  return it->second;
}

template <Relation kRelation, class T>
inline bool holds(T a, T b) {
  switch (kRelation) {
    case Relation::eq: return a == b;
    case Relation::ne: return std::is_floating_point_v<T> ? (a < b || a > b) : a != b;
    case Relation::lt: return a < b;
    case Relation::le: return a <= b;
    case Relation::gt: return a > b;
    case Relation::ge: return a >= b;
    case Relation::equ: return !(a < b || a > b);
    case Relation::neu: return a != b;
    case Relation::ltu: return !(a >= b);
    case Relation::leu: return !(a > b);
    case Relation::gtu: return !(a <= b);
    case Relation::geu: return !(a < b);
    case Relation::num: return a == a && b == b;
    case Relation::nan: return a != a || b != b;
  }
  return false;
}

// The mask of lanes where f(lane) holds.
template <class F>
inline Mask maskOf(F f) {
  alignas(64) int32_t t[kLanes];
  SIMT_LANES t[l] = -int32_t(f(l));
  Mask m = 0;
  for (int l = 0; l < kLanes; ++l) m |= Mask(t[l] & 1) << l;
  return m;
}

// How a lane's value is read: the plain types, flushed f32, and 16-bit floats, the upper half of a pair among them.
template <class T>
struct Plain {
  using Register = Slot<T>;
  using Value = T;
  static T value(Register r) { return fromSlot<T>(r); }
};
struct Flushed {
  using Register = uint32_t;
  using Value = float;
  static float value(uint32_t r) { return flushed(std::bit_cast<float>(r)); }
};
template <class T, bool kUpper>
struct SixteenBit {
  using Register = uint32_t;
  using Value = float;
  static float value(uint32_t r) { return toFloat(T{uint16_t(kUpper ? r >> 16 : r)}); }
};

template <Relation kRelation, class Read>
Mask compareLanes(const Warp& w, const Insn& i) {
  const auto* a = w.reg<typename Read::Register>(i.operand[2]);
  const auto* b = w.reg<typename Read::Register>(i.operand[3]);
  return maskOf([=](int l) { return holds<kRelation, typename Read::Value>(Read::value(a[l]), Read::value(b[l])); });
}

// Operands: 0 and 1 the results, 2 and 3 what is compared, 4 a predicate to combine with.
enum Combine : uint8_t { kNone = 0, kAnd = 1, kOr = 2, kXor = 3, kCombineMask = 3, kNegated = 4, kTwoResults = 8 };
inline Mask combined(const Warp& w, const Insn& i, Mask m) {
  if (!(i.mode & kCombineMask)) return m;
  const Mask c = i.mode & kNegated ? ~w.predicate[i.operand[4]] : w.predicate[i.operand[4]];
  return (i.mode & kCombineMask) == kAnd ? m & c : (i.mode & kCombineMask) == kOr ? m | c : m ^ c;
}
template <Relation kRelation, class Read>
void setPredicates(Warp& w, const Insn& i) {
  const Mask m = compareLanes<kRelation, Read>(w, i);
  const Mask p = combined(w, i, m), q = i.mode & kTwoResults ? combined(w, i, ~m) : 0;
  w.setPredicate(i.operand[0], p);
  if (i.mode & kTwoResults) w.setPredicate(i.operand[1], q);
}
// setp on f16x2: each half has its predicate.
template <Relation kRelation, class T>
void setPairPredicates(Warp& w, const Insn& i) {
  const Mask p = combined(w, i, compareLanes<kRelation, SixteenBit<T, false>>(w, i));
  const Mask q = combined(w, i, compareLanes<kRelation, SixteenBit<T, true>>(w, i));
  w.setPredicate(i.operand[0], p);
  w.setPredicate(i.operand[1], q);
}
// set: all ones or 1.0 where it holds; immediate: what that is. On pairs half by half.
template <Relation kRelation, class Read>
void setRegister(Warp& w, const Insn& i) {
  const Mask m = combined(w, i, compareLanes<kRelation, Read>(w, i)) & w.active;
  auto* d = w.reg<uint32_t>(i.operand[0]);
  for (int l = 0; l < kLanes; ++l)
    if (w.active >> l & 1) d[l] = m >> l & 1 ? uint32_t(i.immediate) : 0;
}
template <Relation kRelation, class T>
void setPair(Warp& w, const Insn& i) {
  const Mask low = combined(w, i, compareLanes<kRelation, SixteenBit<T, false>>(w, i));
  const Mask high = combined(w, i, compareLanes<kRelation, SixteenBit<T, true>>(w, i));
  auto* d = w.reg<uint32_t>(i.operand[0]);
  const uint32_t one = uint32_t(i.immediate);
  for (int l = 0; l < kLanes; ++l)
    if (w.active >> l & 1) d[l] = (low >> l & 1 ? one & 0xffff : 0) | (high >> l & 1 ? one & 0xffff0000 : 0);
}

// f(relation, read) with both as types
template <class F>
Handler forRelation(Relation r, F f) {
  switch (r) {
#define CASE(name) \
  case Relation::name: return f(std::integral_constant<Relation, Relation::name>())
    CASE(eq);
    CASE(ne);
    CASE(lt);
    CASE(le);
    CASE(gt);
    CASE(ge);
    CASE(equ);
    CASE(neu);
    CASE(ltu);
    CASE(leu);
    CASE(gtu);
    CASE(geu);
    CASE(num);
    CASE(nan);
#undef CASE
  }
  return nullptr;
}
template <class F>
Handler forRead(Decoder& d, std::string_view type, bool ftz, F f) {
  if (type == "f32") return ftz ? f(Flushed()) : f(Plain<float>());
  if (type == "f64") return f(Plain<double>());
  if (type == "f16") return f(SixteenBit<Half, false>());
  if (type == "bf16") return f(SixteenBit<Bfloat, false>());
  return forInteger(d, type, [&](auto t) { return f(Plain<decltype(t)>()); });
}

uint8_t takeCombine(Decoder& d) {
  return d.take("and") ? kAnd : d.take("or") ? kOr : d.take("xor") ? kXor : kNone;
}
// Operands after the results: a, b and, with a combining operation, a predicate.
void sources(Decoder& d, std::string_view type, uint8_t combine) {
  d.use(2, d.operand(1), slotBytes(type));
  d.use(3, d.operand(2), slotBytes(type));
  d.insn().mode |= combine;
  if (combine) {
    d.usePredicate(4, d.operand(3));
    if (d.operand(3).negated) d.insn().mode |= kNegated;
  }
  if (d.operands().size() != (combine ? 4u : 3u)) d.refuse();
}
bool isFloat(std::string_view type) { return type[0] == 'f' || type.starts_with("bf"); }

void setp(Decoder& d) {
  const std::string_view type = d.takeType();
  const Relation relation = takeRelation(d, type);
  const uint8_t combine = takeCombine(d);
  const bool ftz = d.take("ftz"), pair = type.ends_with("x2");
  if (isFloat(type)) d.insn().kind = type == "f64" ? InstructionClass::float64 : type == "f32" ? InstructionClass::float32 : InstructionClass::half;
  sources(d, type, combine);
  const ptx::Operand& result = d.operand(0);
  if (result.kind == ptx::Operand::Kind::vector) {
    if (result.parts.size() != 2) d.refuse();
    d.usePredicate(0, result.parts[0]);
    d.usePredicate(1, result.parts[1]);
    if (!pair) d.insn().mode |= kTwoResults;
  } else {
    if (pair) d.refuse();
    d.usePredicate(0, result);
  }
  d.insn().run = forRelation(relation, [&](auto r) {
    constexpr Relation kRelation = decltype(r)::value;
    if (pair) return type == "f16x2" ? Handler(setPairPredicates<kRelation, Half>) : Handler(setPairPredicates<kRelation, Bfloat>);
    return forRead(d, type, ftz, [](auto read) { return Handler(setPredicates<kRelation, decltype(read)>); });
  });
}

void set(Decoder& d) {
  const std::string_view type = d.takeType(), result = d.takeType();
  const Relation relation = takeRelation(d, type);
  const uint8_t combine = takeCombine(d);
  const bool ftz = d.take("ftz"), pair = type.ends_with("x2");
  sources(d, type, combine);
  d.define(0, d.operand(0), 4);
  static const std::map<std::string_view, uint32_t> ones = {{"u32", ~0u},    {"s32", ~0u},   {"f32", 0x3f800000},   {"u16", 0xffff},        {"s16", 0xffff},
                                                            {"f16", 0x3c00}, {"bf16", 0x3f80}, {"f16x2", 0x3c003c00}, {"bf16x2", 0x3f803f80}};
  const auto one = ones.find(result);
  if (one == ones.end()) d.refuse();
  d.insn().immediate = one->second;
  d.insn().run = forRelation(relation, [&](auto r) {
    constexpr Relation kRelation = decltype(r)::value;
    if (pair) return type == "f16x2" ? Handler(setPair<kRelation, Half>) : Handler(setPair<kRelation, Bfloat>);
    return forRead(d, type, ftz, [](auto read) { return Handler(setRegister<kRelation, decltype(read)>); });
  });
}

// d = p ? a : b
template <class T>
void select(Warp& w, const Insn& i) {
  auto* d = w.reg<T>(i.operand[0]);
  const auto *a = w.reg<T>(i.operand[1]), *b = w.reg<T>(i.operand[2]);
  const Mask p = w.predicate[i.operand[3]];
  if (w.active == kAllLanes) SIMT_LANES d[l] = p >> l & 1 ? a[l] : b[l];
  else SIMT_LANES d[l] = w.on[l] ? (p >> l & 1 ? a[l] : b[l]) : d[l];
}
void selp(Decoder& d) {
  const std::string_view type = d.takeType();
  d.use(1, d.operand(1), slotBytes(type));
  d.use(2, d.operand(2), slotBytes(type));
  d.usePredicate(3, d.operand(3));
  if (d.operand(3).negated) d.refuse();
  d.define(0, d.operand(0), slotBytes(type));
  d.insn().run = slotBytes(type) == 8 ? select<uint64_t> : select<uint32_t>;
}
// d = c >= 0 ? a : b
template <class T, class C>
void selectBySign(Warp& w, const Insn& i) {
  map3<T, T, T, C>(w, i, [](T a, T b, C c) { return c >= 0 ? a : b; });
}
void slct(Decoder& d) {
  const std::string_view control = d.takeType(), type = d.takeType();
  if (control != "s32" && control != "f32") d.refuse();
  d.take("ftz");
  d.use(1, d.operand(1), slotBytes(type));
  d.use(2, d.operand(2), slotBytes(type));
  d.use(3, d.operand(3), 4);
  d.define(0, d.operand(0), slotBytes(type));
  if (control == "s32") d.insn().run = slotBytes(type) == 8 ? selectBySign<uint64_t, int32_t> : selectBySign<uint32_t, int32_t>;
  else d.insn().run = slotBytes(type) == 8 ? selectBySign<uint64_t, float> : selectBySign<uint32_t, float>;
}

}  // namespace

void compareOpcodes(OpcodeTable& t) {
  t["setp"] = setp;
  t["set"] = set;
  t["selp"] = selp;
  t["slct"] = slct;
}

}  // namespace lantern::simt
