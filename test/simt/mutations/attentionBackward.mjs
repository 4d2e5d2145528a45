// Gradients of attention: queries as rows for dq, keys as rows for dk and dv, two stages under way.
const causal = 'attention bfloat16 causal:'
const float = 'attention float32 causal:'
export default {
  module: 'attentionBackward',
  tests: ['test/ops/attention.test.ts'],
  mutations: [
    {
      name: 'the softmax has no Jacobian',
      find: '- lse[i][e / 2]) * (dp[i][j][e] - d[i][e / 2]);',
      replace: '- lse[i][e / 2]) * dp[i][j][e];',
      why: 'D is left out.',
      only: causal,
    },
    {
      name: 'dq without scale',
      find: 'return float(p.scale); }, [&](int r) { return dq.row(r); });',
      replace: 'return 1.f; }, [&](int r) { return dq.row(r); });',
      why: 'Scores are scaled, so are their gradients.',
      only: causal,
    },
    {
      name: 'one group is always pending',
      find: '    waitCopies<0>();\n    __syncthreads();  // step i has arrived',
      replace: '    waitCopies<1>();\n    __syncthreads();  // step i has arrived',
      why: 'It is the one that is needed: the next is started later.',
      only: causal,
    },
    {
      name: 'no barrier between steps',
      find: '    __syncthreads();  // step i has arrived, and nobody reads the stage of step i - 1 any more\n',
      replace: '',
      why: "Other threads' copies are not waited for, and the stage of a slow warp is overwritten.",
      only: causal,
    },
    {
      name: 'the next step into this stage',
      find: 'load(i + 1, (i + 1) & 1);',
      replace: 'load(i + 1, i & 1);',
      why: 'It is overwritten while it is read.',
      only: causal,
    },
    {
      name: 'keys see what queries see',
      find: 'const Sees sees(block, p.windowRight, p.windowLeft);\n  const Tiles',
      replace: 'const Sees sees(block, p.windowLeft, p.windowRight);\n  const Tiles',
      why: 'Seen from the keys the window is the other way round.',
      only: causal,
    },
    {
      name: 'the first head stands for its group',
      find: 'int(kvHead * group) + step / perHead;',
      replace: 'int(kvHead * group);',
      why: 'Keys collect gradients from every head of the group.',
      only: causal,
    },
    {
      name: 'the two numbers of a query change places',
      find: 'const float* numbers = which == 0 ? p.lse : delta;',
      replace: 'const float* numbers = which == 1 ? p.lse : delta;',
      why: 'Both are floats of a query.',
      only: causal,
    },
    {
      name: 'one logarithm for two queries',
      find: '(e % 2 == 0 ? lse.x : lse.y) * kLog2e',
      replace: 'lse.x * kLog2e',
      why: 'A lane has two neighbouring columns.',
      only: causal,
    },
    {
      name: 'D of half a row',
      find: 'sum = warpReduce<16>(sum, Sum());',
      replace: 'sum = warpReduce<8>(sum, Sum());',
      why: 'Sixteen lanes have a row between them. Shows with more than 32 elements a head.',
      only: causal,
    },
    {
      name: 'float32: the next keys overwrite these',
      find: '    __syncthreads();\n    loadRows<Shape, Shape::kStreamed>(tiles.first, k,',
      replace: '    loadRows<Shape, Shape::kStreamed>(tiles.first, k,',
      why: 'No barrier at the end of a turn.',
      only: float,
    },
    {
      name: 'float32: queries that do not exist',
      find: 'const float lse = base + query < to ? p.lse[number] : 0.f, d = base + query < to ? delta[number] : 0.f;',
      replace: 'const float lse = p.lse[number], d = delta[number];',
      why: 'Beyond the last token.',
      only: float,
    },
  ],
}
