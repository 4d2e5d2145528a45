import { describe, expect, test } from 'vitest'
import { DTypeError, ShapeError } from '../../lib/errors.js'
import { cacheWrite, type PagedAttentionOptions, pagedAttention } from '../../lib/ops/pagedAttention.js'
import { asStored, FLOATS, normal, relativeError, TOLERANCE, testDevice, uniform } from '../support.js'
import { attentionReference, seqlens } from './attentionReference.js'

const device = testDevice()
type Float = (typeof FLOATS)[number]

interface Setup {
  contexts: readonly number[]
  /** New tokens of each sequence, its last ones. */
  queries: readonly number[]
  heads: number
  kvHeads: number
  headDim: number
  blockSize?: number
  window?: number | null
  dtype?: Float
  cacheDtype?: Float
  std?: number
}

/** Blocks of all sequences scattered over a cache whose unused blocks stay NaN (fresh memory is poisoned). */
function scatter(contexts: readonly number[], blockSize: number) {
  const needed = contexts.map((n) => Math.ceil(n / blockSize))
  const blocks = needed.reduce((a, b) => a + b, 0) + 3
  const next = uniform(9)
  const order = Array.from({ length: blocks }, (_, i) => ({ i, key: next() })).sort((a, b) => a.key - b.key)
  const maxBlocks = Math.max(1, ...needed)
  const tables = new Int32Array(contexts.length * maxBlocks).fill(-1)
  needed.forEach((n, s) => {
    for (let b = 0; b < n; b++) tables[s * maxBlocks + b] = order.pop()!.i
  })
  const slots = contexts.flatMap((n, s) =>
    Array.from(
      { length: n },
      (_, t) => tables[s * maxBlocks + Math.floor(t / blockSize)]! * blockSize + (t % blockSize),
    ),
  )
  return { blocks, maxBlocks, tables, slots: Int32Array.from(slots) }
}

/** Writes a cache, attends over it, and computes the same densely in float64. */
async function both(o: Setup) {
  const {
    contexts,
    queries,
    heads,
    kvHeads,
    headDim,
    blockSize = 16,
    window = null,
    dtype = 'float32',
    cacheDtype = dtype,
  } = o
  const cu = seqlens(contexts)
  const tokens = cu.at(-1)!
  const std = o.std ?? 1
  const qAll = asStored(normal(1, tokens * heads * headDim, { std }), dtype)
  const k = asStored(normal(2, tokens * kvHeads * headDim, { std }), dtype)
  const v = asStored(normal(3, tokens * kvHeads * headDim), dtype)
  const { blocks, maxBlocks, tables, slots } = scatter(contexts, blockSize)
  const shape = [blocks, blockSize, kvHeads, headDim]
  const [kCache, vCache] = [device.empty(shape, cacheDtype), device.empty(shape, cacheDtype)]
  const kv = [tokens, kvHeads * headDim]
  cacheWrite({
    k: device.tensor(k, kv, dtype),
    v: device.tensor(v, kv, dtype),
    kCache,
    vCache,
    slotMapping: device.tensor(slots),
  })

  const width = heads * headDim
  const last = (x: Float32Array | Float64Array) =>
    contexts.flatMap((_, s) => Array.from(x.slice((cu[s + 1]! - queries[s]!) * width, cu[s + 1]! * width)))
  const q = last(qAll)
  const options: PagedAttentionOptions = {
    q: device.tensor(q, [q.length / width, width], dtype),
    kCache,
    vCache,
    blockTables: device.tensor(tables, [contexts.length, maxBlocks]),
    contextLens: device.tensor(Int32Array.from(contexts)),
    cuSeqlens: queries.every((n) => n === 1) ? null : device.tensor(seqlens(queries)),
    heads,
    kvHeads,
    headDim,
    window,
  }
  const got = await pagedAttention(options).floats()
  const sides = { left: window === null ? Infinity : window - 1, right: 0 }
  const stored = (x: Float32Array) => asStored(x, cacheDtype)
  const dense = { lengths: contexts, queries, heads, kvHeads, headDim, ...sides, scale: headDim ** -0.5 }
  return { got, want: last(attentionReference(dense, qAll, stored(k), stored(v)).out), options }
}

describe.each(FLOATS)('pagedAttention equals dense attention, %s', (dtype) => {
  test.each<[string, Omit<Setup, 'dtype'>]>([
    [
      'one token each',
      { contexts: [1, 2, 17, 64, 65, 200], queries: [1, 1, 1, 1, 1, 1], heads: 4, kvHeads: 2, headDim: 64 },
    ],
    ['group of 7', { contexts: [90, 300], queries: [1, 1], heads: 14, kvHeads: 2, headDim: 64 }],
    ['group of 12, headDim 128', { contexts: [70, 5], queries: [1, 1], heads: 12, kvHeads: 1, headDim: 128 }],
    [
      'group of 1, headDim 32, blocks of 5',
      { contexts: [33, 7, 128], queries: [1, 1, 1], heads: 2, kvHeads: 2, headDim: 32, blockSize: 5 },
    ],
    [
      'contexts in pieces',
      { contexts: [1000, 256, 257, 513, 3], queries: [1, 1, 1, 1, 1], heads: 7, kvHeads: 1, headDim: 16 },
    ],
    ['pieces and a window', { contexts: [1000, 700], queries: [1, 1], heads: 2, kvHeads: 1, headDim: 40, window: 300 }],
    ['a few tokens each', { contexts: [600, 9, 300], queries: [3, 0, 2], heads: 4, kvHeads: 2, headDim: 32 }],
    [
      'a few tokens, pieces and a short window',
      { contexts: [600, 40], queries: [5, 2], heads: 2, kvHeads: 1, headDim: 16, window: 4 },
    ],
    [
      'long prefix, long chunk',
      { contexts: [400, 150, 20], queries: [130, 150, 1], heads: 7, kvHeads: 1, headDim: 64 },
    ],
    [
      'long chunk in a window',
      { contexts: [400, 150], queries: [130, 60], heads: 2, kvHeads: 2, headDim: 32, window: 33 },
    ],
    ...[96, 128, 256].map((headDim): [string, Omit<Setup, 'dtype'>] => [
      `many tokens and one, headDim ${headDim}`,
      { contexts: [150, 20], queries: [40, 1], heads: 2, kvHeads: 1, headDim },
    ]),
    ['scores of +-80', { contexts: [600], queries: [1], heads: 2, kvHeads: 1, headDim: 64, std: 4.5 }],
  ])('%s', async (_, setup) => {
    const { got, want } = await both({ ...setup, dtype })
    expect(relativeError(got, want)).toBeLessThan(TOLERANCE[dtype])
  })
})

