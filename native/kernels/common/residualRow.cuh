// What the norms share on the device: common/residualRow.h in packs, and what their backward reads.
#pragma once
#include "rowBlock.cuh"

namespace lantern::cuda {

// Elements of a pack of the forward: 16 bytes of the widest dtype.
template <class S, class T, class W>
constexpr int kNormWidth = sizeof(S) + sizeof(T) + sizeof(W) == 6 ? 8 : 4;

// h = stream + x, or stream alone where x is null, of the row that begins at element `at`.
template <int kWidth, class S, class T>
struct ResidualRow {
  const S* stream;
  const T* x;
  S* sum;

  template <class P>
  LANTERN_DEVICE ResidualRow(const P& p, int64_t at)
      : stream(static_cast<const S*>(p.stream) + at),
        x(p.x ? static_cast<const T*>(p.x) + at : nullptr),
        sum(p.sum ? static_cast<S*>(p.sum) + at : nullptr) {}

  // h, stored if there is a sum: the backward sees the rounded value, so the forward normalises that one.
  LANTERN_DEVICE Floats<kWidth> first(int64_t col) const {
    Floats<kWidth> h = added(col);
    if (sum) {
      store(sum + col, h);
      for (float& v : h.x) v = toFloat(fromFloat<S>(v));
    }
    return h;
  }
  // The same once more.
  LANTERN_DEVICE Floats<kWidth> again(int64_t col) const { return sum ? load<kWidth>(sum + col) : added(col); }

 private:
  LANTERN_DEVICE Floats<kWidth> added(int64_t col) const {
    Floats<kWidth> h = load<kWidth>(stream + col);
    if (!x) return h;
    const Floats<kWidth> v = load<kWidth>(x + col);
    for (int i = 0; i < kWidth; ++i) h.x[i] += v.x[i];
    return h;
  }
};

// What a thread of the backward reads of a row, kept as it came: half the registers of floats where it is bfloat16.
template <int kWidth, class S, class T>
struct NormGradientPack {
  Pack<kWidth, T> dy;
  Pack<kWidth, S> h;

  template <class P>
  static LANTERN_DEVICE NormGradientPack read(const P& p, int64_t at) {
    return {fetch<kWidth>(static_cast<const T*>(p.dy) + at), fetch<kWidth>(static_cast<const S*>(p.h) + at)};
  }
};

}  // namespace lantern::cuda
