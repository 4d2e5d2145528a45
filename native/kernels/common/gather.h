// Rows picked by an index list: the forward of embedding and of gatherRows.
#pragma once
#include <string>

#include "split.h"

namespace lantern::LANTERN_ISA {

// Fails with the first of ids [n] that is not in [0, limit), naming it and where it stands: "embedding: id 7 at position 2 is ...".
inline Status checkIndices(const char* op, const char* what, const int32_t* ids, int64_t n, int64_t limit) {
  for (int64_t i = 0; i < n; ++i)
    if (ids[i] < 0 || ids[i] >= limit)
      return Status::error(Code::outOfRange, std::string(op) + ": " + what + " " + std::to_string(ids[i]) + " at position " +
                                                 std::to_string(i) + " is outside [0, " + std::to_string(limit) + ")");
  return Status::fine();
}

// y[i, :] = x[ids[i], :]; the indices are in range.
template <class X, class Y>
void gather(Pool& pool, const X* x, const int32_t* ids, Y* y, int64_t count, int64_t cols) {
  parallelRows(pool, count, cols, [&](int64_t i) {
    const X* from = x + int64_t(ids[i]) * cols;
    Y* to = y + i * cols;
    if constexpr (sizeof(X) == sizeof(Y)) memcpy(to, from, size_t(cols) * sizeof(X));
    else
      eachVector(0, cols, [&](int64_t k, auto n) { storePart(to + k, loadPart(from + k, n), n); });
  });
}

}  // namespace lantern::LANTERN_ISA