test('bfloat16 cache under a float32 model', async () => {
  const { got, want } = await both({
    contexts: [300, 20],
    queries: [1, 1],
    heads: 4,
    kvHeads: 2,
    headDim: 64,
    cacheDtype: 'bfloat16',
  })
  expect(relativeError(got, want)).toBeLessThan(TOLERANCE.float32)
})

test('a sequence gives the same bits alone and in a batch', async () => {
  const setup = { heads: 7, kvHeads: 1, headDim: 32 }
  const batch = await both({ ...setup, contexts: [600, 50], queries: [1, 1] })
  const alone = await both({ ...setup, contexts: [600], queries: [1] })
  // The seeds fill sequences in order, keys and values apart: the first sequence is the same in both.
  expect(batch.got.slice(0, 7 * 32)).toEqual(alone.got)
})

test('cacheWrite leaves out slot -1 and touches no other', async () => {
  const shape = [2, 3, 1, 8]
  const [kCache, vCache] = [device.zeros(shape), device.zeros(shape, 'float32')]
  const k = device.tensor(normal(1, 24), [3, 8])
  const v = device.tensor(normal(2, 24), [3, 8])
  cacheWrite({ k, v, kCache, vCache, slotMapping: device.tensor(Int32Array.of(4, -1, 0)) })
  for (const [cache, x] of [
    [kCache, k],
    [vCache, v],
  ] as const) {
    const [got, from] = [await cache.floats(), await x.floats()]
    expect(got.slice(32, 40)).toEqual(from.slice(0, 8))
    expect(got.slice(0, 8)).toEqual(from.slice(16, 24))
    expect([...got.slice(8, 32), ...got.slice(40)].every((y) => y === 0)).toBe(true)
  }
})

describe('inputs that do not fit', () => {
  const base = async () =>
    (await both({ contexts: [20, 30], queries: [1, 1], heads: 2, kvHeads: 1, headDim: 16 })).options

  test('shapes and dtypes are named', async () => {
    const good = await base()
    expect(() => pagedAttention({ ...good, q: device.zeros([3, 32]) })).toThrow('3 query tokens for 2 sequences')
    expect(() => pagedAttention({ ...good, kvHeads: 2 })).toThrow(ShapeError)
    expect(() => pagedAttention({ ...good, blockTables: device.zeros([3, 2], 'int32') })).toThrow(
      'blockTables is [3, 2]',
    )
    expect(() => pagedAttention({ ...good, vCache: device.zeros(good.kCache.shape, 'bfloat16') })).toThrow(DTypeError)
    expect(() => pagedAttention({ ...good, contextLens: device.zeros([2]) })).toThrow(DTypeError)
    const k = device.zeros([2, 15])
    expect(() => cacheWrite({ k, v: k, ...good, slotMapping: device.zeros([2], 'int32') })).toThrow('k is [2, 15]')
  })

  test('a block outside the cache, a context too long or too short', async () => {
    const good = await base()
    const tables = (await good.blockTables.ints()).fill(99, 1, 2)
    const fails = async (change: Partial<PagedAttentionOptions>, message: string) => {
      pagedAttention({ ...good, ...change }) // what it writes is not to be read
      await expect(device.synchronize()).rejects.toThrow(message)
    }
    const blockTables = device.tensor(tables, good.blockTables.shape)
    await fails({ blockTables }, 'block 99 of sequence 0 is outside the cache')
    const lengths = (...of: number[]) => device.tensor(Int32Array.from(of))
    await fails({ contextLens: lengths(20, 33) }, 'sequence 1 has a context of 33 tokens')
    await fails({ contextLens: lengths(0, 30) }, 'sequence 0 has a context of 0 tokens with 1 queries')
    await fails({ cuSeqlens: lengths(0, 2, 1) }, 'cuSeqlens must ascend from 0 to the number of tokens, 2')
  })

  test('a slot outside the cache', async () => {
    const { kCache, vCache } = await base()
    const k = device.zeros([1, 16])
    cacheWrite({ k, v: k, kCache, vCache, slotMapping: device.tensor(Int32Array.of(kCache.dim(0) * 16)) })
    await expect(device.synchronize()).rejects.toThrow('is outside the cache')
  })
})
