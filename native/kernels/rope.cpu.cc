#include "rope.h"

#include <algorithm>

#include "common/simd.h"
#include "common/types.h"

namespace lantern::LANTERN_ISA {

namespace {

constexpr int64_t kTokensPerItem = 16;

template <class T>
void rotate(const T* x, T* y, int64_t heads, int64_t headDim, const float* table, float direction) {
  const int64_t half = headDim / 2;
  for (int64_t h = 0; h < heads; ++h, x += headDim, y += headDim)
    for (int64_t j = 0; j < half; j += kLanes) {
      const int64_t n = half - j;
      const vfloat c = loadPart(table + j, n), s = loadPart(table + half + j, n) * direction;
      const vfloat a = loadPart(x + j, n), b = loadPart(x + half + j, n);
      storePart(y + j, a * c - b * s, n);
      storePart(y + half + j, b * c + a * s, n);
    }
}

}  // namespace

Status rope(const RopeParams& p, Context& c) {
  for (int64_t t = 0; t < p.tokens; ++t)
    if (p.positions[t] < 0 || p.positions[t] >= p.maxPosition)
      return Status::error(Code::outOfRange, "rope: position " + std::to_string(p.positions[t]) + " of token " + std::to_string(t) +
                                                 " is outside the table of " + std::to_string(p.maxPosition) +
                                                 " positions; build the table for a longer context");
  return forType(p.dtype, [&](auto type) {
    using T = decltype(type);
    c.pool.parallel((p.tokens + kTokensPerItem - 1) / kTokensPerItem, [&](int64_t item, int) {
      const int64_t end = std::min(p.tokens, (item + 1) * kTokensPerItem);
      for (int64_t t = item * kTokensPerItem; t < end; ++t) {
        const float* table = p.table + p.positions[t] * p.headDim;
        rotate(static_cast<const T*>(p.q) + t * p.qStride, static_cast<T*>(p.qOut) + t * p.qOutStride, p.heads, p.headDim, table,
               float(p.direction));
        rotate(static_cast<const T*>(p.k) + t * p.kStride, static_cast<T*>(p.kOut) + t * p.kOutStride, p.kvHeads, p.headDim, table,
               float(p.direction));
      }
    });
    return Status::fine();
  });
}

}  // namespace lantern::LANTERN_ISA
