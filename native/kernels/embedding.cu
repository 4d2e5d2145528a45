// Forward: rows of the table, picked. Backward: ids sorted first (sortIds.h), then each run of equal ids adds its rows in order.
#include "common/gather.cuh"
#include "common/sortedRuns.cuh"
#include "embedding.h"
#include "sortIds.h"

namespace lantern::cuda {

template <class W, class T>
LANTERN_DEVICE void forward(const EmbeddingParams& p, const RowWalk& w, Fault* fault) {
  gather(w, static_cast<const W*>(p.weight), p.ids, static_cast<T*>(p.y), p.vocab, fault, "embedding: id");
}

// Row i of the walk is place i of the sorted ids; only where a run starts is there something to do.
template <class T>
LANTERN_DEVICE void backward(const EmbeddingBackwardParams& p, const RowWalk& w, const SortedIds& sorted) {
  walkEach<float, T>(w, [&](int64_t i, int64_t col, auto width) {
    const int64_t id = sorted.ids[i];
    if (id >= p.vocab || (i > 0 && sorted.ids[i - 1] == id)) return;
    float* dweight = p.dweight + id * p.hidden + col;
    auto total = load<width.value>(dweight);
    addRun(total, static_cast<const T*>(p.dy), sorted.positions, i, runEnd(sorted.ids, i, p.tokens), p.hidden, col);
    store(dweight, total);
  });
}

}  // namespace lantern::cuda

using namespace lantern;
using namespace lantern::cuda;

#define LANTERN_EMBEDDING(suffix, W, T)                                                                     \
  extern "C" __global__ void __launch_bounds__(kWalkThreads, kWalkBlocks) embedding_forward##suffix(                     \
      const __grid_constant__ EmbeddingParams p, const __grid_constant__ RowWalk w, Fault* fault) {         \
    forward<W, T>(p, w, fault);                                                                             \
  }
#define LANTERN_EMBEDDING_BACKWARD(suffix, T)                                                                                              \
  extern "C" __global__ void __launch_bounds__(kWalkThreads, kWalkBlocks) embedding_backward##suffix(                                                   \
      const __grid_constant__ EmbeddingBackwardParams p, const __grid_constant__ RowWalk w, const __grid_constant__ SortedIds sorted) {    \
    backward<T>(p, w, sorted);                                                                                                             \
  }

LANTERN_EMBEDDING(F32F32, float, float)
LANTERN_EMBEDDING(F32Bf16, float, bf16)
LANTERN_EMBEDDING(Bf16F32, bf16, float)
LANTERN_EMBEDDING(Bf16Bf16, bf16, bf16)
LANTERN_EMBEDDING_BACKWARD(F32, float)
LANTERN_EMBEDDING_BACKWARD(Bf16, bf16)
