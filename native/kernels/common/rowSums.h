// Gradients of what all rows share, a norm's weight say: sums over the rows, on the CPU.
#pragma once
#include <algorithm>
#include <array>
#include <string>

#include "kernel.h"

namespace lantern::LANTERN_ISA {

// fn(row, partial) for all rows, which adds to partial[k][0 .. cols) what it has for sums[k]; null where sums[k] is null. The rows are cut
// into blocks whose number depends on the sizes alone, and what the blocks have is added to `sums` in order: the same bits on any machine.
template <size_t n, class F>
Status sumOverRows(const char* op, Context& c, int64_t rows, int64_t cols, const std::array<float*, n>& sums, F&& fn) {
  const int64_t blocks = std::clamp<int64_t>(rows / 64, 1, 16), size = (rows + blocks - 1) / blocks;
  const bool wanted = cols > 0 && std::any_of(sums.begin(), sums.end(), [](float* s) { return s != nullptr; });
  float* partials = wanted ? static_cast<float*>(c.workspace.shared(size_t(blocks * cols) * n * sizeof(float))) : nullptr;
  if (wanted && !partials) return Status::error(Code::outOfMemory, std::string(op) + ": no memory for partial sums");
  const auto partial = [&](int64_t block, size_t k) { return sums[k] ? partials + (block * int64_t(n) + int64_t(k)) * cols : nullptr; };
  c.pool.parallel(blocks, [&](int64_t block, int) {
    std::array<float*, n> own;
    for (size_t k = 0; k < n; ++k)
      if ((own[k] = partial(block, k))) std::fill_n(own[k], cols, 0.f);
    const int64_t end = std::min(rows, (block + 1) * size);
    for (int64_t row = block * size; row < end; ++row) fn(row, own);
  });
  for (int64_t block = 0; block < blocks; ++block)
    for (size_t k = 0; k < n; ++k)
      if (sums[k])
        for (int64_t i = 0; i < cols; ++i) sums[k][i] += partial(block, k)[i];
  return Status::fine();
}

}  // namespace lantern::LANTERN_ISA
