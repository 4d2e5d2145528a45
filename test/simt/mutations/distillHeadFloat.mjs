// The distillation head's float32 products: two stages, sums of runs, the statistics of a row in a warp.
const head = 'reverseKL logit std 10 vocabulary 4099'
export default {
  module: 'distillHeadFloat',
  tests: ['test/ops/distillHead.test.ts'],
  mutations: [
    {
      name: 'no barrier after the first stage',
      find: 'b.put(stageB[0]);\n    __syncthreads();',
      replace: 'b.put(stageB[0]);',
      why: 'It is read while other warps store it.',
      only: head,
    },
    {
      name: 'no barrier between stages',
      find: 'b.put(stageB[(i + 1) % 2]);\n      __syncthreads();',
      replace: 'b.put(stageB[(i + 1) % 2]);',
      why: 'The next stage is read while it is stored.',
      only: head,
    },
    {
      name: 'a stale run',
      find: 'sums[r][c] += run[r][c], run[r][c] = 0;',
      replace: 'sums[r][c] += run[r][c];',
      why: 'Earlier runs are added again.',
      only: 'reverseKL hidden size 896',
    },
    {
      name: 'the last run is not whole',
      find: 'if (i % kRun == kRun - 1 || i + 1 == stages) {',
      replace: 'if (i % kRun == kRun - 1) {',
      why: 'It is lost.',
      only: head,
    },
    {
      name: 'statistics of half a warp',
      find: 'laneStat<kWarp>(logit, invT);',
      replace: 'laneStat<kWarp / 2>(logit, invT);',
      why: 'A warp has the whole row.',
      only: head,
    },
    {
      name: 'the depth that does not exist',
      find: 'held_[i] = rowOf(i) < rows_ && lineOf(i) < depth_ ?',
      replace: 'held_[i] = rowOf(i) < rows_ ?',
      why: 'The end of the reduction is read beyond.',
      only: head,
    },
    {
      name: 'the line of the next row',
      find: 'static constexpr int kLine = kRows + 4;',
      replace: 'static constexpr int kLine = kRows - 4;',
      why: 'Lines overlap in shared memory.',
      only: head,
    },
    {
      name: 'slices of the vocabulary in one place',
      find: 't.partial + (int64_t(blockIdx.y) * t.chunkRows + row0) * size + col0;',
      replace: 't.partial + int64_t(row0) * size + col0;',
      why: 'Blocks of different slices write the same sums.',
      only: head,
    },
    {
      name: 'the weight gradient is overwritten',
      find: 'for (int c = 0; c < kThreadCols; ++c) sum[c] += v[c];',
      replace: 'for (int c = 0; c < kThreadCols; ++c) sum[c] = v[c];',
      why: 'It is added to what is there.',
      only: 'float32: the weight gradient is added to what is there',
    },
    {
      name: 'tokens that do not exist',
      find: 'CopierX(x, size, rows, int(size))',
      replace: 'CopierX(x, size, kFloatRows, int(size))',
      why: 'The last tile of rows is not full: workspace that nobody wrote.',
      only: head,
    },
  ],
}
