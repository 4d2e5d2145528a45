// Bits: logic, shifts, fields, permutations.
#include <bit>

#include "lanes.h"

namespace lantern::simt {

namespace {

// ---- logic, also on predicates ----
struct And {
  template <class T>
  T operator()(T a, T b) const { return T(a & b); }
};
struct Or {
  template <class T>
  T operator()(T a, T b) const { return T(a | b); }
};
struct Xor {
  template <class T>
  T operator()(T a, T b) const { return T(a ^ b); }
};
template <class F>
void logic(Decoder& d) {
  const std::string_view type = d.takeType();
  if (type == "pred") {
    for (int s = 0; s < 3; ++s) d.usePredicate(s, d.operand(size_t(s)));
    d.insn().run = [](Warp& w, const Insn& i) { w.setPredicate(i.operand[0], F{}(w.predicate[i.operand[1]], w.predicate[i.operand[2]])); };
    return;
  }
  sameSize(d, type, 2);
  d.insn().run = forBits(d, type, [](auto t) {
    using T = decltype(t);
    return handler2<T, T, T>([](T a, T b) { return F{}(a, b); });
  });
}
void bitNot(Decoder& d) {
  const std::string_view type = d.takeType();
  if (type == "pred") {
    for (int s = 0; s < 2; ++s) d.usePredicate(s, d.operand(size_t(s)));
    d.insn().run = [](Warp& w, const Insn& i) { w.setPredicate(i.operand[0], ~w.predicate[i.operand[1]]); };
    return;
  }
  sameSize(d, type, 1);
  d.insn().run = forBits(d, type, [](auto t) {
    using T = decltype(t);
    return handler1<T, T>([](T a) { return T(~a); });
  });
}
void logicNot(Decoder& d) {  // cnot
  const std::string_view type = d.takeType();
  sameSize(d, type, 1);
  d.insn().run = forBits(d, type, [](auto t) {
    using T = decltype(t);
    return handler1<T, T>([](T a) { return T(a == 0); });
  });
}
// Any function of three bits, given as its truth table.
void logic3(Decoder& d) {
  if (d.takeType() != "b32") d.refuse();
  if (d.operands().size() != 5 || d.operand(4).kind != ptx::Operand::Kind::immediate) d.refuse();
  for (int s = 1; s < 4; ++s) d.use(s, d.operand(size_t(s)), 4);
  d.define(0, d.operand(0), 4);
  d.insn().immediate = int64_t(d.operand(4).value);
  d.insn().run = [](Warp& w, const Insn& i) {
    const uint32_t table = uint32_t(i.immediate);
    uint32_t term[8];
    for (int k = 0; k < 8; ++k) term[k] = table >> k & 1 ? ~0u : 0u;
    map3<uint32_t, uint32_t, uint32_t, uint32_t>(w, i, [&term](uint32_t a, uint32_t b, uint32_t c) {
      uint32_t r = 0;
      for (int k = 0; k < 8; ++k) r |= term[k] & (k & 4 ? a : ~a) & (k & 2 ? b : ~b) & (k & 1 ? c : ~c);
      return r;
    });
  };
}

// ---- shifts: counts beyond the size shift everything out ----
void shiftLeft(Decoder& d) {
  const std::string_view type = d.takeType();
  d.use(1, d.operand(1), slotBytes(type));
  d.use(2, d.operand(2), 4);
  d.define(0, d.operand(0), slotBytes(type));
  d.insn().run = forBits(d, type, [](auto t) {
    using T = decltype(t);
    return handler2<T, T, uint32_t>([](T a, uint32_t n) { return n >= 8 * sizeof(T) ? T(0) : T(a << n); });
  });
}
void shiftRight(Decoder& d) {
  const std::string_view type = d.takeType();
  d.use(1, d.operand(1), slotBytes(type));
  d.use(2, d.operand(2), 4);
  d.define(0, d.operand(0), slotBytes(type));
  d.insn().run = forInteger(d, type, [](auto t) {
    using T = decltype(t);
    return handler2<T, T, uint32_t>([](T a, uint32_t n) {
      constexpr uint32_t kBits = 8 * sizeof(T);
      if constexpr (std::is_signed_v<T>) return T(a >> (n >= kBits ? kBits - 1 : n));
      else return n >= kBits ? T(0) : T(a >> n);
    });
  });
}
// The upper (.l) or lower (.r) word of the 64-bit number b:a shifted.
void funnelShift(Decoder& d) {
  if (d.takeType() != "b32") d.refuse();
  const bool left = d.take("l"), clamp = d.take("clamp");
  if ((!left && !d.take("r")) || (!clamp && !d.take("wrap"))) d.refuse();
  sameSize(d, "b32", 3);
  d.insn().mode = uint8_t(left | clamp << 1);
  d.insn().run = [](Warp& w, const Insn& i) {
    const bool left = i.mode & 1, clamp = i.mode & 2;
    map3<uint32_t, uint32_t, uint32_t, uint32_t>(w, i, [=](uint32_t a, uint32_t b, uint32_t c) {
      const uint32_t n = clamp ? (c > 32 ? 32 : c) : c & 31;
      const uint64_t x = uint64_t(b) << 32 | a;
      return left ? uint32_t(n == 32 ? a : (x << n) >> 32) : uint32_t(x >> n);
    });
  };
}

// ---- counts ----
void count(Decoder& d) {
  const std::string_view type = d.takeType();
  d.use(1, d.operand(1), slotBytes(type));
  d.define(0, d.operand(0), 4);
  const bool ones = d.opcode() == "popc";
  d.insn().run = forBits(d, type, [&](auto t) {
    using T = decltype(t);
    return ones ? handler1<uint32_t, T>([](T a) { return uint32_t(std::popcount(a)); }) : handler1<uint32_t, T>([](T a) { return uint32_t(std::countl_zero(a)); });
  });
}
template <class T>
uint32_t highestBit(T a) {  // of signed numbers: the highest that is not the sign
  using U = std::make_unsigned_t<T>;
  U u = U(a);
  if constexpr (std::is_signed_v<T>)
    if (a < 0) u = U(~u);
  return u ? uint32_t(8 * sizeof(T) - 1) - uint32_t(std::countl_zero(u)) : ~0u;
}
void findBit(Decoder& d) {
  const std::string_view type = d.takeType();
  const bool shiftAmount = d.take("shiftamt");
  d.use(1, d.operand(1), slotBytes(type));
  d.define(0, d.operand(0), 4);
  d.insn().run = forInteger(d, type, [&](auto t) {
    using T = decltype(t);
    if (!shiftAmount) return handler1<uint32_t, T>([](T a) { return highestBit(a); });
    return handler1<uint32_t, T>([](T a) {
      const uint32_t n = highestBit(a);
      return n == ~0u ? n : uint32_t(8 * sizeof(T) - 1) - n;
    });
  });
}
void reverse(Decoder& d) {
  const std::string_view type = d.takeType();
  sameSize(d, type, 1);
  d.insn().run = forBits(d, type, [](auto t) {
    using T = decltype(t);
    return handler1<T, T>([](T a) {
      T r = 0;
      for (unsigned k = 0; k < 8 * sizeof(T); ++k) r = T(r << 1 | (a >> k & 1));
      return r;
    });
  });
}

// ---- fields ----
template <class T>
T extract(T a, uint32_t position, uint32_t length) {
  constexpr uint32_t kTop = 8 * sizeof(T) - 1;
  position &= 0xff, length &= 0xff;
  const uint32_t signAt = std::min(position + length - 1, kTop);
  const bool ones = std::is_signed_v<T> && length != 0 && (std::make_unsigned_t<T>(a) >> signAt & 1);
  std::make_unsigned_t<T> r = 0;
  for (uint32_t k = 0; k <= kTop; ++k) {
    const bool bit = k < length && position + k <= kTop ? std::make_unsigned_t<T>(a) >> (position + k) & 1 : ones;
    r |= std::make_unsigned_t<T>(bit) << k;
  }
  return T(r);
}
void extractField(Decoder& d) {
  const std::string_view type = d.takeType();
  d.use(1, d.operand(1), slotBytes(type));
  d.use(2, d.operand(2), 4);
  d.use(3, d.operand(3), 4);
  d.define(0, d.operand(0), slotBytes(type));
  d.insn().run = forInteger(d, type, [](auto t) {
    using T = decltype(t);
    return handler3<T, T, uint32_t, uint32_t>([](T a, uint32_t position, uint32_t length) { return extract(a, position, length); });
  });
}
template <class T>
T insert(T a, T b, uint32_t position, uint32_t length) {
  constexpr uint32_t kBits = 8 * sizeof(T);
  position &= 0xff, length &= 0xff;
  if (position >= kBits) return b;
  const T field = T(T(length >= kBits ? ~T(0) : (T(1) << length) - 1) << position);
  return T((b & ~field) | (T(a << position) & field));
}
void insertField(Decoder& d) {
  const std::string_view type = d.takeType();
  d.use(1, d.operand(1), slotBytes(type));
  d.use(2, d.operand(2), slotBytes(type));
  d.use(3, d.operand(3), 4);
  d.use(4, d.operand(4), 4);
  d.define(0, d.operand(0), slotBytes(type));
  d.insn().run = forBits(d, type, [](auto t) -> Handler {
    using T = decltype(t);
    return [](Warp& w, const Insn& i) {
      auto* r = w.reg<Slot<T>>(i.operand[0]);
      const auto *a = w.reg<Slot<T>>(i.operand[1]), *b = w.reg<Slot<T>>(i.operand[2]);
      const auto *position = w.reg<uint32_t>(i.operand[3]), *length = w.reg<uint32_t>(i.operand[4]);
      SIMT_LANES r[l] = w.on[l] ? toSlot<T>(insert(T(a[l]), T(b[l]), position[l], length[l])) : r[l];
    };
  });
}

// ---- permutation of the bytes of b:a ----
uint32_t permuteBytes(uint32_t a, uint32_t b, uint32_t selector) {
  const uint64_t x = uint64_t(b) << 32 | a;
  uint32_t r = 0;
  for (int k = 0; k < 4; ++k) {
    const uint32_t s = selector >> (4 * k);
    uint32_t byte = uint32_t(x >> (8 * (s & 7))) & 0xff;
    if (s & 8) byte = byte & 0x80 ? 0xff : 0;
    r |= byte << (8 * k);
  }
  return r;
}
void permute(Decoder& d) {
  if (d.takeType() != "b32") d.refuse("only prmt without a mode is known");
  sameSize(d, "b32", 3);
  d.insn().run = handler3<uint32_t, uint32_t, uint32_t, uint32_t>([](uint32_t a, uint32_t b, uint32_t c) { return permuteBytes(a, b, c); });
}

}  // namespace

void bitOpcodes(OpcodeTable& t) {
  t["and"] = logic<And>;
  t["or"] = logic<Or>;
  t["xor"] = logic<Xor>;
  t["not"] = bitNot;
  t["cnot"] = logicNot;
  t["lop3"] = logic3;
  t["shl"] = shiftLeft;
  t["shr"] = shiftRight;
  t["shf"] = funnelShift;
  t["popc"] = count;
  t["clz"] = count;
  t["bfind"] = findBit;
  t["brev"] = reverse;
  t["bfe"] = extractField;
  t["bfi"] = insertField;
  t["prmt"] = permute;
}

}  // namespace lantern::simt
