// SwiGLU, forward and backward: strides of packed gate and up, and what sigmoid does far from zero.
export default {
  module: 'swiglu',
  tests: ['test/ops/swiglu.test.ts'],
  mutations: [
    {
      name: 'sigmoid as e^z over 1 + e^z',
      find: 'return 1.f / (1.f + expf(-z));',
      replace: 'return expf(z) / (1.f + expf(z));',
      why: 'Infinity over infinity for large gates.',
      only: 'swiglu float32 gates far from 0',
    },
    {
      name: 'the slope of a plain sigmoid',
      find: 's * (1.f + g * (1.f - s))',
      replace: 's * (1.f - s)',
      why: 'The gate itself is forgotten in the derivative of g * sigmoid(g).',
      only: 'swiglu float32 [3, 7] forward',
    },
    {
      name: 'up does not reach the gradient of the gate',
      find: 'd * toFloat(in.up.x[i]) * s',
      replace: 'd * s',
      why: 'A factor is lost.',
      only: 'swiglu float32 [3, 7] forward',
    },
    {
      name: 'the output in rows of the packed input',
      find: 'store(static_cast<T*>(p.y) + row * p.yStride + col, v);',
      replace: 'store(static_cast<T*>(p.y) + row * p.gateStride + col, v);',
      why: 'The packed projection has rows twice as long as the output.',
      only: 'swiglu float32 [3, 2 x 7]',
    },
    {
      name: 'up in rows of the output',
      find: 'static_cast<const T*>(p.up) + row * p.upStride + col);\n        for',
      replace: 'static_cast<const T*>(p.up) + row * p.yStride + col);\n        for',
      why: 'The first row is right, and so is all that is not packed.',
      only: 'swiglu float32 [3, 2 x 7]',
    },
    {
      name: 'gradients change places',
      find: 'store(static_cast<T*>(p.dup) + row * p.dupStride + col, dup);',
      replace: 'store(static_cast<T*>(p.dup) + row * p.dupStride + col, dgate);',
      why: 'The wrong one of two variables of the same type.',
      only: 'swiglu float32 [3, 7] forward',
    },
    {
      name: 'lanes of a row overlap',
      file: 'common/rowWalk.cuh',
      find: '(threadIdx.x & (lanes - 1))) * kWidth, step',
      replace: '(threadIdx.x & (lanes - 1))), step',
      why: 'Packs start at every element instead of every pack: neighbours write the same elements, mostly the same values.',
      only: 'swiglu float32 [17, 64] forward',
    },
  ],
}
