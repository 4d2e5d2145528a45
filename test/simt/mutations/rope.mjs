// Rotary positions: pairs half a head apart, query and key heads, the way back.
export default {
  module: 'rope',
  tests: ['test/ops/rope.test.ts'],
  mutations: [
    {
      name: 'the second half turns the other way',
      find: 'second.x[i] = b.x[i] * c.x[i] + a.x[i] * s.x[i];',
      replace: 'second.x[i] = b.x[i] * c.x[i] - a.x[i] * s.x[i];',
      why: 'A sign.',
      only: 'rope float32 19 tokens',
    },
    {
      name: 'the gradient turns forward',
      find: '    for (float& v : s.x) v *= direction;\n',
      replace: '',
      why: 'The backward is the rotation by the opposite angle.',
      only: 'rope float32 19 tokens',
    },
    {
      name: 'a token too many',
      find: 'if (token >= p.tokens) return;',
      replace: 'if (token > p.tokens) return;',
      why: 'The last block reads a position that does not exist.',
      only: 'rope float32 19 tokens',
    },
    {
      name: 'the position behind the table is inside',
      find: 'position < p.maxPosition;',
      replace: 'position <= p.maxPosition;',
      why: 'Off by one: no fault is told, and the table is read beyond its end.',
      only: 'position 3 is outside the table',
    },
    {
      name: 'sines where the cosines are',
      find: 's = load<kWidth>(table + half + j);',
      replace: 's = load<kWidth>(table + j);',
      why: 'The sines begin half a head behind.',
      only: 'rope float32 19 tokens',
    },
    {
      name: 'key heads are numbered on',
      find: 'static_cast<T*>(p.kOut) + token * p.kOutStride + (head - p.heads) * p.headDim + j',
      replace: 'static_cast<T*>(p.kOut) + token * p.kOutStride + head * p.headDim + j',
      why: 'The first key head is behind the query heads in the loop, not in memory.',
      only: 'rope float32 19 tokens',
    },
    {
      name: 'one head for each turn of the lanes',
      find: 'head < p.heads + p.kvHeads; head += shape.headLanes)',
      replace: 'head < p.heads + p.kvHeads; head += 1)',
      why: 'Every lane turns the heads of the lanes after it again: a race, and in place twice the angle.',
      only: 'rope float32 50 tokens',
    },
  ],
}
