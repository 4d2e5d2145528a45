// The distillation head's products on tensor cores, with the statistics of the tile while it is in registers.
const head = 'reverseKL logit std 10 bfloat16'
export default {
  module: 'distillHeadMma',
  tests: ['test/ops/distillHead.test.ts'],
  mutations: [
    {
      name: 'no barrier between the statistics of warps',
      find: '+ part] = stat;\n    }\n  __syncthreads();',
      replace: '+ part] = stat;\n    }',
      why: 'They are merged before they are there.',
      only: head,
    },
    {
      name: 'statistics of one warp',
      find: 'for (int k = 1; k < Shape::kWarpsN; ++k) stat = merge',
      replace: 'for (int k = 1; k < 1; ++k) stat = merge',
      why: 'The columns of a tile are split between warps.',
      only: head,
    },
    {
      name: 'statistics of half a quad',
      find: 'const TileStat stat = laneStat<4>(x, invT);',
      replace: 'const TileStat stat = laneStat<2>(x, invT);',
      why: 'Four lanes have a row between them.',
      only: head,
    },
    {
      name: 'logits of classes that do not exist',
      find: 'col0 + j / 2 * 8 + j % 2 < columns);',
      replace: 'col0 + j / 2 * 8 + j % 2 < columns + 128);',
      why: 'Zeros beyond the vocabulary have weight.',
      only: 'reverseKL logit std 1 bfloat16',
    },
    {
      name: 'rows of the weight that do not exist',
      find: '{w + col0 * size, size, own - col0}',
      replace: '{w + col0 * size, size, kTileCols}',
      why: 'The last tile is not full.',
      only: head,
    },
    {
      name: 'dlogits in rows of the logits',
      find: '{dlogitsOf(t) + row0, 2 * t.ld, int(t.p.vocab - row0)}',
      replace: '{dlogitsOf(t) + row0, t.ld, int(t.p.vocab - row0)}',
      why: 'bfloat16 in rows of floats are twice as far apart, counted in elements.',
      only: head,
    },
    {
      name: 'the last slice of the vocabulary is whole',
      find: 'int(min(int64_t(t.sliceRows), t.p.vocab - begin));',
      replace: 't.sliceRows;',
      why: 'Beyond the end of the weight.',
      only: head,
    },
    {
      name: 'the weight gradient is overwritten',
      find: 'sum.x += x0, sum.y += x1;',
      replace: 'sum.x = x0, sum.y = x1;',
      why: 'It is added to what is there.',
      only: 'bfloat16: the weight gradient is added to what is there',
    },
    {
      name: 'the second softmax over the scratch of the first',
      find: '    t.stats[which][int64_t(row0 + r) * t.tiles + tile] = stat;\n  }\n  __syncthreads();\n',
      replace: '    t.stats[which][int64_t(row0 + r) * t.tiles + tile] = stat;\n  }\n',
      why: "With a temperature the student's logits have two softmaxes; a fast warp stores parts of the next one.",
      only: 'bfloat16 with a temperature',
    },
    {
      name: 'the wait in the loop is one group short',
      file: 'common/tileMma.cuh',
      find: 'and the next one is there\n          waitCopies<Shape::kStages - 2>();',
      replace: 'and the next one is there\n          waitCopies<Shape::kStages - 1>();',
      why: 'Stages are read while they arrive.',
      only: head,
    },
  ],
}
