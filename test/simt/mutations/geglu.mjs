// GeGLU: the normal distribution on both sides of zero and far from it, its density, and where gradients go.
const digits = 'gelu float32 of gates about'
export default {
  module: 'geglu',
  tests: ['test/ops/geglu.test.ts'],
  mutations: [
    {
      name: 'the upper tail for gates of either sign',
      file: 'common/activation.cuh',
      find: 'const float cdf = z > 0.f ? 1.f - n.tail : n.tail;',
      replace: 'const float cdf = n.tail;',
      why: 'Right for what gelu all but switches off.',
      only: 'geglu float32 [3, 7] forward',
    },
    {
      name: 'the tail without its sign taken off',
      file: 'common/activation.cuh',
      find: '.28f * fabsf(x)',
      replace: '.28f * x',
      why: 'The fit holds for positive numbers; near zero it looks right on both sides.',
      only: `${digits} -1`,
    },
    {
      name: 'another fit',
      file: 'common/activation.cuh',
      find: '1.f + .28f * fabsf(x)',
      replace: '1.f + .2801f * fabsf(x)',
      why: 'Off by one in ten thousand where the tail is small: gelu of very negative numbers alone shows it.',
      only: `${digits} -6`,
    },
    {
      name: 'a density of another variance',
      file: 'common/activation.cuh',
      find: 'z * n.density * .3989422804f',
      replace: 'z * n.density * .5641895835f',
      why: '1 / sqrt(pi) for 1 / sqrt(2 pi).',
      only: 'geglu float32 [3, 7] forward',
    },
    {
      name: 'the gradient of up is that of the gate',
      file: 'common/gatedUnit.cuh',
      find: 'dup.x[i] = d * a.value;',
      replace: 'dup.x[i] = d * a.slope;',
      why: 'The wrong one of two fields.',
      only: 'geglu float32 [3, 7] forward',
    },
    {
      name: 'the gradient in rows of the output',
      file: 'common/gatedUnit.cuh',
      find: 'static_cast<T*>(p.dgate) + row * p.dgateStride',
      replace: 'static_cast<T*>(p.dgate) + row * p.dyStride',
      why: 'The gradient of a packed projection has rows twice as long as that of the output.',
      only: 'geglu float32 [3, 2 x 7]',
    },
    {
      name: 'the gate in rows of the gradient that comes in',
      file: 'common/gatedUnit.cuh',
      find: 'fetch<n>(static_cast<const T*>(p.gate) + row * p.gateStride + col)',
      replace: 'fetch<n>(static_cast<const T*>(p.gate) + row * p.dyStride + col)',
      why: 'The first row is right, and so is all that is not packed.',
      only: 'geglu float32 [3, 2 x 7]',
    },
  ],
}
