// Which rows a block of an attention kernel works on, and what each of them sees.
#pragma once
#include "attention.h"
#include "common/cuda.cuh"

namespace lantern::cuda {

// Rows first .. first + count of the sequence of `length` tokens that starts at token `start`; nothing if count <= 0.
struct RowBlock {
  int start, length, first, count;
};

// The sequence with `index` among its blocks of `rows` rows. Sequence s owns the blocks from cuSeqlens[s] / rows + s on: at least as many as
// it fills, so a grid of tokens / rows + sequences blocks holds all of them, and no prefix sum is needed. `perToken` rows stand for a token.
LANTERN_DEVICE RowBlock findRows(const int32_t* cuSeqlens, int sequences, int tokens, int rows, int index, int perToken, int& sequence) {
  const auto firstBlock = [&](int s) { return int(int64_t(min(max(cuSeqlens[s], 0), tokens)) * perToken / rows) + s; };
  int low = 0, high = sequences;
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    if (firstBlock(middle) <= index) low = middle;
    else high = middle;
  }
  sequence = low;
  const int start = min(max(cuSeqlens[low], 0), tokens), end = min(max(cuSeqlens[low + 1], start), tokens);
  const int first = (index - firstBlock(low)) * rows, length = end - start;
  return {start, length, first, min(rows, length * perToken - first)};
}

// Whether cuSeqlens ascend from 0 to tokens: of sequences that overlap, several blocks would write the same rows. All threads of all blocks ask;
// one tells of it, unless `fault` is null.
LANTERN_DEVICE bool checkSeqlens(const int32_t* cuSeqlens, int64_t sequences, int64_t tokens, const char* what, Fault* fault) {
  bool good = cuSeqlens[0] == 0 && cuSeqlens[sequences] == int(tokens);
  for (int64_t s = threadIdx.x; s < sequences; s += blockDim.x) good = good && cuSeqlens[s] <= cuSeqlens[s + 1];
  good = __syncthreads_and(good);
  const bool first = blockIdx.x == 0 && blockIdx.y == 0 && blockIdx.z == 0 && threadIdx.x == 0;
  if (!good && fault && first) report(fault, FaultKind::seqlens, what, cuSeqlens[sequences], 0, tokens);
  return good;
}

// Row i of a sequence sees the rows [low(i), high(i)) of the other side, `before` before its own place and `after` behind it (negative: all).
struct Window {
  int length, before, after;

  LANTERN_DEVICE Window(int64_t rows, int64_t rowsBefore, int64_t rowsAfter)
      : length(int(rows)), before(rowsBefore < 0 ? length : int(min(rowsBefore, rows))), after(rowsAfter < 0 ? length : int(min(rowsAfter, rows))) {}
  LANTERN_DEVICE int low(int i) const { return max(0, i - before); }
  LANTERN_DEVICE int high(int i) const { return min(length, i + after + 1); }
};

LANTERN_DEVICE float exp2Approx(float x) {  // 2 ulp; results below the smallest normal number are 0
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
constexpr float kLog2e = 1.44269504f, kLn2 = 0.693147181f;

}  // namespace lantern::cuda
