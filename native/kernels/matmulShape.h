// What host and device of the CUDA matrix product share: the tiles of its kernels, and the task that a launch carries.
//
//   up to kFewRows rows of x W^T     matmulFewRows.cu   W streams past once, straight into registers
//   bf16 times bf16                  matmul.cu          tensor cores, tiles through shared memory, for rows of whole 16 bytes
//   the rest                         matmulFloat.cu     float32 multiply-adds, tiles through shared memory, for any dtypes and layout
//
// A product with a small output and a long reduction is cut along the reduction into parts; their sums wait in workspace and are added in
// order by matmul_sumParts. Whoever has the whole sum of an output finishes it: matmulEpilogue.cuh.
#pragma once
#include "matmul.h"

namespace lantern::cuda {

struct MatmulTask {
  MatmulParams p;
  float* partial;     // [parts, m, ldPartial]: the sums of each part of the reduction; null where there is one part
  int64_t ldPartial;  // n, up to a multiple of four
  int64_t part;       // elements of the reduction in a part, a multiple of the tile's
  int32_t rowTiles, colTiles;
  int32_t packs;  // whether four neighbouring elements of y, z, bias and residual can be accessed at once
  int32_t unused;
};

// Tensor-core tiles: m x n of the output, k of the reduction at a time, warps along m and n, stages of shared memory; blocks that registers
// leave room for on a multiprocessor.
struct MatmulTile {
  int m, n, k, warpsM, warpsN, stages, blocks;
  constexpr int threads() const { return warpsM * warpsN * 32; }
  constexpr int sharedBytes() const { return stages * (m + n) * k * 2; }
};
constexpr MatmulTile kLargeTile{128, 128, 32, 2, 2, 3, 2}, kMediumTile{128, 64, 32, 2, 2, 4, 3}, kSmallTile{64, 64, 64, 2, 2, 3, 3};

// Float32 tiles: m x n of the output, of which each thread has threadM x threadN.
struct FloatTile {
  int m, n, threadM, threadN;
  static constexpr int k = 16;
  constexpr int threads() const { return m / threadM * (n / threadN); }
};
constexpr FloatTile kLargeFloatTile{128, 128, 8, 8}, kSmallFloatTile{64, 64, 8, 4};

constexpr int kFewRows = 16, kFewRowsWarps = 8;
constexpr int kSumPartsLanes = 32, kSumPartsRows = 4;  // threads of a block along packs of columns and rows

// Column sums: a block's warps go down a strip of columns, lanes side by side.
constexpr int kColumnSumWarps = 8, kColumnSumLeastRows = 64;

}  // namespace lantern::cuda
