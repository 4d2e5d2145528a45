// How attention is cut into work items: blocks of rows of single sequences, the costliest first so that the threads finish together.
#pragma once
#include <algorithm>
#include <string>

#include "common/kernel.h"

namespace lantern::LANTERN_ISA {

struct RowBlock {  // rows first .. first + count of the sequence that starts at token `start` and has `length` tokens
  int64_t start, length, first, count;
  int64_t cost;
};

// Refuses cuSeqlens that do not ascend from 0 to tokens.
inline Status checkSeqlens(const char* op, const int32_t* cuSeqlens, int64_t sequences, int64_t tokens) {
  bool good = cuSeqlens[0] == 0 && cuSeqlens[sequences] == tokens;
  for (int64_t s = 0; s < sequences; ++s) good = good && cuSeqlens[s] <= cuSeqlens[s + 1];
  if (good) return Status::fine();
  return Status::error(Code::outOfRange, std::string(op) + ": cuSeqlens must ascend from 0 to the number of tokens, " +
                                             std::to_string(tokens) + "; it ends in " + std::to_string(cuSeqlens[sequences]));
}

// Blocks of `rows` rows of every sequence, by descending number of (row, visible row) pairs, then in order. A row sees `before` rows before
// it and `after` behind it (negative: all). Written to `blocks`, which holds at least tokens / rows + sequences; returns their number.
inline int64_t planBlocks(RowBlock* blocks, const int32_t* cuSeqlens, int64_t sequences, int64_t rows, int64_t before, int64_t after) {
  int64_t n = 0;
  for (int64_t s = 0; s < sequences; ++s) {
    const int64_t start = cuSeqlens[s], length = cuSeqlens[s + 1] - start;
    for (int64_t first = 0; first < length; first += rows) {
      const int64_t count = std::min(rows, length - first);
      const int64_t low = before < 0 ? 0 : std::max<int64_t>(0, first - before);
      const int64_t high = after < 0 ? length : std::min(length, first + count + after);
      blocks[n++] = {start, length, first, count, count * (high - low)};
    }
  }
  std::sort(blocks, blocks + n, [](const RowBlock& a, const RowBlock& b) {
    return a.cost != b.cost ? a.cost > b.cost : a.start + a.first < b.start + b.first;
  });
  return n;
}

// Scratch of one op: the plan in shared memory behind `shared` bytes, and `local` bytes for each thread. False when out of memory.
struct Scratch {
  char* shared;
  RowBlock* blocks;

  bool reserve(Context& c, size_t sharedBytes, int64_t maxBlocks, size_t localBytes) {
    sharedBytes = (sharedBytes + 63) / 64 * 64;
    shared = static_cast<char*>(c.workspace.shared(sharedBytes + size_t(maxBlocks) * sizeof(RowBlock)));
    bool good = shared != nullptr;
    for (int t = 0; t < c.pool.threads(); ++t) good = good && c.workspace.local(t, localBytes);
    if (good) blocks = reinterpret_cast<RowBlock*>(shared + sharedBytes);
    return good;
  }
};

}  // namespace lantern::LANTERN_ISA
