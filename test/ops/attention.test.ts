import { describe, expect, test } from 'vitest'
import { ShapeError } from '../../lib/errors.js'
import { type AttentionOptions, attention } from '../../lib/ops/attention.js'
import { Tape } from '../../lib/tensor/tape.js'
import { asStored, FLOATS, normal, relativeError, TOLERANCE, testDevice } from '../support.js'
import { type AttentionCase, attentionReference, seqlens } from './attentionReference.js'

const device = testDevice()
type Float = (typeof FLOATS)[number]
const ALL = [1, 2, 17, 0, 64, 65, 200, 0]

/** Name, lengths, heads, kvHeads, headDim, and what is beside the defaults. */
const CASES: [string, readonly number[], number, number, number, Partial<AttentionOptions>?][] = [
  ['bidirectional', ALL, 2, 2, 64],
  ['causal', ALL, 2, 1, 64, { causal: true }],
  ['group of 7, causal', [65, 130], 7, 1, 64, { causal: true }],
  ['headDim 8', [1, 33], 2, 1, 8, { causal: true }],
  ['headDim 16', ALL, 4, 2, 16, { causal: true }],
  ['headDim 32', ALL, 2, 1, 32],
  ['headDim 40', [97], 1, 1, 40],
  ['headDim 96', [17, 64, 100], 2, 1, 96, { causal: true }],
  ['headDim 128', [2, 65, 150], 2, 1, 128, { causal: true }],
  ['headDim 256', [1, 70], 1, 1, 256],
  ['causal window of 1', [1, 90], 1, 1, 16, { causal: true, window: 1 }],
  ['causal window of 50', ALL, 2, 1, 32, { causal: true, window: 50 }],
  ['headDim 80, causal window of 5', [3, 150], 2, 1, 80, { causal: true, window: 5 }], // rows that see nothing of a tile
  ['local window of 0', [1, 90], 1, 1, 16, { window: 0 }],
  ['local window of 64', [300, 20, 200], 2, 2, 32, { window: 64 }],
  ['scale', [65, 200], 2, 1, 64, { scale: 0.5 }],
]

function inputs(lengths: readonly number[], heads: number, kvHeads: number, headDim: number, dtype: Float, std = 1) {
  const tokens = seqlens(lengths).at(-1)!
  const make = (seed: number, h: number, s: number) => asStored(normal(seed, tokens * h * headDim, { std: s }), dtype)
  return { tokens, q: make(1, heads, std), k: make(2, kvHeads, std), v: make(3, kvHeads, 1), dout: make(4, heads, 1) }
}

function caseOf(
  lengths: readonly number[],
  heads: number,
  kvHeads: number,
  headDim: number,
  o: Partial<AttentionOptions>,
): AttentionCase {
  const window = o.window ?? Infinity
  const sides = o.causal ? { left: window - 1, right: 0 } : { left: window, right: window }
  return { lengths, heads, kvHeads, headDim, ...sides, scale: o.scale ?? headDim ** -0.5 }
}

describe.each(FLOATS)('attention %s', (dtype) => {
  test.each(CASES)('%s: forward and gradients', async (_, lengths, heads, kvHeads, headDim, options = {}) => {
    const x = inputs(lengths, heads, kvHeads, headDim, dtype)
    const [q, k, v] = [x.q, x.k, x.v].map((data) => device.tensor(data, [x.tokens, data.length / x.tokens], dtype)) as [
      AttentionOptions['q'],
      AttentionOptions['k'],
      AttentionOptions['v'],
    ]
    q.requiresGrad = k.requiresGrad = v.requiresGrad = true
    const tape = new Tape(device)
    const out = attention({ q, k, v, cuSeqlens: device.tensor(seqlens(lengths)), heads, kvHeads, headDim, ...options })
    tape.backward(out, device.tensor(x.dout, out.shape, dtype))
    const want = attentionReference(caseOf(lengths, heads, kvHeads, headDim, options), x.q, x.k, x.v, x.dout)
    expect(relativeError(await out.floats(), want.out)).toBeLessThan(TOLERANCE[dtype])
    expect(relativeError(await v.grad!.floats(), want.dv)).toBeLessThan(TOLERANCE[dtype])
    if (options.window === (options.causal ? 1 : 0)) {
      // A query that sees itself alone has weight 1 whatever its score: these gradients are zero but for rounding.
      const bound = TOLERANCE[dtype] * relativeError(await v.grad!.floats(), new Float64Array(want.dv.length))
      expect(relativeError(await q.grad!.floats(), want.dq)).toBeLessThan(bound)
      expect(relativeError(await k.grad!.floats(), want.dk)).toBeLessThan(bound)
      return
    }
    expect(relativeError(await q.grad!.floats(), want.dq)).toBeLessThan(TOLERANCE[dtype])
    expect(relativeError(await k.grad!.floats(), want.dk)).toBeLessThan(TOLERANCE[dtype])
  })

  test('scores of +-80 and outliers', async () => {
    const [lengths, heads, kvHeads, headDim] = [[200, 65], 2, 1, 64] as const
    const x = inputs(lengths, heads, kvHeads, headDim, dtype, 4.5) // scores of standard deviation 20
    const c = caseOf(lengths, heads, kvHeads, headDim, { causal: true })
    const [q, k, v] = [x.q, x.k, x.v].map((d) => device.tensor(d, [x.tokens, d.length / x.tokens], dtype))
    const out = attention({
      q: q!,
      k: k!,
      v: v!,
      cuSeqlens: device.tensor(seqlens(lengths)),
      heads,
      kvHeads,
      headDim,
      causal: true,
    })
    const got = await out.floats()
    expect(relativeError(got, attentionReference(c, x.q, x.k, x.v).out)).toBeLessThan(TOLERANCE[dtype])
  })
})

