import { attention as attend } from '../../lib/ops/attention.js'
import { cacheWrite, pagedAttention } from '../../lib/ops/pagedAttention.js'
import type { Device } from '../../lib/tensor/device.js'
import { Tape } from '../../lib/tensor/tape.js'
import type { FloatDType, Tensor } from '../../lib/tensor/tensor.js'
import { randomTensor } from '../support/data.js'
import { bytes, type Case, distinct, integers } from './case.js'

interface Heads {
  heads: number
  kvHeads: number
  headDim: number
}

const [CAUSAL, FULL] = [true, false]

/** Forward and backward over one sequence. */
const attentionCase = (dtype: FloatDType, headDim: number, length: number, causal: boolean): Case => ({
  shape: `${length} tokens, 2 + 1 heads of ${headDim}, ${causal ? 'causal' : 'all pairs'}`,
  run(device) {
    const { q, k, v, ...heads } = operands(device, dtype, length, { heads: 2, kvHeads: 1, headDim })
    for (const t of [q, k, v]) t.requiresGrad = true
    using tape = new Tape(device)
    const out = attend({ q, k, v, cuSeqlens: integers(device, [0, length]), causal, ...heads })
    tape.backward(out, randomTensor(device, q.shape, dtype))
    const pairs = causal ? (length * (length + 1)) / 2 : length ** 2
    const product = 2 * pairs * heads.heads * headDim // FLOP of each of the formula's products
    const [forward, backward] = dtype === 'bfloat16' ? ['mma', 'Mma'] : ['simt', 'Simt']
    return [
      { kernel: `attention_${forward}${headDim}`, flops: 2 * product }, // scores, out
      { kernel: `attentionBackward_queries${backward}${headDim}`, flops: 3 * product }, // scores, their gradient, dq
      { kernel: `attentionBackward_keys${backward}${headDim}`, flops: 4 * product }, // scores, their gradient, dk, dv
    ]
  },
})

function operands(device: Device, dtype: FloatDType, tokens: number, heads: Heads) {
  const of = (count: number): Tensor => randomTensor(device, [tokens, count * heads.headDim], dtype)
  return { q: of(heads.heads), k: of(heads.kvHeads), v: of(heads.kvHeads), ...heads }
}

const deltaCase = (dtype: FloatDType): Case => ({
  shape: '128 tokens, 4 + 2 heads of 64',
  run(device) {
    const { q, k, v, ...heads } = operands(device, dtype, 128, { heads: 4, kvHeads: 2, headDim: 64 })
    q.requiresGrad = true
    using tape = new Tape(device)
    const cuSeqlens = integers(device, [0, 128])
    tape.backward(attend({ q, k, v, cuSeqlens, ...heads }), randomTensor(device, q.shape, dtype))
    return [{ kernel: 'attentionBackward_delta', bytes: 2 * bytes(q) + bytes(4 * 128 * 4, cuSeqlens) }]
  },
})

const BLOCK = 16 // tokens of a block of the cache
const QWEN: Heads = { heads: 14, kvHeads: 2, headDim: 64 }

/** One new token of each of two sequences, over blocks that lie anywhere: in pieces of 256 tokens. */
const decodeCase = (dtype: FloatDType): Case => ({
  shape: '2 sequences of 512 tokens, 14 + 2 heads of 64',
  run(device) {
    const [sequences, length] = [2, 512]
    const blocks = length / BLOCK
    const { q, ...heads } = operands(device, dtype, sequences, QWEN)
    const cache = () => randomTensor(device, [sequences * blocks, BLOCK, QWEN.kvHeads, QWEN.headDim], dtype)
    const [kCache, vCache] = [cache(), cache()]
    const places = distinct(sequences * blocks, sequences * blocks)
    const blockTables = device.tensor(Int32Array.from(places), [sequences, blocks])
    const contextLens = integers(device, [length, length])
    const out = pagedAttention({ ...heads, q, kCache, vCache, blockTables, contextLens })
    const pieces = bytes(sequences * QWEN.heads * (length / 256) * QWEN.headDim * 4)
    const stats = bytes(sequences * QWEN.heads * (length / 256) * 8)
    const kernel = dtype === 'bfloat16' ? 'pagedAttention_decodeMma64' : 'pagedAttention_decodeSimt64'
    const needed = bytes(q, kCache, vCache, blockTables, contextLens) + pieces + stats
    return [
      { kernel, bytes: needed },
      { kernel: 'pagedAttention_merge', bytes: bytes(out, contextLens) + pieces + stats },
    ]
  },
})

const prefillCase = (dtype: FloatDType): Case => ({
  shape: '128 new of 256 tokens, 2 + 1 heads of 64, causal',
  run(device) {
    const [tokens, length] = [128, 256]
    const { q, ...heads } = operands(device, dtype, tokens, { heads: 2, kvHeads: 1, headDim: 64 })
    const cache = () => randomTensor(device, [length / BLOCK, BLOCK, 1, 64], dtype)
    const blockTables = device.tensor(Int32Array.from(distinct(length / BLOCK, length / BLOCK)), [1, length / BLOCK])
    const [contextLens, cuSeqlens] = [integers(device, [length]), integers(device, [0, tokens])]
    pagedAttention({ ...heads, q, kCache: cache(), vCache: cache(), blockTables, contextLens, cuSeqlens })
    const pairs = tokens * length - (tokens * (tokens - 1)) / 2
    const kernel = dtype === 'bfloat16' ? 'pagedAttention_prefillMma64' : 'pagedAttention_prefillSimt64'
    return [{ kernel, flops: 4 * pairs * 2 * 64 }]
  },
})

const cacheWriteCase = (dtype: FloatDType): Case => ({
  shape: '64 tokens, 2 heads of 64',
  run(device) {
    const { k, v } = operands(device, dtype, 64, QWEN)
    const [kCache, vCache] = [1, 2].map(() => device.empty([8, BLOCK, QWEN.kvHeads, QWEN.headDim], dtype))
    const slotMapping = integers(device, distinct(64, 8 * BLOCK))
    cacheWrite({ k, v, kCache: kCache!, vCache: vCache!, slotMapping })
    return [{ kernel: 'pagedAttention_cacheWrite', bytes: 2 * bytes(k, v) + bytes(slotMapping) }]
  },
})

export const attention: readonly Case[] = [
  attentionCase('bfloat16', 64, 512, FULL),
  attentionCase('bfloat16', 64, 512, CAUSAL),
  attentionCase('bfloat16', 96, 256, FULL),
  attentionCase('bfloat16', 128, 256, FULL),
  attentionCase('float32', 64, 128, FULL),
  attentionCase('float32', 128, 128, FULL),
  ...(['float32', 'bfloat16'] as const).flatMap((dtype) => [
    deltaCase(dtype),
    decodeCase(dtype),
    prefillCase(dtype),
    cacheWriteCase(dtype),
  ]),
]
