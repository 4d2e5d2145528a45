// Bugs that change no number: bank conflicts and scattered accesses, which only the counters show. Each takes a minute, so samples leave them out.
export default {
  module: 'matmul',
  tests: ['test/cuda/bounds.test.ts'],
  slow: true,
  mutations: [
    {
      name: 'matmul without swizzle',
      file: 'common/tileMma.cuh',
      find: 'return line / linesPerBanks % places;',
      replace: 'return 0;',
      why: 'Reader and writer agree, and eight rows of a fragment lie in the same banks.',
      only: 'waste no products matmul_',
    },
    {
      name: 'the padding of the epilogue',
      find: 'kLd = kCols + 8;',
      replace: 'kLd = kCols;',
      why: 'Rows of a fragment begin in the same banks.',
      only: 'waste no products matmul_',
    },
  ],
}
