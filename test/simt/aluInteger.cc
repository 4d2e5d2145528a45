// Integer arithmetic.
#include <bit>

#include "lanes.h"

namespace lantern::simt {

namespace {

template <class T>
using Wide = std::conditional_t<sizeof(T) == 8, std::conditional_t<std::is_signed_v<T>, __int128, unsigned __int128>,
                                std::conditional_t<std::is_signed_v<T>, int64_t, uint64_t>>;

// Sums wrap; with .sat (s32 only) they are clamped.
template <bool kSubtract>
void addSubtract(Decoder& d) {
  const std::string_view type = d.takeType();
  if (type[0] == 'f' || type[0] == 'b') return kSubtract ? floatSubtract(d, type) : floatAdd(d, type);
  sameSize(d, type, 2);
  if (d.take("sat")) {
    if (type != "s32") d.refuse();
    d.insn().run = handler2<int32_t, int32_t, int32_t>([](int32_t a, int32_t b) {
      const int64_t x = kSubtract ? int64_t(a) - b : int64_t(a) + b;
      return int32_t(x > INT32_MAX ? INT32_MAX : x < INT32_MIN ? INT32_MIN : x);
    });
    return;
  }
  d.insn().run = forBits(d, type, [](auto t) {
    using T = decltype(t);
    return handler2<T, T, T>([](T a, T b) { return T(kSubtract ? a - b : a + b); });
  });
}

// mul and mad: .lo, .hi, .wide
template <bool kAdd>
void multiply(Decoder& d) {
  const std::string_view type = d.takeType();
  if (type[0] == 'f' || type[0] == 'b') return kAdd ? floatFma(d, type) : floatMultiply(d, type);
  const bool wide = d.take("wide"), high = !wide && d.take("hi");
  if (!wide && !high && !d.take("lo")) d.refuse();
  d.use(1, d.operand(1), slotBytes(type));
  d.use(2, d.operand(2), slotBytes(type));
  const uint32_t result = wide && slotBytes(type) == 4 && type.ends_with("32") ? 8 : slotBytes(type);
  if (kAdd) d.use(3, d.operand(3), result);
  if (d.operands().size() != (kAdd ? 4 : 3)) d.refuse();
  d.define(0, d.operand(0), result);
  auto plain = [&](auto t) {
    using T = decltype(t);
    using U = std::make_unsigned_t<T>;
    if (high) {
      auto f = [](T a, T b) { return T((Wide<T>(a) * Wide<T>(b)) >> (8 * sizeof(T))); };
      if (kAdd) return handler3<T, T, T, T>([](T a, T b, T c) { return T(U(decltype(f){}(a, b)) + U(c)); });
      return handler2<T, T, T>(f);
    }
    if (kAdd) return handler3<U, U, U, U>([](U a, U b, U c) { return U(uint64_t(a) * b + c); });
    return handler2<U, U, U>([](U a, U b) { return U(uint64_t(a) * b); });
  };
  if (!wide) return void(d.insn().run = forInteger(d, type, plain));
  d.insn().run = forInteger(d, type, [&](auto t) -> Handler {
    using T = decltype(t);
    if constexpr (sizeof(T) == 8) {
      d.refuse();
    } else {
      using W = std::conditional_t<sizeof(T) == 4, std::conditional_t<std::is_signed_v<T>, int64_t, uint64_t>,
                                   std::conditional_t<std::is_signed_v<T>, int32_t, uint32_t>>;
      using U = std::make_unsigned_t<W>;
      if (kAdd) return handler3<W, T, T, W>([](T a, T b, W c) { return W(U(W(a) * W(b)) + U(c)); });
      return handler2<W, T, T>([](T a, T b) { return W(W(a) * W(b)); });
    }
  });
}

// Division by zero is undefined; the machine gives all ones, and the dividend as the remainder.
template <class T>
T quotient(T a, T b) {
  if (b == 0) return T(-1);
  if constexpr (std::is_signed_v<T>)
    if (b == T(-1)) return T(0 - std::make_unsigned_t<T>(a));
  return T(a / b);
}
template <class T>
T remainderOf(T a, T b) {
  if (b == 0) return a;
  if constexpr (std::is_signed_v<T>)
    if (b == T(-1)) return 0;
  return T(a % b);
}
void divide(Decoder& d) {
  const std::string_view type = d.takeType();
  if (type[0] == 'f') return floatDivide(d, type);
  sameSize(d, type, 2);
  d.insn().run = forInteger(d, type, [](auto t) {
    using T = decltype(t);
    return handler2<T, T, T>([](T a, T b) { return quotient(a, b); });
  });
}
void remainder(Decoder& d) {
  const std::string_view type = d.takeType();
  sameSize(d, type, 2);
  d.insn().run = forInteger(d, type, [](auto t) {
    using T = decltype(t);
    return handler2<T, T, T>([](T a, T b) { return remainderOf(a, b); });
  });
}

template <bool kMax>
void extremum(Decoder& d) {
  const std::string_view type = d.takeType();
  if (type[0] == 'f' || type[0] == 'b') return kMax ? floatMax(d, type) : floatMin(d, type);
  sameSize(d, type, 2);
  d.insn().run = forInteger(d, type, [](auto t) {
    using T = decltype(t);
    return handler2<T, T, T>([](T a, T b) { return (kMax ? a > b : a < b) ? a : b; });
  });
}

template <bool kNegate>
void sign(Decoder& d) {
  const std::string_view type = d.takeType();
  if (type[0] == 'f' || type[0] == 'b') return kNegate ? floatNegate(d, type) : floatAbsolute(d, type);
  if (type[0] != 's') d.refuse();
  sameSize(d, type, 1);
  d.insn().run = forInteger(d, type, [](auto t) {
    using T = decltype(t);
    using U = std::make_unsigned_t<T>;
    return handler1<T, T>([](T a) { return kNegate || a < 0 ? T(U(0) - U(a)) : a; });
  });
}

void sumOfAbsoluteDifference(Decoder& d) {  // d = c + |a - b|
  const std::string_view type = d.takeType();
  sameSize(d, type, 3);
  d.insn().run = forInteger(d, type, [](auto t) {
    using T = decltype(t);
    using U = std::make_unsigned_t<T>;
    return handler3<T, T, T, T>([](T a, T b, T c) { return T(U(c) + (a < b ? U(b) - U(a) : U(a) - U(b))); });
  });
}

// mul24, mad24: the low 24 bits of both.
template <bool kAdd>
void multiply24(Decoder& d) {
  const std::string_view type = d.takeType();
  const bool high = d.take("hi");
  if ((!high && !d.take("lo")) || !type.ends_with("32")) d.refuse();
  sameSize(d, type, kAdd ? 3 : 2);
  if (!kAdd) d.insn().operand[3] = d.insn().operand[2];
  d.insn().mode = high;
  auto make = [](auto t) {
    using T = decltype(t);
    return Handler([](Warp& w, const Insn& i) {
      const int shift = i.mode ? 16 : 0;
      map3<T, T, T, T>(w, i, [shift](T a, T b, T c) {
        const auto x = Wide<T>(T(uint32_t(a) << 8) >> 8) * Wide<T>(T(uint32_t(b) << 8) >> 8);
        return T(uint32_t(x >> shift) + (kAdd ? uint32_t(c) : 0));
      });
    });
  };
  d.insn().run = type[0] == 's' ? make(int32_t()) : make(uint32_t());
}

// dp4a: four products of bytes; dp2a: two of 16-bit halves with the low or high two bytes.
template <class A, class B>
int64_t byteProducts(uint32_t a, uint32_t b) {
  int64_t sum = 0;
  for (int k = 0; k < 4; ++k) sum += int64_t(A(a >> (8 * k))) * B(b >> (8 * k));
  return sum;
}
void dotBytes(Decoder& d) {
  const bool bSigned = d.takeType() == "s32", aSigned = d.takeType() == "s32";
  sameSize(d, "b32", 3);
  auto make = [](auto a, auto b) {
    using A = decltype(a);
    using B = decltype(b);
    return handler3<uint32_t, uint32_t, uint32_t, uint32_t>([](uint32_t x, uint32_t y, uint32_t c) { return c + uint32_t(byteProducts<A, B>(x, y)); });
  };
  d.insn().run = aSigned ? (bSigned ? make(int8_t(), int8_t()) : make(int8_t(), uint8_t()))
                         : (bSigned ? make(uint8_t(), int8_t()) : make(uint8_t(), uint8_t()));
}

// add.cc, addc, sub.cc, subc: the carry stays in a predicate of its own, operand 4.
template <bool kSubtract>
void carry(Decoder& d) {
  const std::string_view type = d.takeType();
  const bool takesCarry = d.opcode().ends_with("c"), setsCarry = d.take("cc");
  sameSize(d, type, 2);
  d.carryPredicate(4);
  d.insn().mode = uint8_t(takesCarry | setsCarry << 1);
  d.insn().run = forBits(d, type, [](auto t) -> Handler {
    using T = decltype(t);
    return [](Warp& w, const Insn& i) {
      auto* r = w.reg<Slot<T>>(i.operand[0]);
      const auto* a = w.reg<Slot<T>>(i.operand[1]);
      const auto* b = w.reg<Slot<T>>(i.operand[2]);
      const Mask in = i.mode & 1 ? w.predicate[i.operand[4]] : 0;
      Mask out = 0;
      for (int l = 0; l < kLanes; ++l) {
        if (!(w.active >> l & 1)) continue;
        const T x = T(a[l]), y = T(b[l]), c = T(in >> l & 1);
        const unsigned __int128 wide = kSubtract ? (unsigned __int128)(x) - y - c : (unsigned __int128)(x) + y + c;
        r[l] = toSlot<T>(T(wide));
        out |= Mask(wide >> (8 * sizeof(T)) & 1) << l;
      }
      if (i.mode & 2) w.setPredicate(i.operand[4], out);
    };
  });
}
template <bool kSubtract>
void addOrCarry(Decoder& d) {
  const auto& m = d.source().modifiers;
  if (!m.empty() && m.front() == "cc") return carry<kSubtract>(d);
  addSubtract<kSubtract>(d);
}

}  // namespace

void integerOpcodes(OpcodeTable& t) {
  t["add"] = addOrCarry<false>;
  t["sub"] = addOrCarry<true>;
  t["addc"] = carry<false>;
  t["subc"] = carry<true>;
  t["mul"] = multiply<false>;
  t["mad"] = multiply<true>;
  t["mul24"] = multiply24<false>;
  t["mad24"] = multiply24<true>;
  t["div"] = divide;
  t["rem"] = remainder;
  t["min"] = extremum<false>;
  t["max"] = extremum<true>;
  t["neg"] = sign<true>;
  t["abs"] = sign<false>;
  t["sad"] = sumOfAbsoluteDifference;
  t["dp4a"] = dotBytes;
}

}  // namespace lantern::simt
