// Rows picked by an index list: the forward of embedding and of gatherRows.
#pragma once
#include "rowWalk.cuh"

namespace lantern::cuda {

// y[i, :] = x[ids[i], :]. An index outside [0, limit) is a fault and gives a row of zeros.
template <class X, class Y>
LANTERN_DEVICE void gather(const RowWalk& w, const X* x, const int32_t* ids, Y* y, int64_t limit, Fault* fault, const char* what) {
  walk<X, Y>(
      w,
      [&](int64_t i, int64_t col, auto width) {
        const int64_t id = ids[i];
        if (id >= 0 && id < limit) return fetch<width.value>(x + id * w.cols + col);
        if (col == 0) report(fault, FaultKind::index, what, id, i, limit);
        return Pack<width.value, X>{};
      },
      [&](int64_t i, int64_t col, auto, const auto& v) { put(y + i * w.cols + col, convert<Y>(v)); });
}

}  // namespace lantern::cuda
