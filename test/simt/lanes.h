// Handlers of instructions that work lane by lane: plain loops over 32 lanes, which the compiler turns into vector instructions.
#pragma once
#include <bit>
#include <concepts>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "decode.h"
#include "state.h"

namespace lantern::simt {

#define SIMT_LANES _Pragma("GCC ivdep") for (int l = 0; l < kLanes; ++l)

// Types narrower than 32 bits live in the low bits of a 32-bit slot; what is above them is not looked at.
template <class T>
using Slot = std::conditional_t<sizeof(T) == 8, uint64_t, uint32_t>;
template <class T>
inline T fromSlot(Slot<T> s) {
  if constexpr (sizeof(T) >= 4) return std::bit_cast<T>(s);
  else if constexpr (std::is_integral_v<T>) return T(s);
  else return std::bit_cast<T>(uint16_t(s));
}
template <class T>
inline Slot<T> toSlot(T v) {
  if constexpr (sizeof(T) >= 4) return std::bit_cast<Slot<T>>(v);
  else if constexpr (std::is_integral_v<T>) return Slot<T>(std::make_unsigned_t<T>(v));
  else return Slot<T>(std::bit_cast<uint16_t>(v));
}

// 16-bit floats as they are stored.
struct Half {
  uint16_t bits;
};
struct Bfloat {
  uint16_t bits;
};

template <class D, class A, class F>
inline void map1(Warp& w, const Insn& i, F f) {
  auto* d = w.reg<Slot<D>>(i.operand[0]);
  auto* a = w.reg<Slot<A>>(i.operand[1]);
  if (w.active == kAllLanes) SIMT_LANES d[l] = toSlot<D>(f(fromSlot<A>(a[l])));
  else SIMT_LANES d[l] = w.on[l] ? toSlot<D>(f(fromSlot<A>(a[l]))) : d[l];
}
template <class D, class A, class B, class F>
inline void map2(Warp& w, const Insn& i, F f) {
  auto* d = w.reg<Slot<D>>(i.operand[0]);
  auto* a = w.reg<Slot<A>>(i.operand[1]);
  auto* b = w.reg<Slot<B>>(i.operand[2]);
  if (w.active == kAllLanes) SIMT_LANES d[l] = toSlot<D>(f(fromSlot<A>(a[l]), fromSlot<B>(b[l])));
  else SIMT_LANES d[l] = w.on[l] ? toSlot<D>(f(fromSlot<A>(a[l]), fromSlot<B>(b[l]))) : d[l];
}
template <class D, class A, class B, class C, class F>
inline void map3(Warp& w, const Insn& i, F f) {
  auto* d = w.reg<Slot<D>>(i.operand[0]);
  auto* a = w.reg<Slot<A>>(i.operand[1]);
  auto* b = w.reg<Slot<B>>(i.operand[2]);
  auto* c = w.reg<Slot<C>>(i.operand[3]);
  if (w.active == kAllLanes) SIMT_LANES d[l] = toSlot<D>(f(fromSlot<A>(a[l]), fromSlot<B>(b[l]), fromSlot<C>(c[l])));
  else SIMT_LANES d[l] = w.on[l] ? toSlot<D>(f(fromSlot<A>(a[l]), fromSlot<B>(b[l]), fromSlot<C>(c[l]))) : d[l];
}

// As handlers; f is a lambda without captures.
template <class D, class A, class F>
Handler handler1(F) {
  return [](Warp& w, const Insn& i) { map1<D, A>(w, i, F{}); };
}
template <class D, class A, class B, class F>
Handler handler2(F) {
  return [](Warp& w, const Insn& i) { map2<D, A, B>(w, i, F{}); };
}
template <class D, class A, class B, class C, class F>
Handler handler3(F) {
  return [](Warp& w, const Insn& i) { map3<D, A, B, C>(w, i, F{}); };
}

// f(x) with x of the C++ type that a PTX type names.
template <class F>
Handler forInteger(Decoder& d, std::string_view type, F f) {
  if (type == "s32") return f(int32_t());
  if (type == "u32" || type == "b32") return f(uint32_t());
  if (type == "s64") return f(int64_t());
  if (type == "u64" || type == "b64") return f(uint64_t());
  if (type == "s16") return f(int16_t());
  if (type == "u16" || type == "b16") return f(uint16_t());
  d.refuse("not an integer type of this instruction: ." + std::string(type));
}
template <class F>
Handler forBits(Decoder& d, std::string_view type, F f) {  // signs do not matter
  if (type == "b32" || type == "u32" || type == "s32") return f(uint32_t());
  if (type == "b64" || type == "u64" || type == "s64") return f(uint64_t());
  if (type == "b16" || type == "u16" || type == "s16") return f(uint16_t());
  d.refuse("not a type of this instruction: ." + std::string(type));
}

inline uint32_t slotBytes(std::string_view type) { return type.ends_with("64") ? 8 : 4; }

// d, a, b, ... all of one size.
inline void sameSize(Decoder& d, std::string_view type, int sources) {
  if (d.operands().size() != size_t(sources) + 1) d.refuse("another number of operands is expected");
  for (int s = 1; s <= sources; ++s) d.use(s, d.operand(size_t(s)), slotBytes(type));
  d.define(0, d.operand(0), slotBytes(type));
}

// Where integer opcodes are floating-point ones by their type.
void floatAdd(Decoder&, std::string_view type);
void floatSubtract(Decoder&, std::string_view type);
void floatMultiply(Decoder&, std::string_view type);
void floatFma(Decoder&, std::string_view type);
void floatDivide(Decoder&, std::string_view type);
void floatMin(Decoder&, std::string_view type);
void floatMax(Decoder&, std::string_view type);
void floatNegate(Decoder&, std::string_view type);
void floatAbsolute(Decoder&, std::string_view type);
void floatRoot(Decoder&, std::string_view type, bool reciprocal);
void approximateDivide(Decoder&, std::string_view type);

}  // namespace lantern::simt
