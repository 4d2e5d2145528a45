// How sampling cuts a row: slices of kSampleSlice columns, a warp each, whose statistics a block a row then puts together.
#pragma once
#include <cstdint>

namespace lantern::cuda {

constexpr int kSampleSlice = 1024;
constexpr int kSliceThreads = 256;
constexpr int kPickThreads = 512;
constexpr int kMostCandidates = 4096;  // kept in shared memory

struct SliceStats {
  float top, sum;        // of z, penalties counted: the largest, and the sum of e^((z - top) / temperature)
  float rawTop, rawSum;  // of the logits as they came, at temperature 1; rawTop is NaN where there is NaN or +infinity
};

struct SamplingScratch {
  SliceStats* stats;    // [rows, slices]
  uint32_t* penalised;  // [rows, words]: a bit for every previous id; null: there are none
  int64_t slices, words;
};

}  // namespace lantern::cuda
