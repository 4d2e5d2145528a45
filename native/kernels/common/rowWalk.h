// How element-wise CUDA kernels cut [rows, cols] into blocks: a row is shared by a power of two of neighbouring threads, each of which takes
// kWalkDepth packs of `width` neighbouring elements, a stride of all of them apart. Host side; common/rowWalk.cuh walks.
#pragma once
#include <algorithm>
#include <bit>
#include <cstdint>
#include <initializer_list>

#include "kernel.h"

namespace lantern::cuda {

constexpr int kWalkThreads = 256;
constexpr int kWalkBlocks = 4;  // of a multiprocessor, at least. Stated, because the compiler else spills to reach the next step of occupancy
constexpr int kWalkDepth = 2;  // packs that a thread has in flight: one is too little for a single input at the newest chips' bandwidth

struct RowWalk {
  int64_t rows, cols;
  int32_t width;     // elements of a pack: 16 bytes of the widest dtype, or 1
  int32_t laneBits;  // 2^laneBits threads share a row
  uint32_t tiles;    // blocks beside one another in a row
};

struct Operand {  // a [rows, cols] array of a kernel; null pointers are allowed
  const void* p;
  int64_t dtype, stride;  // 0: there is one row
};

constexpr int64_t bytesOf(int64_t dtype) { return dtype == kBfloat16 ? 2 : 4; }

// Packs of 16 bytes of the widest dtype where every row of every operand starts at a multiple of its pack, else single elements.
inline int packWidth(std::initializer_list<Operand> operands) {
  int64_t widest = 2;
  for (const Operand& o : operands)
    if (o.p) widest = std::max(widest, bytesOf(o.dtype));
  const int64_t width = 16 / widest;
  for (const Operand& o : operands)
    if (reinterpret_cast<uintptr_t>(o.p) % uintptr_t(width * bytesOf(o.dtype)) || (o.p && o.stride % width)) return 1;
  return int(width);
}

inline RowWalk walkRows(int64_t rows, int64_t cols, std::initializer_list<Operand> operands) {
  const int width = packWidth(operands);
  const int64_t threads = (cols + width * kWalkDepth - 1) / (width * kWalkDepth);
  const int64_t lanes = std::min<int64_t>(kWalkThreads, int64_t(std::bit_ceil(uint64_t(std::max<int64_t>(threads, 1)))));
  return {rows, cols, width, std::countr_zero(uint64_t(lanes)), uint32_t((threads + lanes - 1) / lanes)};
}

inline unsigned blocksOf(const RowWalk& w) {
  const int64_t rowsPerBlock = kWalkThreads >> w.laneBits;
  return unsigned((w.rows + rowsPerBlock - 1) / rowsPerBlock * w.tiles);
}

}  // namespace lantern::cuda
