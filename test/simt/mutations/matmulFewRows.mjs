// Products of few rows: operands straight into fragments, the sums of the warps in order.
const bf16 = 'linear of bfloat16 with bfloat16 weights 2 rows, 33 x 40'
const float = 'linear of float32 with float32 weights 12 rows, 40 x 520'
export default {
  module: 'matmulFewRows',
  tests: ['test/ops/linear.test.ts'],
  mutations: [
    {
      name: 'no barrier before the sums of the warps',
      find: 'make_float2(sums[j][i * 2], sums[j][i * 2 + 1]);\n  __syncthreads();',
      replace: 'make_float2(sums[j][i * 2], sums[j][i * 2 + 1]);',
      why: 'Sums are added that are not there yet.',
      only: bf16,
    },
    {
      name: 'rows of x beyond the last',
      find: 'min(i * 8 + lane / 4, int(p.m) - 1) * p.lda',
      replace: '(i * 8 + lane / 4) * p.lda',
      why: 'There are eight lanes for rows whatever there is.',
      only: bf16,
    },
    {
      name: 'rows of W beyond the last',
      find: 'min(col0 + j * 8 + lane / 4, p.n - 1) * p.ldb',
      replace: '(col0 + j * 8 + lane / 4) * p.ldb',
      why: 'The last block is not full.',
      only: bf16,
    },
    {
      name: 'the first warp is left out',
      find: 'for (int w = 0; w < kFewRowsWarps; ++w) {',
      replace: 'for (int w = 1; w < kFewRowsWarps; ++w) {',
      why: 'The sum begins at zero, not with the first one.',
      only: bf16,
    },
    {
      name: 'registers of a in the order of rows',
      find: '{a[0].x, upper.x, a[0].y, upper.y}',
      replace: '{a[0].x, a[0].y, upper.x, upper.y}',
      why: 'The fragment has the rows eight further second, the reduction eight further third.',
      only: bf16,
    },
    {
      name: 'loads beyond the end of a row',
      find: 'return left >= 8 ? *reinterpret_cast<const uint4*>(p) : make_uint4(0, 0, 0, 0);',
      replace: 'return *reinterpret_cast<const uint4*>(p);',
      why: 'Lanes past the end multiply the next row, and the last row reads beyond the matrix.',
      only: bf16,
    },
    {
      name: 'warps overlap',
      find: 'kStride = kSpan * kFewRowsWarps;\n  __shared__ __align__(16) WarpSums<kRows, 8> shared;',
      replace: 'kStride = kSpan * (kFewRowsWarps - 1);\n  __shared__ __align__(16) WarpSums<kRows, 8> shared;',
      why: 'The last warp takes what the first one takes in the next turn.',
      only: float,
    },
    {
      name: 'half of the lanes are not added',
      find: 'warpReduce<8>(sums[r][j], Sum{})',
      replace: 'warpReduce<4>(sums[r][j], Sum{})',
      why: 'Eight lanes lie along the reduction.',
      only: float,
    },
    {
      name: 'packs that begin within the row',
      find: 'at + 4 <= k; at += kStride) {',
      replace: 'at <= k; at += kStride) {',
      why: 'Off by one pack.',
      only: float,
    },
    {
      name: 'rows two apart are next to each other',
      find: 'at / 4 * 4 + at % 2 * 2 + at / 2 % 2 : at;',
      replace: 'at / 4 * 4 + at % 2 * 2 : at;',
      why: 'The order that avoids bank conflicts leaves out every second row.',
      only: 'linear of bfloat16 with bfloat16 weights 12 rows, 40 x 520',
    },
  ],
}
