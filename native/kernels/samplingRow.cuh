// A row of logits as sampling sees it: penalties on the way, in slices that warps hold in registers, ranked.
#pragma once
#include <cfloat>

#include "common/packs.cuh"
#include "sampling.h"
#include "samplingShape.h"

namespace lantern::cuda {

constexpr float kMinusInfinity = -INFINITY;

struct RowSettings {
  float temperature, topP, penalty;
  int32_t topK;
  bool greedy, whole;  // whole: nothing is cut away before the draw

  LANTERN_DEVICE RowSettings(const SamplingParams& p, int64_t row) {
    temperature = p.settings[row * 3], topP = p.settings[row * 3 + 1], penalty = p.settings[row * 3 + 2];
    topK = p.draws[row * 5];
    greedy = temperature < 1e-5f || topK == 1;
    whole = (topK <= 0 || topK >= p.limit) && topP >= 1;
  }
};

// A lane's packs of a slice are of kPackWidth columns, 32 * kPackWidth apart. Slices start where the row's addresses are aligned, so the first
// one may begin before the row.
constexpr int kPackWidth = 4, kSlicePacks = kSampleSlice / (kWarp * kPackWidth);

// `count` of them, -infinity outside of the row.
template <int count>
struct SlicePacks {
  float raw[count][kPackWidth], z[count][kPackWidth];
  int64_t first;  // column of raw[0][0]
  LANTERN_DEVICE int64_t column(int k, int i) const { return first + k * kWarp * kPackWidth + i; }
};

struct LogitsRow {
  const void* logits;
  bool half;                  // bfloat16
  const uint32_t* penalised;  // null: none in this row
  float penalty;
  int64_t limit;

  LANTERN_DEVICE LogitsRow(const SamplingParams& p, const SamplingScratch& s, int64_t row, float rowPenalty)
      : logits(static_cast<const char*>(p.logits) + row * p.cols * (p.dtype == kBfloat16 ? 2 : 4)), half(p.dtype == kBfloat16),
        penalised(s.penalised && rowPenalty != 1 ? s.penalised + row * s.words : nullptr), penalty(rowPenalty), limit(p.limit) {}

  LANTERN_DEVICE float penalise(float raw, bool is) const { return is ? (raw > 0 ? raw / penalty : raw * penalty) : raw; }
  LANTERN_DEVICE float raw(int64_t i) const { return half ? toFloat(static_cast<const bf16*>(logits)[i]) : static_cast<const float*>(logits)[i]; }
  LANTERN_DEVICE float z(int64_t i) const { return penalise(raw(i), penalised && (penalised[i / 32] >> (i % 32) & 1)); }

  // Where slice s starts, whether in the row or before it.
  LANTERN_DEVICE int64_t start(int64_t s) const {
    return s * kSampleSlice - int64_t(reinterpret_cast<uintptr_t>(logits) / (half ? 2 : 4) % kPackWidth);
  }

  // This lane's packs of slice s from the one numbered `begin` on.
  template <int count>
  LANTERN_DEVICE SlicePacks<count> packs(int64_t s, int begin) const {
    constexpr int kWidth = kPackWidth;
    SlicePacks<count> v;
    v.first = start(s) + int64_t(begin * kWarp + threadIdx.x % kWarp) * kWidth;
    if (half) read(static_cast<const bf16*>(logits), v);
    else read(static_cast<const float*>(logits), v);
#pragma unroll
    for (int k = 0; k < count; ++k) {
      const int64_t col = v.column(k, 0), inside = col < 0 ? 0 : col;
      uint32_t bits = 0;
      if (penalised && inside < limit) {
        const uint32_t here = penalised[inside / 32], next = penalised[(inside + kWidth - 1) / 32];
        bits = __funnelshift_r(here, next, inside % 32) << (inside - col);
      }
      for (int i = 0; i < kWidth; ++i) v.z[k][i] = penalise(v.raw[k][i], bits >> i & 1);
    }
    return v;
  }

 private:
  template <class T, int count>
  LANTERN_DEVICE void read(const T* from, SlicePacks<count>& v) const {
    constexpr int kWidth = kPackWidth;
#pragma unroll
    for (int k = 0; k < count; ++k) {
      const int64_t col = v.column(k, 0);
      if (col >= 0 && col + kWidth <= limit) {
        const Floats<kWidth> pack = load<kWidth>(from + col);
        for (int i = 0; i < kWidth; ++i) v.raw[k][i] = pack.x[i];
      } else
        for (int i = 0; i < kWidth; ++i) v.raw[k][i] = col + i >= 0 && col + i < limit ? toFloat(from[col + i]) : kMinusInfinity;
    }
  }
};

// Smaller ranks first: the larger z; both zeros are equal.
LANTERN_DEVICE uint32_t rankOf(float z) {
  const uint32_t bits = __float_as_uint(z + 0.f);
  return bits & 0x80000000u ? bits : ~(bits | 0x80000000u);
}
LANTERN_DEVICE float valueOf(uint32_t rank) { return __uint_as_float(rank & 0x80000000u ? rank : ~rank & 0x7fffffffu); }

struct Cut {  // what stays: ranks before `rank`, and of that rank the ids up to `id`
  uint32_t rank = 0xffffffffu;
  int32_t id = INT32_MAX;
  LANTERN_DEVICE bool keeps(float z, int32_t i) const {
    const uint32_t r = rankOf(z);
    return r < rank || (r == rank && i <= id);
  }
};

}  // namespace lantern::cuda
