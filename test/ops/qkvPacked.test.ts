// One projection of queries, keys and values against the three apart: the same bits, forward and backward.
import { describe, expect, test } from 'vitest'
import { DTypeError, ShapeError } from '../../lib/errors.js'
import { type AttentionQkvPackedOptions, attention, attentionQkvPacked } from '../../lib/ops/attention.js'
import { rope, ropeQkvPacked, ropeTable } from '../../lib/ops/rope.js'
import { Tape } from '../../lib/tensor/tape.js'
import type { FloatDType, Tensor } from '../../lib/tensor/tensor.js'
import { FLOATS, normal, relativeError, testDevice } from '../support.js'
import { seqlens } from './attentionReference.js'

const device = testDevice()

interface Heads {
  heads: number
  kvHeads: number
  headDim: number
}

/** Rows of some tensors side by side. */
function join(parts: readonly Float32Array[], rows: number): Float32Array {
  const joined: number[] = []
  for (let row = 0; row < rows; row++)
    for (const part of parts)
      joined.push(...part.subarray((row * part.length) / rows, ((row + 1) * part.length) / rows))
  return Float32Array.from(joined)
}

/** The same numbers apart and side by side, a rotation, and what comes back. */
function inputs(lengths: readonly number[], { heads, kvHeads, headDim }: Heads, dtype: FloatDType) {
  const tokens = seqlens(lengths).at(-1)!
  const counts = [heads, kvHeads, kvHeads]
  const data = counts.map((n, i) => normal(i + 1, tokens * n * headDim, { outliers: 3 }))
  const leaf = (values: Float32Array, cols: number): Tensor => {
    const t = device.tensor(values, [tokens, cols], dtype)
    t.requiresGrad = true
    return t
  }
  const [q, k, v] = data.map((values, i) => leaf(values, counts[i]! * headDim)) as [Tensor, Tensor, Tensor]
  const qkv = leaf(join(data, tokens), (heads + 2 * kvHeads) * headDim)
  const positions = device.tensor(Int32Array.from({ length: tokens }, (_, i) => (i * 7) % 50))
  const rotation = { positions, table: ropeTable(device, { headDim, theta: 1e4, maxPositions: 50 }) }
  const gradients = data.map((values, i) =>
    device.tensor(normal(i + 9, values.length), [tokens, counts[i]! * headDim], dtype),
  )
  return { tokens, q, k, v, qkv, rotation, gradients, cuSeqlens: device.tensor(seqlens(lengths)) }
}

/** The gradients of the three apart, side by side. */
async function joinedGradients(apart: readonly Tensor[], tokens: number): Promise<Float32Array> {
  return join(await Promise.all(apart.map((t) => t.grad!.floats())), tokens)
}

const CASES: [string, readonly number[], Heads, Partial<AttentionQkvPackedOptions>][] = [
  ['causal, shared keys', [1, 70, 0, 33], { heads: 4, kvHeads: 2, headDim: 32 }, { causal: true }],
  ['bidirectional window', [90, 17], { heads: 2, kvHeads: 2, headDim: 64 }, { window: 16 }],
  ['heads of 8', [19, 30], { heads: 3, kvHeads: 1, headDim: 8 }, { causal: true, scale: 0.5 }],
]

describe.each(FLOATS)('attentionQkvPacked %s', (dtype) => {
  describe.each(CASES)('%s', (_, lengths, heads, options) => {
    test.each([[false], [true]])('rotated: %s', async (rotated) => {
      const x = inputs(lengths, heads, dtype)
      const common = { cuSeqlens: x.cuSeqlens, ...heads, ...options }
      const tape = new Tape(device)
      const packed = attentionQkvPacked({ qkv: x.qkv, ...common, rope: rotated ? x.rotation : null })
      tape.backward(packed, x.gradients[0])
      const other = new Tape(device)
      const { q, k } = rotated ? rope({ q: x.q, k: x.k, ...x.rotation, headDim: heads.headDim }) : x
      const apart = attention({ q, k, v: x.v, ...common })
      other.backward(apart, x.gradients[0])
      expect(packed.shape).toEqual(apart.shape)
      expect(relativeError(await packed.floats(), await apart.floats())).toBe(0)
      expect(relativeError(await x.qkv.grad!.floats(), await joinedGradients([x.q, x.k, x.v], x.tokens))).toBe(0)
      expect((await x.qkv.floats()).every(Number.isFinite)).toBe(true)
    })
  })

  test('leaves its input as it was, and keeps no memory without a tape', async () => {
    const x = inputs([40], { heads: 2, kvHeads: 1, headDim: 16 }, dtype)
    const before = await x.qkv.floats()
    const live = device.memory().live
    const options = { cuSeqlens: x.cuSeqlens, heads: 2, kvHeads: 1, headDim: 16 }
    const out = attentionQkvPacked({ qkv: x.qkv, rope: x.rotation, ...options })
    out.dispose()
    expect(device.memory().live).toBe(live)
    expect(await x.qkv.floats()).toEqual(before)
  })
})

