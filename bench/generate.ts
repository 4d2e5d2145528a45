import { Engine } from '../lib/generate/engine.js'
import type { Decoder } from '../lib/models/decoder.js'
import type { FloatDType } from '../lib/tensor/tensor.js'
import type { Bench, BenchContext } from './support/bench.js'
import { type ModelShape, QWEN_05B, randomIds, randomQwen2 } from './support/data.js'
import { type Contender, now } from './support/measure.js'
import type { Peer } from './support/peer.js'
import type { Goal, Row } from './support/table.js'

interface Setting {
  shape: ModelShape
  dtypes: readonly FloatDType[]
  batches: readonly number[]
  prompt: number
  tokens: number
  goal?: (of: Case) => Goal
}

interface Case {
  dtype: FloatDType
  batch: number
  mode: 'prefill' | 'decode'
}

const FULL: Setting = {
  shape: {
    hiddenSize: 512,
    layers: 8,
    heads: 8,
    kvHeads: 2,
    intermediateSize: 1536,
    vocabSize: 32_768,
    maxPositionEmbeddings: 4096,
  },
  dtypes: ['bfloat16', 'float32'],
  batches: [1, 8],
  prompt: 512,
  tokens: 32,
}
const TINY: Setting = {
  shape: { ...FULL.shape, hiddenSize: 32, layers: 1, heads: 2, intermediateSize: 48, vocabSize: 61 },
  dtypes: ['bfloat16', 'float32'],
  batches: [2],
  prompt: 5,
  tokens: 3,
}

/** Qwen2.5-0.5B, whose weights are a gigabyte: what decoding costs where nothing stays in a cache. */
const QWEN: Setting = {
  shape: QWEN_05B,
  dtypes: ['bfloat16'],
  batches: [1, 8],
  prompt: 256,
  tokens: 32,
  goal: ({ mode, batch }) =>
    mode === 'decode' && batch === 1 ? { ratio: { 'llama.cpp': 1.15 }, share: 0.85 } : { ratio: { 'llama.cpp': 2 } },
}

/** Greedy generation through the engine that serves. */
function generation(name: string, summary: string, full: Setting): Bench {
  return {
    name,
    summary,
    async run(context) {
      const setting = context.tiny ? TINY : full
      const device = context.device()
      const rows: Row[] = []
      const about = new Set<string>()
      try {
        for (const dtype of setting.dtypes) {
          using model = randomQwen2(device, setting.shape, dtype)
          const llama = context.nodePeer('llama.cpp', { ...setting.shape, dtype })
          try {
            for (const batch of setting.batches)
              for (const mode of ['prefill', 'decode'] as const)
                rows.push(await measure(context, model, llama, setting, { dtype, batch, mode }))
            if (llama?.about) about.add(llama.about)
          } finally {
            await llama?.close()
          }
        }
      } finally {
        await device.close()
      }
      const { shape, prompt, tokens } = setting
      return {
        name,
        title: `Generation: hidden ${shape.hiddenSize}, ${shape.layers} layers, vocabulary ${shape.vocabSize}, prompts of ${prompt} tokens, ${tokens} new ones, greedy, median`,
        ceiling: 'the read bandwidth, were the weights read once a token (decoding of one sequence)',
        rows,
        notes: [
          'Tokens of all sequences together. PyTorch: transformers with a dynamic cache, its forward called token by token.',
          ...about,
        ],
      }
    },
  }
}

export const generate = generation(
  'generate',
  'prefill and decoding of a small model through the engine, one sequence and eight',
  FULL,
)
export const generateQwen = generation('generateQwen', 'the same of Qwen2.5-0.5B', QWEN)

async function measure(
  context: BenchContext,
  model: Decoder,
  llama: Peer | null,
  { shape, prompt, tokens, goal }: Setting,
  { dtype, batch, mode }: Case,
): Promise<Row> {
  const peer = context.peer('generate.py', 'transformers')
  const ours = engineContender(model, batch, prompt, tokens, mode)
  try {
    const alone = mode === 'decode' && batch === 1
    const values = { model: shape, mode, batch, prompt, tokens, dtype }
    const timing = await context.race(ours, [peer, llama], values, alone ? 'read' : null)
    const made = batch * (mode === 'prefill' ? prompt : tokens)
    let weightBytes = 0
    for (const t of model.parameters.values()) weightBytes += t.bytes
    return context.row(`${mode}, ${batch} ${batch === 1 ? 'sequence' : 'sequences'}, ${dtype}`, timing, {
      unit: 'tokens/s',
      better: 'higher',
      figure: (seconds) => made / seconds,
      ceiling: timing.ceiling && (timing.ceiling * 1e9) / weightBytes,
      goal: goal?.({ dtype, batch, mode }),
      headline: dtype === 'bfloat16',
    })
  } finally {
    await peer?.close()
  }
}

/** Seconds of the prefill of all prompts, or of the decoding after it. */
function engineContender(model: Decoder, batch: number, prompt: number, tokens: number, mode: Case['mode']): Contender {
  const prompts = Array.from({ length: batch }, (_, i) => randomIds(prompt, model.config.vocabSize, i))
  const once = async () => {
    const steps: number[] = []
    using engine = new Engine(model, {
      cacheTokens: batch * (prompt + tokens + 64),
      maxPrefillTokens: batch * prompt,
      onStep: () => steps.push(now()),
    })
    const started = now()
    const maxTokens = mode === 'prefill' ? 1 : tokens + 1
    await Promise.all(
      prompts.map(async (ids) => {
        for await (const _token of engine.generate(ids, { maxTokens, stop: [], temperature: 0 }));
      }),
    )
    return mode === 'prefill' ? steps[0]! - started : steps.at(-1)! - steps[0]!
  }
  return {
    async warm() {
      await once()
      return once()
    },
    async sample(seconds) {
      const samples: number[] = []
      for (const until = now() + seconds; samples.length === 0 || now() < until; ) samples.push(await once())
      return samples
    },
  }
}
