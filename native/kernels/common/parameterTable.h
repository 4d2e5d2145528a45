// What the optimiser and the gradient norm run over: many tensors in one launch, from a table in device memory.
#pragma once
#include <algorithm>
#include <cstdint>

#include "kernel.h"
#ifdef LANTERN_ISA
#include "simd.h"
#endif

namespace lantern {

// One row of the table, little-endian 64-bit fields: what lib/ops/adamw.ts packs.
struct ParameterRow {
  float* parameter;  // [count]: the master weights
  float* grad;       // [count]
  float* m;          // [count]: mean of the gradients
  float* v;          // [count]: mean of their squares
  void* copy;        // [count], bfloat16: the parameter as the model reads it; null when that is the master
  int64_t count;
  int64_t decay;  // whether weight decay applies
};
static_assert(sizeof(ParameterRow) == 56, "seven 8-byte fields: lib/ops/adamw.ts packs them");

// The table is cut into blocks of at most this many elements, none across two tensors: threads share the elements evenly however the tensors
// are sized, and the cut depends on the sizes alone.
constexpr int64_t kParameterBlock = 16384;

// Of the CUDA kernels that walk the table with a fixed grid: threads of a block, and blocks of a multiprocessor (64 KiB of loads in flight).
constexpr int kTableThreads = 256;
constexpr int kTableBlocks = 4;

#ifdef LANTERN_ISA  // CPU kernels; CUDA kernels walk with parameterTable.cuh
namespace LANTERN_ISA {

class ParameterBlocks {
 public:
  static constexpr int64_t kSize = kParameterBlock;
  static size_t bytes(int64_t tensors) { return size_t(tensors + 1) * sizeof(int64_t); }

  // `starts` has room for bytes(tensors).
  ParameterBlocks(const ParameterRow* rows, int64_t tensors, int64_t* starts) : rows_(rows), starts_(starts), tensors_(tensors) {
    starts_[0] = 0;
    for (int64_t i = 0; i < tensors; ++i) starts_[i + 1] = starts_[i] + (rows[i].count + kSize - 1) / kSize;
  }
  int64_t count() const { return starts_[tensors_]; }

  // fn(row, begin, end) for block `i`.
  template <class F>
  void visit(int64_t i, F&& fn) const {
    const int64_t tensor = std::upper_bound(starts_, starts_ + tensors_ + 1, i) - starts_ - 1, begin = (i - starts_[tensor]) * kSize;
    fn(rows_[tensor], begin, std::min(rows_[tensor].count, begin + kSize));
  }

 private:
  const ParameterRow* rows_;
  int64_t* starts_;
  int64_t tensors_;
};

}  // namespace LANTERN_ISA
#endif
}  // namespace lantern
