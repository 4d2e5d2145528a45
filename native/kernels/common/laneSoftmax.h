// Statistics of softmaxes whose logits lie [row of the vocabulary][lane], a token a lane: block by block of rows, then over the blocks.
#pragma once
#include <algorithm>
#include <cmath>
#include <limits>

#include "divergenceMath.h"

namespace lantern::LANTERN_ISA {

typedef double vdouble __attribute__((vector_size(8 * kLanes)));

constexpr int64_t kLaneStats = 2;  // of a block: [2][lanes], maximum and rest

// The largest logit of each lane and the sum of e^((x - max) / T) beside it. The largest itself, exactly 1, is left out: next to it a
// confident softmax's other terms would lose their digits.
inline void blockStats(const float* x, int64_t rows, int64_t lanes, float invT, float* stats) {
  for (int64_t i = 0; i < lanes; i += kLanes) {
    vfloat m = splat(kLowest), rest[2] = {splat(-1.f), {}};
    vint ties = {};
    for (int64_t r = 0; r < rows; ++r) m = max(m, load(x + r * lanes + i));
    for (int64_t r = 0; r < rows; ++r) {
      const vfloat v = load(x + r * lanes + i);
      const vint tie = v == m;
      rest[r & 1] += select(tie, splat(0.f), expNegative((v - m) * invT));
      ties -= tie;
    }
    const vfloat count = __builtin_convertvector(ties, vfloat);
    store(stats + i, m);
    store(stats + lanes + i, (rest[0] + count) + rest[1]);
  }
}

// From the blocks' statistics to those of the row: maximum, its first position, log sum e^((x - max) / T).
inline void mergeStats(const float* stats, const float* x, int64_t blocks, int64_t rows, int64_t blockRows, int64_t lanes, float invT, float* maxOut,
                       int32_t* top, double* logZ) {
  for (int64_t i = 0; i < lanes; i += kLanes) {
    vfloat m = splat(-std::numeric_limits<float>::infinity());
    vint at = {};
    for (int64_t b = 0; b < blocks; ++b) {
      const vfloat v = load(stats + b * kLaneStats * lanes + i);
      const vint larger = v > m;
      m = select(larger, v, m);
      at = larger ? vint{} + int32_t(b) : at;
    }
    vdouble rest = {};
    for (int64_t b = 0; b < blocks; ++b) {
      const vfloat e = expNegative((load(stats + b * kLaneStats * lanes + i) - m) * invT), r = load(stats + b * kLaneStats * lanes + lanes + i);
      const vfloat one = at == int32_t(b) ? splat(0.f) : splat(1.f);
      rest += __builtin_convertvector(e * (r + one), vdouble);
    }
    store(maxOut + i, m);
    for (int k = 0; k < kLanes; ++k) {
      logZ[i + k] = std::log1p(rest[k]);
      if (!top) continue;
      int64_t row = int64_t(at[k]) * blockRows, end = std::min(rows, row + blockRows), r = row;
      while (r < end && x[r * lanes + i + k] != m[k]) ++r;
      top[i + k] = int32_t(r < end ? r : row);
    }
  }
}

}  // namespace lantern::LANTERN_ISA
