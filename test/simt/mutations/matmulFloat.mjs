// Float32 products: two stages of tiles through registers, any layout, tails on all sides.
const product = 'linear of float32 with float32 weights 131 rows, 130 x 301'
export default {
  module: 'matmulFloat',
  tests: ['test/ops/linear.test.ts'],
  mutations: [
    {
      name: 'no barrier after the first tile',
      find: 'fetchNext(), put(stages[0]);\n  __syncthreads();',
      replace: 'fetchNext(), put(stages[0]);',
      why: 'It is read while other warps store it.',
      only: product,
    },
    {
      name: 'no barrier between tiles',
      find: '    if (i + 1 < tiles) put(stages[(i + 1) % 2]);\n    __syncthreads();',
      replace: '    if (i + 1 < tiles) put(stages[(i + 1) % 2]);',
      why: 'The next tile is read while it is stored, and this one stored while it is read.',
      only: product,
    },
    {
      name: 'one stage for two tiles',
      find: 'put(stages[(i + 1) % 2]);',
      replace: 'put(stages[i % 2]);',
      why: 'The tile that others still multiply is overwritten.',
      only: product,
    },
    {
      name: 'the depth that is left stays the same',
      find: 'at_ += kDepth * lineStep_, depth_ -= kDepth;',
      replace: 'at_ += kDepth * lineStep_;',
      why: 'The last tile reads beyond the end of the reduction.',
      only: product,
    },
    {
      name: 'rows beyond the last',
      find: 'const bool inside = rowOf(i) < rows_ && line_ + lineOf(i) < depth_;',
      replace: 'const bool inside = line_ + lineOf(i) < depth_;',
      why: 'Beyond the end of the matrix.',
      only: product,
    },
    {
      name: 'the columns of b as if it were not transposed',
      find: 'p.ldb, p.transposeB, int(p.n - col0), depth);',
      replace: 'p.ldb, !p.transposeB, int(p.n - col0), depth);',
      why: 'A flag the wrong way round.',
      only: product,
    },
    {
      name: 'eight lines further in the next row of the tile',
      find: 'to[inner_ ? i % 2 * 8 * kLd + i / 2 * kRowStep',
      replace: 'to[inner_ ? i % 2 * 8 + i / 2 * kRowStep',
      why: 'A stride is lost between fetching and storing.',
      only: product,
    },
    {
      name: 'operands rounded to bfloat16',
      find: 'sums[r][c] = fmaf(x[r], y[c], sums[r][c]);',
      replace: 'sums[r][c] = fmaf(toFloat(fromFloat<bf16>(x[r])), y[c], sums[r][c]);',
      why: 'The wrong dtype: plausible numbers, three digits.',
      only: product,
    },
    {
      name: 'parts of the reduction in one place',
      file: 'matmulEpilogue.cuh',
      find: 't.partial + (part * t.p.m + row) * t.ldPartial + col;',
      replace: 't.partial + row * t.ldPartial + col;',
      why: 'Blocks of different parts write the same sums.',
      only: 'linear of float32 with float32 weights 70 rows, 19 x 1030',
    },
  ],
}
