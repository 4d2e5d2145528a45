// What the backward of a linear layer needs besides products: slopes and column sums.
const layer = 'linear of float32 with float32 weights 65 rows, 33 x 46'
export default {
  module: 'matmulBackward',
  tests: ['test/ops/linear.test.ts'],
  mutations: [
    {
      name: 'the activation instead of its slope',
      find: 'x *= siluGradient(in.z.x[j++]);',
      replace: 'x *= silu(in.z.x[j++]);',
      why: 'A name too short.',
      only: 'linear of float32 with float32 weights silu fused',
    },
    {
      name: 'the slope of gelu without its density',
      file: 'common/activation.cuh',
      find: ' + z * n.density * .3989422804f}',
      replace: '}',
      why: 'The product rule has two terms.',
      only: 'linear of float32 with float32 weights gelu fused',
    },
    {
      name: 'no barrier before the sums of the warps',
      find: 'scratch[warp][j][lane] = sums[j];\n  __syncthreads();',
      replace: 'scratch[warp][j][lane] = sums[j];',
      why: 'Sums are added that are not there yet.',
      only: layer,
    },
    {
      name: "the bias's gradient is overwritten",
      find: 'else p.sum[strip + i] += sum;',
      replace: 'else p.sum[strip + i] = sum;',
      why: 'It is added to what is there.',
      only: 'linear of float32 with float32 weights gradients of 20 rows are added',
    },
    {
      name: "the bias's gradient is overwritten by the sum of its parts",
      find: '  p.sum[col] += sum;',
      replace: '  p.sum[col] = sum;',
      why: 'The other way to the same sum.',
      only: 'linear of float32 with float32 weights gradients of 80 rows are added',
    },
    {
      name: 'rows beyond the last',
      find: 'end = min(first + rows, p.rows);',
      replace: 'end = first + rows;',
      why: 'The last part is shorter.',
      only: 'linear of float32 with float32 weights 700 rows',
    },
    {
      name: 'columns by lanes instead of packs',
      find: 'scratch[w][i % width][i / width];',
      replace: 'scratch[w][i / kWarp][i % kWarp];',
      why: 'A lane has neighbouring columns.',
      only: 'linear of float32 with float32 weights 96 rows, 136 x 520',
    },
    {
      name: 'columns beyond the last',
      find: 'if (col + j < p.cols) sums[j] += toFloat(x[r * p.ldx + j]);',
      replace: 'sums[j] += toFloat(x[r * p.ldx + j]);',
      why: 'The last strip is narrower.',
      only: layer,
    },
    {
      name: 'the first part is left out',
      find: 'for (int i = 0; i < parts; ++i) sum += partial[i * p.cols + col];',
      replace: 'for (int i = 1; i < parts; ++i) sum += partial[i * p.cols + col];',
      why: 'Off by one.',
      only: 'linear of float32 with float32 weights 700 rows',
    },
  ],
}
