// Divergences of given logits: both softmaxes in one pass, the row kept in shared memory or read again.
const row = 'forwardKL logit std 10 vocabulary 4099'
export default {
  module: 'divergence',
  tests: ['test/ops/divergence.test.ts'],
  mutations: [
    {
      name: 'constants are read before they are there',
      find: '  }\n  __syncthreads();\n  const RowPair pair',
      replace: '  }\n  const RowPair pair',
      why: 'One thread computes them for all.',
      only: row,
    },
    {
      name: 'one scratch for two sums',
      find: 'value = blockReduce(value, Sum{}, scratch.value);',
      replace: 'value = blockReduce(value, Sum{}, scratch.h);',
      why: 'A fast warp writes what a slow one still reads.',
      only: row,
    },
    {
      name: 'the teacher at temperature 1',
      find: 'partT.add(y, col, task.invT);',
      replace: 'partT.add(y, col, 1.f);',
      why: 'Both are softened.',
      only: 'forwardKL temperature and its square',
    },
    {
      name: 'the gradient of a softmax without its sum',
      find: '(e.h - e.ps * r.sumH)',
      replace: '(e.h)',
      why: 'Forward KL does not show it, the others do.',
      only: 'reverseKL logit std 10 vocabulary 33',
    },
    {
      name: "blocks of a row's gradient overlap",
      find: 'int(blockIdx.x % unsigned(parts)) * kGradientThreads * kGradientPacks;',
      replace: 'int(blockIdx.x % unsigned(parts)) * kGradientThreads;',
      why: 'A factor is lost: races, and the end of the row is never written.',
      only: 'forwardKL logit std 10 vocabulary 32003',
    },
    {
      name: "the teacher's largest instead of its logit at the student's",
      find: 'teacher.at(s.top)',
      replace: 'teacher.at(t.top)',
      why: 'All is relative to the class that the student finds most probable.',
      only: 'reverseKL logit std 10 vocabulary 33',
    },
    {
      name: "the teacher's packs begin one early",
      find: 'kept + student.packs.packs : nullptr',
      replace: 'kept + student.packs.packs - 1 : nullptr',
      why: "The last pack of the student is overwritten by another thread's first of the teacher.",
      only: row,
    },
    {
      name: 'a teacher of minus infinity at the top',
      find: 'teacherAtTop = given < kLowest ? kLowest : given;',
      replace: 'teacherAtTop = given;',
      why: 'Infinities meet.',
      only: 'reverseKL -inf columns',
    },
    {
      name: 'small differences of nearly equal rows',
      file: 'common/divergenceMath.h',
      find: 'const vfloat u = clampRatio(select(abs(c.refRatio) < kMaxLogRatio, difference + c.refRatio, lt - ls));',
      replace: 'const vfloat u = clampRatio(lt - ls);',
      why: 'Logarithms of two softmaxes subtract to rounding errors.',
      only: 'forwardKL logit std 1 a student close to its teacher',
    },
    {
      name: 'the gradient in the scale of the loss',
      find: 'float(p.dvalue[row] * task.factor)',
      replace: 'float(p.dvalue[row] * p.factor)',
      why: 'The gradient has one over the temperature more.',
      only: 'forwardKL temperature and its square',
    },
  ],
}