async function run(
  lengths: readonly number[],
  data: ReturnType<typeof inputs>,
  options: Partial<AttentionOptions> = {},
) {
  const [heads, kvHeads, headDim] = [2, 1, 32]
  const [q, k, v] = [data.q, data.k, data.v].map((d) => device.tensor(d, [data.tokens, d.length / data.tokens]))
  return attention({
    q: q!,
    k: k!,
    v: v!,
    cuSeqlens: device.tensor(seqlens(lengths)),
    heads,
    kvHeads,
    headDim,
    ...options,
  }).floats()
}

test('a token behind the query has no influence at all', async () => {
  const a = inputs([300], 2, 1, 32, 'float32')
  const before = await run([300], a, { causal: true })
  for (let i = 150 * 32; i < a.k.length; i++) a.k[i] = a.v[i] = 1e6
  const after = await run([300], a, { causal: true })
  expect(after.slice(0, 150 * 64)).toEqual(before.slice(0, 150 * 64))
})

test('a sequence gives the same bits whatever is packed around it', async () => {
  const a = inputs([77, 130, 40], 2, 1, 32, 'float32')
  const part = {
    ...a,
    tokens: 130,
    q: a.q.slice(77 * 64, 207 * 64),
    k: a.k.slice(77 * 32, 207 * 32),
    v: a.v.slice(77 * 32, 207 * 32),
  }
  expect((await run([77, 130, 40], a)).slice(77 * 64, 207 * 64)).toEqual(await run([130], part))
})

test('a NaN stays in its sequence and comes out', async () => {
  const a = inputs([20, 30], 2, 1, 32, 'float32')
  a.k[25 * 32] = NaN
  const out = await run([20, 30], a, { causal: true })
  expect(out.slice(0, 25 * 64).every(Number.isFinite)).toBe(true)
  expect(out.slice(25 * 64).some(Number.isNaN)).toBe(true)
})

test('no tokens and no sequences', async () => {
  const none = device.zeros([0, 64])
  expect(
    (
      await attention({
        q: none,
        k: none,
        v: none,
        cuSeqlens: device.tensor(new Int32Array(1)),
        heads: 1,
        kvHeads: 1,
        headDim: 64,
      }).floats()
    ).length,
  ).toBe(0)
})

describe('inputs that do not fit', () => {
  const x = () => device.zeros([10, 64])
  const base = () => ({
    q: x(),
    k: x(),
    v: x(),
    cuSeqlens: device.tensor(Int32Array.of(0, 10)),
    heads: 2,
    kvHeads: 2,
    headDim: 32,
  })
  test.each<[string, () => Partial<AttentionOptions>]>([
    ['7 heads cannot share 2', () => ({ heads: 7 })],
    ['headDim is 36', () => ({ headDim: 36 })],
    ['k is [9, 64]', () => ({ k: device.zeros([9, 64]) })],
    ['v is [10, 32]', () => ({ v: device.zeros([10, 32]) })],
    ['window is 0', () => ({ window: 0, causal: true })],
    ['scale is -1', () => ({ scale: -1 })],
    ['maxSeqlen is 11', () => ({ maxSeqlen: 11 })],
    ['cuSeqlens is float32', () => ({ cuSeqlens: device.zeros([2]) })],
  ])('%s', (message, change) => {
    expect(() => attention({ ...base(), ...change() })).toThrow(ShapeError)
    expect(() => attention({ ...base(), ...change() })).toThrow(message)
  })

  test.each([[[0, 9]], [[0, 7, 5, 10]], [[1, 10]], [[0, 11]]])('cuSeqlens %j fail on the device', async (cu) => {
    attention({ ...base(), cuSeqlens: device.tensor(Int32Array.from(cu)) }) // what it writes is not to be read
    await expect(device.synchronize()).rejects.toThrow('cuSeqlens must ascend from 0 to the number of tokens, 10')
  })
})