describe.each(FLOATS)('ropeQkvPacked %s', (dtype) => {
  const heads = { heads: 4, kvHeads: 2, headDim: 24 }

  test('queries, keys and values apart, and their gradients side by side', async () => {
    const x = inputs([37], heads, dtype)
    const tape = new Tape(device)
    const packed = ropeQkvPacked({ qkv: x.qkv, ...x.rotation, ...heads })
    const values = await Promise.all([packed.q, packed.k, packed.v].map((t) => t.floats()))
    tape.gradients([packed.q, packed.k, packed.v], x.gradients, [])
    const other = new Tape(device)
    const apart = rope({ q: x.q, k: x.k, ...x.rotation, headDim: 24 })
    expect(values).toEqual(await Promise.all([apart.q, apart.k, x.v].map((t) => t.floats())))
    other.gradients([apart.q, apart.k], x.gradients.slice(0, 2), [])
    const [dq, dk, dv] = await Promise.all([x.q.grad!, x.k.grad!, x.gradients[2]!].map((t) => t.floats()))
    expect(relativeError(await x.qkv.grad!.floats(), join([dq!, dk!, dv!], x.tokens))).toBe(0)
  })

  test('what no gradient reaches has none', async () => {
    const x = inputs([21], heads, dtype)
    const tape = new Tape(device)
    const { k } = ropeQkvPacked({ qkv: x.qkv, ...x.rotation, ...heads })
    tape.backward(k, x.gradients[1])
    const other = new Tape(device)
    other.backward(rope({ q: x.q, k: x.k, ...x.rotation, headDim: 24 }).k, x.gradients[1])
    const [none, dk] = [new Float32Array(x.q.size), await x.k.grad!.floats()]
    const want = join([none, dk, new Float32Array(x.v.size)], x.tokens)
    expect(relativeError(await x.qkv.grad!.floats(), want)).toBe(0)
  })
})

test('no tokens', async () => {
  const x = inputs([], { heads: 2, kvHeads: 1, headDim: 8 }, 'float32')
  const heads = { heads: 2, kvHeads: 1, headDim: 8 }
  const options = { qkv: x.qkv, cuSeqlens: x.cuSeqlens, ...heads }
  expect((await attentionQkvPacked({ ...options, rope: x.rotation }).floats()).length).toBe(0)
  expect((await ropeQkvPacked({ qkv: x.qkv, ...x.rotation, ...heads }).v.floats()).length).toBe(0)
})

describe('inputs that do not fit', () => {
  const base = () => ({
    qkv: device.zeros([10, 64]),
    heads: 2,
    kvHeads: 1,
    headDim: 16,
    positions: device.zeros([10], 'int32'),
    table: ropeTable(device, { headDim: 16, theta: 1e4, maxPositions: 10 }),
    cuSeqlens: device.tensor(Int32Array.of(0, 10)),
  })
  type Base = ReturnType<typeof base>

  test.each<[string, () => Partial<Base>]>([
    [
      'qkv is [10, 80]; it must be [tokens, (heads + 2 kvHeads) * headDim], here (2 + 2 * 1) * 16',
      () => ({ qkv: device.zeros([10, 80]) }),
    ],
    ['there are 9 positions for 10 tokens', () => ({ positions: device.zeros([9], 'int32') })],
    ['the table is [10, 8] but headDim is 16', () => ({ table: device.zeros([10, 8]) })],
  ])('%s', (message, change) => {
    const { cuSeqlens, ...rest } = { ...base(), ...change() }
    const { positions, table, ...heads } = rest
    for (const run of [
      () => ropeQkvPacked(rest),
      () => attentionQkvPacked({ ...heads, cuSeqlens, rope: { positions, table } }),
    ]) {
      expect(run).toThrow(ShapeError)
      expect(run).toThrow(message)
    }
  })

  test('dtypes, heads and sequences', () => {
    const { positions: _, table: __, ...o } = base()
    expect(() => attentionQkvPacked({ ...o, qkv: device.zeros([10, 64], 'int32') })).toThrow(DTypeError)
    expect(() => attentionQkvPacked({ ...o, kvHeads: 3 })).toThrow('attentionQkvPacked: 2 heads cannot share 3')
    expect(() => attentionQkvPacked({ ...o, window: -1 })).toThrow('attentionQkvPacked: window is -1')
    expect(() => attentionQkvPacked({ ...o, maxSeqlen: 11 })).toThrow('attentionQkvPacked: maxSeqlen is 11')
    expect(() => ropeQkvPacked({ ...base(), heads: 1.5 })).toThrow(ShapeError)
  })
})
