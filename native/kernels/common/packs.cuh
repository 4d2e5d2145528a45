// Packs of neighbouring elements in global memory, each moved by one instruction of its width. That is spelled out in PTX: left to itself the
// compiler splits some of these moves into elements, which lie 16 bytes apart from one thread to the next.
#pragma once
#include "cuda.cuh"

namespace lantern::cuda {

template <int bytes>
struct Words;
template <>
struct Words<2> {
  uint16_t x;
  LANTERN_DEVICE void load(const void* p) { x = *static_cast<const uint16_t*>(p); }
  LANTERN_DEVICE void store(void* p) const { *static_cast<uint16_t*>(p) = x; }
};
template <>
struct Words<4> {
  uint32_t x;
  LANTERN_DEVICE void load(const void* p) { x = *static_cast<const uint32_t*>(p); }
  LANTERN_DEVICE void store(void* p) const { *static_cast<uint32_t*>(p) = x; }
};
template <>
struct Words<8> {
  uint32_t x, y;
  LANTERN_DEVICE void load(const void* p) {
    asm volatile("ld.global.v2.u32 {%0,%1}, [%2];" : "=r"(x), "=r"(y) : "l"(__cvta_generic_to_global(p)) : "memory");
  }
  LANTERN_DEVICE void store(void* p) const { asm volatile("st.global.v2.u32 [%0], {%1,%2};" ::"l"(__cvta_generic_to_global(p)), "r"(x), "r"(y) : "memory"); }
};
template <>
struct Words<16> {
  uint32_t x, y, z, w;
  LANTERN_DEVICE void load(const void* p) {
    asm volatile("ld.global.v4.u32 {%0,%1,%2,%3}, [%4];" : "=r"(x), "=r"(y), "=r"(z), "=r"(w) : "l"(__cvta_generic_to_global(p)) : "memory");
  }
  LANTERN_DEVICE void store(void* p) const {
    asm volatile("st.global.v4.u32 [%0], {%1,%2,%3,%4};" ::"l"(__cvta_generic_to_global(p)), "r"(x), "r"(y), "r"(z), "r"(w) : "memory");
  }
};

// As they are in memory.
template <int n, class T>
LANTERN_DEVICE Pack<n, T> fetch(const T* p) {
  Words<n * sizeof(T)> words;
  words.load(p);
  return __builtin_bit_cast(Pack<n, T>, words);
}
template <int n, class T>
LANTERN_DEVICE void put(T* p, const Pack<n, T>& v) {
  __builtin_bit_cast(Words<n * sizeof(T)>, v).store(p);
}
template <class Y, int n, class X>
LANTERN_DEVICE Pack<n, Y> convert(const Pack<n, X>& v) {
  if constexpr (std::is_same_v<X, Y>) return v;  // bits stay, of NaN too
  else {
    Pack<n, Y> y;
#pragma unroll
    for (int i = 0; i < n; ++i) y.x[i] = fromFloat<Y>(toFloat(v.x[i]));
    return y;
  }
}

// As floats.
template <int n>
struct Floats {
  float x[n];
};
template <int n, class T>
LANTERN_DEVICE Floats<n> load(const T* p) {
  const Pack<n, T> pack = fetch<n>(p);
  Floats<n> v;
#pragma unroll
  for (int i = 0; i < n; ++i) v.x[i] = toFloat(pack.x[i]);
  return v;
}
template <int n, class T>
LANTERN_DEVICE void store(T* p, const Floats<n>& v) {
  Pack<n, T> pack;
#pragma unroll
  for (int i = 0; i < n; ++i) pack.x[i] = fromFloat<T>(v.x[i]);
  put(p, pack);
}

}  // namespace lantern::cuda
