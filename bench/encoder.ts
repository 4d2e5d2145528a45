import { ModernBert } from '../lib/models/modernbert.js'
import type { ModernBertConfig } from '../lib/models/modernbertConfig.js'
import { pack } from '../lib/models/packed.js'
import type { Device } from '../lib/tensor/device.js'
import type { FloatDType } from '../lib/tensor/tensor.js'
import type { Bench, BenchContext } from './support/bench.js'
import { randomIds, randomWeightsOf } from './support/data.js'
import { contender } from './support/measure.js'
import type { Peer } from './support/peer.js'
import type { Goal, Row } from './support/table.js'

interface Setting {
  hiddenSize: number
  layers: number
  heads: number
  intermediateSize: number
  vocabSize: number
  /** Tokens of each input. */
  lengths: readonly number[]
}

/** ModernBERT-base, and eight inputs as job posts and profiles are long. */
const FULL: Setting = {
  hiddenSize: 768,
  layers: 22,
  heads: 12,
  intermediateSize: 1152,
  vocabSize: 50_368,
  lengths: [191, 467, 137, 333, 274, 106, 402, 239],
}
/** Of the eight inputs in bfloat16. */
const GOAL: Goal = { ratio: { PyTorch: 2, 'ONNX Runtime': 3 } }

const TINY: Setting = { hiddenSize: 32, layers: 3, heads: 2, intermediateSize: 48, vocabSize: 61, lengths: [3, 9, 5] }

/** Classification by ModernBERT-base: eight inputs of different lengths in one call, and one alone. */
export const encoder: Bench = {
  name: 'encoder',
  summary: 'classification by ModernBERT-base, eight inputs of 106 to 467 tokens, and one of 128',
  async run(context) {
    const setting = context.tiny ? TINY : FULL
    const device = context.device()
    const rows: Row[] = []
    const onnx = context.nodePeer('ONNX Runtime', { ...setting })
    try {
      for (const dtype of ['bfloat16', 'float32'] as const) {
        using model = randomModernBert(device, setting, dtype)
        for (const lengths of [setting.lengths, [context.tiny ? 4 : 128]])
          rows.push(await measure(context, model, onnx, { ...setting, lengths }, dtype))
      }
    } finally {
      await onnx?.close()
      await device.close()
    }
    return {
      name: 'encoder',
      title: `Classification by ModernBERT: hidden ${setting.hiddenSize}, ${setting.layers} layers, median`,
      ceiling: 'the matrix product alone, were all of the model that',
      rows,
      notes: [
        'Ours takes all inputs in one call, without padding; the others one after the other, which is faster than padded together. ' +
          'PyTorch: transformers with scaled dot product attention.',
        ...(onnx?.about ? [onnx.about] : []),
      ],
    }
  },
}

function randomModernBert(device: Device, setting: Setting, dtype: FloatDType): ModernBert {
  const { lengths: _, ...shape } = setting
  const config: ModernBertConfig = {
    ...shape,
    modelType: 'modernbert',
    kvHeads: shape.heads,
    headDim: shape.hiddenSize / shape.heads,
    slidingWindow: Array.from({ length: shape.layers }, (_, i) => (i % 3 === 0 ? null : 64)),
    maxPositionEmbeddings: 8192,
    causal: false,
    globalRopeTheta: 160_000,
    localRopeTheta: 10_000,
    normEps: 1e-5,
    pooling: 'mean',
    numLabels: 3,
    eosTokenId: null,
    bosTokenId: null,
    padTokenId: null,
    dtype,
  }
  return new ModernBert(device, config, randomWeightsOf(device, dtype), dtype)
}

async function measure(
  context: BenchContext,
  model: ModernBert,
  onnx: Peer | null,
  setting: Setting,
  dtype: FloatDType,
): Promise<Row> {
  const { device } = model
  const peer = context.peer('encoder.py', 'transformers')
  const sequences = setting.lengths.map((n, i) => randomIds(n, setting.vocabSize, i))
  const ours = contender(async () => {
    using logits = device.persistent(() => device.tidy(() => model.classify(pack(device, sequences))))
    await logits.floats()
  })
  try {
    const timing = await context.race(ours, [peer, onnx], { model: setting, dtype }, dtype)
    const tokens = setting.lengths.reduce((a, b) => a + b, 0)
    const inputs = `${setting.lengths.length} ${setting.lengths.length === 1 ? 'input' : 'inputs'}`
    return context.row(`${inputs}, ${tokens} tokens, ${dtype}`, timing, {
      unit: 'tokens/s',
      better: 'higher',
      figure: (seconds) => tokens / seconds,
      ceiling: timing.ceiling && (timing.ceiling * 1e9 * tokens) / flops(setting),
      goal: dtype === 'bfloat16' && setting.lengths.length > 1 ? GOAL : {},
      headline: dtype === 'bfloat16',
    })
  } finally {
    await peer?.close()
  }
}

/** Floating-point operations of a forward pass: two a weight and token, and attention's products over what each query sees. */
function flops({ hiddenSize: h, layers, intermediateSize: f, lengths }: Setting): number {
  let sum = 0
  for (const n of lengths)
    for (let i = 0; i < layers; i++)
      sum += n * 2 * (4 * h * h + 3 * h * f) + 4 * h * n * Math.min(n, i % 3 === 0 ? n : 129)
  return sum
}
