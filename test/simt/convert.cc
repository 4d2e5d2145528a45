// cvt between every pair of types, with rounding, saturation and flushing.
//
// The pairs that kernels are full of have loops of their own; every other one goes lane by lane through a long double, which holds all values
// of all types, so that each conversion rounds exactly once.
#include "floats.h"

namespace lantern::simt {

namespace {

enum class Type : uint8_t { s8, u8, s16, u16, s32, u32, s64, u64, f16, bf16, f32, f64 };
const std::map<std::string_view, Type>& typeNames() {
  static const std::map<std::string_view, Type> names = {{"s8", Type::s8},   {"u8", Type::u8},   {"s16", Type::s16}, {"u16", Type::u16},
                                                         {"s32", Type::s32}, {"u32", Type::u32}, {"s64", Type::s64}, {"u64", Type::u64},
                                                         {"f16", Type::f16}, {"bf16", Type::bf16}, {"f32", Type::f32}, {"f64", Type::f64}};
  return names;
}
bool isFloat(Type t) { return t >= Type::f16; }
bool isSigned(Type t) { return t < Type::f16 && uint8_t(t) % 2 == 0; }
int bitsOf(Type t) {
  static constexpr int kBits[] = {8, 8, 16, 16, 32, 32, 64, 64, 16, 16, 32, 64};
  return kBits[int(t)];
}

// mode: the rounding in two bits, then these
enum : uint8_t { kToInteger = 4, kSaturate = 8, kFtz = 16, kRelu = 32 };
struct Types {
  Type from, to;
};
Types typesOf(const Insn& i) { return {Type(i.immediate & 0xff), Type(i.immediate >> 8)}; }

long double floatValue(Type t, uint64_t raw) {
  switch (t) {
    case Type::f16: return halfToFloat(uint32_t(raw & 0xffff));
    case Type::bf16: return bfloatToFloat(uint32_t(raw & 0xffff));
    case Type::f32: return std::bit_cast<float>(uint32_t(raw));
    default: return std::bit_cast<double>(raw);
  }
}
uint64_t floatBits(Type t, long double x) {
  const bool nan = x != x;
  switch (t) {
    case Type::f16: return nan ? kNan16 : std::bit_cast<uint16_t>(_Float16(double(x)));
    case Type::bf16: return nan ? kNan16 : std::bit_cast<uint32_t>(float(x)) >> 16;
    case Type::f32: return nan ? kNan32 : std::bit_cast<uint32_t>(float(x));
    default: return std::bit_cast<uint64_t>(double(x));
  }
}
const Format& formatOf(Type t) { return t == Type::f16 ? kHalfFormat : t == Type::bf16 ? kBfloatFormat : t == Type::f32 ? kFloatFormat : kDoubleFormat; }

__int128 integerValue(Type t, uint64_t raw) {
  const int unused = 64 - bitsOf(t);
  return isSigned(t) ? __int128(int64_t(raw << unused) >> unused) : __int128(raw << unused >> unused);
}
__int128 smallest(Type t) { return isSigned(t) ? -(__int128(1) << (bitsOf(t) - 1)) : 0; }
__int128 largest(Type t) { return (__int128(1) << (bitsOf(t) - (isSigned(t) ? 1 : 0))) - 1; }

uint64_t convertOne(Types types, uint8_t mode, uint64_t raw) {
  const auto [from, to] = types;
  const Rounding rounding = Rounding(mode & 3);
  if (!isFloat(from) && !isFloat(to)) {
    __int128 x = integerValue(from, raw);
    if (mode & kSaturate) x = std::clamp(x, smallest(to), largest(to));
    return uint64_t(x);
  }
  long double x = isFloat(from) ? floatValue(from, raw) : (long double)integerValue(from, raw);
  if ((mode & kFtz) && from == Type::f32 && std::fabs(x) < 0x1p-126L) x = std::copysign(0.L, x);
  if (!isFloat(to)) {
    if (x != x) return from == Type::f64 || bitsOf(to) == 64 ? uint64_t(1) << (bitsOf(to) - 1) : 0;
    x = toInteger(x, rounding);
    if (x <= (long double)smallest(to)) return uint64_t(smallest(to));
    if (x >= (long double)largest(to)) return uint64_t(largest(to));
    return uint64_t(__int128(x));
  }
  if (mode & kToInteger) x = toInteger(x, rounding);
  else x = roundTo(formatOf(to), x, rounding);
  if ((mode & kFtz) && to == Type::f32 && std::fabs(x) < 0x1p-126L) x = std::copysign(0.L, x);
  if (mode & kSaturate) x = x > 0 ? (x < 1 ? x : 1) : 0;
  if ((mode & kRelu) && x <= 0) x = 0;
  return floatBits(to, x);
}

template <class D, class S>
void anyPair(Warp& w, const Insn& i) {
  auto* d = w.reg<D>(i.operand[0]);
  const auto* a = w.reg<S>(i.operand[1]);
  const Types types = typesOf(i);
  for (int l = 0; l < kLanes; ++l)
    if (w.active >> l & 1) d[l] = D(convertOne(types, i.mode, a[l]));
}
// Narrow results are extended to the register: an s8 in a 32-bit one has its sign repeated.
template <class D, class S>
void narrowResult(Warp& w, const Insn& i) {
  anyPair<D, S>(w, i);
  auto* d = w.reg<D>(i.operand[0]);
  const Type to = typesOf(i).to;
  for (int l = 0; l < kLanes; ++l)
    if (w.active >> l & 1) d[l] = D(integerValue(to, d[l]));
}

// Two f32 to a pair of 16-bit floats: the first goes into the upper half.
template <class T>
void packPair(Warp& w, const Insn& i) {
  const Type to = std::is_same_v<T, Half> ? Type::f16 : Type::bf16;
  auto* d = w.reg<uint32_t>(i.operand[0]);
  const auto *high = w.reg<uint32_t>(i.operand[1]), *low = w.reg<uint32_t>(i.operand[2]);
  for (int l = 0; l < kLanes; ++l)
    if (w.active >> l & 1) d[l] = uint32_t(convertOne({Type::f32, to}, i.mode, high[l]) << 16 | convertOne({Type::f32, to}, i.mode, low[l]));
}

// ---- the common pairs ----

Handler commonPair(Types types, uint8_t mode) {
  const auto is = [&](Type from, Type to) { return types.from == from && types.to == to; };
  if (is(Type::f32, Type::f32) && mode == kSaturate) return handler1<float, float>([](float a) { return resultOf<false, true>(a); });
  const bool floats = isFloat(types.from) || isFloat(types.to);
  if (mode & (floats ? ~0 : int(kSaturate))) return nullptr;  // to nearest only
  if (is(Type::bf16, Type::f32)) return handler1<float, uint16_t>([](uint16_t a) { return bfloatToFloat(a); });
  if (is(Type::f32, Type::bf16)) return handler1<uint32_t, float>([](float a) { return floatToBfloat(a); });
  if (is(Type::f16, Type::f32)) return handler1<float, uint16_t>([](uint16_t a) { return resultOf<false, false>(halfToFloat(a)); });
  if (is(Type::f32, Type::f16)) return handler1<uint32_t, float>([](float a) { return floatToHalf(a); });
  if (is(Type::f32, Type::f64)) return handler1<double, float>([](float a) { return double(a); });
  if (is(Type::f64, Type::f32)) return handler1<float, double>([](double a) { return resultOf<false, false>(float(a)); });
  if (is(Type::s32, Type::f32)) return handler1<float, int32_t>([](int32_t a) { return float(a); });
  if (is(Type::u32, Type::f32)) return handler1<float, uint32_t>([](uint32_t a) { return float(a); });
  if (is(Type::s64, Type::f32)) return handler1<float, int64_t>([](int64_t a) { return float(a); });
  if (is(Type::u64, Type::f32)) return handler1<float, uint64_t>([](uint64_t a) { return float(a); });
  if (is(Type::s32, Type::f64)) return handler1<double, int32_t>([](int32_t a) { return double(a); });
  if (is(Type::u32, Type::f64)) return handler1<double, uint32_t>([](uint32_t a) { return double(a); });
  if (is(Type::s64, Type::f64)) return handler1<double, int64_t>([](int64_t a) { return double(a); });
  if (is(Type::u64, Type::f64)) return handler1<double, uint64_t>([](uint64_t a) { return double(a); });
  if (floats || bitsOf(types.to) < 16) return nullptr;
  // Integers: extended from the source's size and sign, cut to the destination's.
  const bool wide = bitsOf(types.to) == 64;
  auto make = [&](auto t) -> Handler {
    using T = decltype(t);
    if (wide) return handler1<uint64_t, T>([](T a) { return uint64_t(int64_t(a)); });
    return handler1<uint32_t, T>([](T a) { return uint32_t(int64_t(a)); });
  };
  switch (types.from) {
    case Type::s8: return make(int8_t());
    case Type::u8: return make(uint8_t());
    case Type::s16: return make(int16_t());
    case Type::u16: return make(uint16_t());
    case Type::s32: return make(int32_t());
    case Type::u32: return make(uint32_t());
    case Type::s64: return make(int64_t());
    default: return make(uint64_t());
  }
}

uint8_t takeMode(Decoder& d) {
  uint8_t mode = 0;
  bool integer = false;
  for (auto [name, rounding] : {std::pair("n", Rounding::nearest), {"z", Rounding::zero}, {"m", Rounding::down}, {"p", Rounding::up}}) {
    const std::string r = std::string("r") + name;
    if (d.take(r)) mode |= uint8_t(rounding);
    if (d.take(r + "i")) mode |= uint8_t(rounding), integer = true;
  }
  return uint8_t(mode | (integer ? kToInteger : 0) | (d.take("sat") ? kSaturate : 0) | (d.take("ftz") ? kFtz : 0) | (d.take("relu") ? kRelu : 0));
}

void cvt(Decoder& d) {
  const std::string_view fromName = d.takeType(), toName = d.takeType();
  d.insn().kind = InstructionClass::conversion;
  d.insn().mode = takeMode(d);
  if (toName == "f16x2" || toName == "bf16x2") {
    if (fromName != "f32") d.refuse();
    d.use(1, d.operand(1), 4);
    d.use(2, d.operand(2), 4);
    d.define(0, d.operand(0), 4);
    if (toName == "f16x2") d.insn().run = packPair<Half>;
    else if (d.insn().mode) d.insn().run = packPair<Bfloat>;
    else d.insn().run = handler2<uint32_t, float, float>([](float high, float low) { return floatToBfloat(high) << 16 | floatToBfloat(low); });
    return;
  }
  const auto from = typeNames().find(fromName), to = typeNames().find(toName);
  if (from == typeNames().end() || to == typeNames().end()) d.refuse();
  const Types types{from->second, to->second};
  // Registers may be wider than the types.
  const uint32_t in = std::max(d.bytesOf(d.operand(1)), slotBytes(fromName)), out = std::max(d.bytesOf(d.operand(0)), slotBytes(toName));
  d.use(1, d.operand(1), in);
  d.define(0, d.operand(0), out);
  d.insn().immediate = int64_t(types.from) | int64_t(types.to) << 8;
  const bool exact = in == slotBytes(fromName) && out == slotBytes(toName);
  if (Handler h = exact ? commonPair(types, d.insn().mode) : nullptr) {
    d.insn().run = h;
  } else if (isFloat(types.to) || bitsOf(types.to) == 64) {
    if (!exact && out != slotBytes(toName)) d.refuse();
    d.insn().run = out == 8 ? (in == 8 ? anyPair<uint64_t, uint64_t> : anyPair<uint64_t, uint32_t>) : (in == 8 ? anyPair<uint32_t, uint64_t> : anyPair<uint32_t, uint32_t>);
  } else {
    d.insn().run = out == 8 ? (in == 8 ? narrowResult<uint64_t, uint64_t> : narrowResult<uint64_t, uint32_t>)
                            : (in == 8 ? narrowResult<uint32_t, uint64_t> : narrowResult<uint32_t, uint32_t>);
  }
}

}  // namespace

void convertOpcodes(OpcodeTable& t) { t["cvt"] = cvt; }

}  // namespace lantern::simt
