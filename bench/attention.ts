import { attention as attend } from '../lib/ops/attention.js'
import { pagedAttention } from '../lib/ops/pagedAttention.js'
import { Random } from '../lib/random.js'
import type { Device } from '../lib/tensor/device.js'
import { gradOf, Tape } from '../lib/tensor/tape.js'
import type { FloatDType } from '../lib/tensor/tensor.js'
import type { Bench, BenchContext } from './support/bench.js'
import { randomTensor } from './support/data.js'
import { opContender } from './support/measure.js'
import type { Peer } from './support/peer.js'
import type { Row } from './support/table.js'
import { LENGTHS } from './trainStep.js'

interface Case {
  label: string
  lengths: readonly number[]
  backward: boolean
  headline?: boolean
}

const equal = (sequences: number, length: number) => Array.from({ length: sequences }, () => length)

const CASES: readonly Case[] = [
  { label: '16 x 512', lengths: equal(16, 512), backward: false, headline: true },
  { label: '64 x 128', lengths: equal(64, 128), backward: false },
  { label: '1 x 4096', lengths: [4096], backward: false },
  { label: '16 of 76 to 506', lengths: LENGTHS, backward: false },
  { label: '16 x 512', lengths: equal(16, 512), backward: true, headline: true },
  { label: '16 of 76 to 506', lengths: LENGTHS, backward: true },
]

const TINY: readonly Case[] = [
  { label: '2 x 9', lengths: [9, 9], backward: false },
  { label: '5 and 9', lengths: [5, 9], backward: true },
]

/** Sequences and the context of each, in decoding over a paged cache. */
const PAGED = [
  [1, 4096],
  [64, 4096],
] as const
const TINY_PAGED = [[2, 32]] as const

const HEADS = { heads: 14, kvHeads: 2, headDim: 64 }

/** Causal attention with the heads of Qwen2.5-0.5B over packed sequences. */
export const attention: Bench = {
  name: 'attention',
  summary:
    'causal attention of Qwen2.5-0.5B over packed sequences, forward and backward, and decoding over a paged cache',
  async run(context) {
    const device = context.device()
    const peer = context.peer('attention.py')
    const rows: Row[] = []
    try {
      for (const dtype of ['float32', 'bfloat16'] as const)
        for (const c of context.tiny ? TINY : CASES) rows.push(await measure(context, device, peer, c, dtype))
      for (const dtype of ['float32', 'bfloat16'] as const)
        for (const sizes of context.tiny ? TINY_PAGED : PAGED) rows.push(await paged(context, device, sizes, dtype))
    } finally {
      await peer?.close()
      await device.close()
    }
    return {
      name: 'attention',
      title: 'Attention: 14 query heads, 2 key heads of 64, causal, sequences x length, median',
      ceiling:
        'multiply-adds from registers alone, where only visible pairs of query and key count as work; decoding: of the read bandwidth (keys and values)',
      rows,
      notes: [
        'PyTorch: scaled_dot_product_attention, padded to the longest sequence where lengths differ; it has no paged cache.',
      ],
    }
  },
}

async function measure(
  context: BenchContext,
  device: Device,
  peer: Peer | null,
  { label, lengths, backward, headline }: Case,
  dtype: FloatDType,
): Promise<Row> {
  const { heads, kvHeads, headDim } = HEADS
  const cu = [0]
  for (const n of lengths) cu.push(cu.at(-1)! + n)
  const tokens = cu.at(-1)!
  const q = randomTensor(device, [tokens, heads * headDim], dtype)
  const k = randomTensor(device, [tokens, kvHeads * headDim], dtype)
  const v = randomTensor(device, [tokens, kvHeads * headDim], dtype)
  const dout = randomTensor(device, [tokens, heads * headDim], dtype)
  const cuSeqlens = device.tensor(Int32Array.from(cu))
  const inputs = { q, k, v, cuSeqlens, maxSeqlen: Math.max(...lengths), causal: true, ...HEADS }
  if (backward)
    for (const t of [q, k, v]) {
      t.requiresGrad = true
      gradOf(t)
    }
  const enqueue = () => {
    using _scope = device.scope()
    if (!backward) return void attend(inputs)
    using tape = new Tape(device)
    tape.backward(attend(inputs), dout)
  }
  const timing = await context.race(
    await opContender(device, enqueue),
    peer,
    { lengths, dtype, backward, ...HEADS },
    dtype,
  )
  for (const t of [q, k, v, dout, cuSeqlens]) {
    t.grad?.dispose()
    t.dispose()
  }
  const pairs = lengths.reduce((n, length) => n + (length * (length + 1)) / 2, 0)
  // Forward: two products of 2 headDim operations a pair; backward: five more.
  const flops = pairs * heads * headDim * 2 * (backward ? 7 : 2)
  return context.row(`${backward ? 'forward + backward' : 'forward'} ${label}, ${dtype}`, timing, {
    unit: 'GFLOP/s',
    better: 'higher',
    figure: (seconds) => flops / seconds / 1e9,
    ceiling: timing.ceiling,
    headline,
  })
}

const BLOCK = 16 // tokens of a block of the cache
const CACHED = 2 ** 26 // bytes that a cache may hold: less is no measure of memory

/** One new token of every sequence over a cache whose blocks lie anywhere. */
async function paged(
  context: BenchContext,
  device: Device,
  [sequences, length]: readonly [number, number],
  dtype: FloatDType,
): Promise<Row> {
  const { heads, kvHeads, headDim } = HEADS
  const blocks = length / BLOCK
  const q = randomTensor(device, [sequences, heads * headDim], dtype)
  const kCache = randomTensor(device, [sequences * blocks, BLOCK, kvHeads, headDim], dtype)
  const vCache = randomTensor(device, [sequences * blocks, BLOCK, kvHeads, headDim], dtype)
  const places = new Random('blocks').shuffle(Array.from({ length: sequences * blocks }, (_, i) => i))
  const blockTables = device.tensor(Int32Array.from(places), [sequences, blocks])
  const contextLens = device.tensor(new Int32Array(sequences).fill(length))
  const inputs = { q, kCache, vCache, blockTables, contextLens, ...HEADS }
  const ours = await opContender(device, () => pagedAttention(inputs).dispose())
  const bytes = kCache.bytes + vCache.bytes
  const timing = await context.race(ours, null, {}, bytes < CACHED ? null : 'read')
  for (const t of [q, kCache, vCache, blockTables, contextLens]) t.dispose()
  return context.row(`decode ${sequences} x ${length}, ${dtype}`, timing, {
    unit: 'GB/s',
    better: 'higher',
    figure: (seconds) => bytes / seconds / 1e9,
    ceiling: timing.ceiling,
  })
}
