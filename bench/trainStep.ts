import { distillation, languageModelling } from '../lib/distill/objectives.js'
import type { FloatDType } from '../lib/tensor/tensor.js'
import type { Sample } from '../lib/train/batches.js'
import { Optimiser } from '../lib/train/optimiser.js'
import { Trainer } from '../lib/train/trainer.js'
import type { Bench, BenchContext } from './support/bench.js'
import { type ModelShape, randomIds, randomQwen2 } from './support/data.js'
import { type Contender, contender } from './support/measure.js'
import { collectGarbage, residentBytes, watchResident } from './support/resident.js'
import { plainRow, type Row } from './support/table.js'

/** 16 lengths drawn from 64 to 512: what a batch of posts and profiles looks like. 4,794 tokens. */
export const LENGTHS = [336, 352, 344, 279, 121, 467, 106, 355, 235, 285, 388, 506, 76, 117, 332, 495] as const

const common = { vocabSize: 8192, maxPositionEmbeddings: 4096, kvHeads: 2 }
const STUDENT: ModelShape = { ...common, hiddenSize: 256, layers: 6, heads: 4, intermediateSize: 768 }
const TEACHER: ModelShape = { ...common, hiddenSize: 512, layers: 8, heads: 8, intermediateSize: 1536 }

interface Setting {
  student: ModelShape
  teacher: ModelShape
  lengths: readonly number[]
  /** Tokens at the start of a sample that are a prompt: they carry no label. */
  masked: number
}

const FULL: Setting = { student: STUDENT, teacher: TEACHER, lengths: LENGTHS, masked: 32 }
const TINY: Setting = {
  student: { ...STUDENT, hiddenSize: 32, layers: 1, intermediateSize: 48, vocabSize: 61 },
  teacher: { ...TEACHER, hiddenSize: 64, layers: 1, intermediateSize: 48, vocabSize: 61 },
  lengths: [5, 9],
  masked: 2,
}

interface Case {
  kind: 'totalVariation' | null
  dtype: FloatDType
  /** Times as many tokens per second as PyTorch in the same dtype. */
  goal: number
}

const CASES: readonly Case[] = [
  { kind: 'totalVariation', dtype: 'bfloat16', goal: 4 },
  { kind: 'totalVariation', dtype: 'float32', goal: 1 },
  { kind: null, dtype: 'bfloat16', goal: 1.5 },
  { kind: null, dtype: 'float32', goal: 1 },
]

/** Whole optimiser steps of small models: the teacher's forward, the student's forward and backward, clipping, AdamW. */
export const trainStep: Bench = {
  name: 'trainStep',
  summary:
    'optimiser steps of a small student, fine-tuned alone and distilled from a small teacher: tokens/s, peak memory',
  async run(context) {
    const setting = context.tiny ? TINY : FULL
    const rows: Row[] = []
    for (const c of CASES) rows.push(...(await measure(context, setting, c)))
    const describe = (s: ModelShape) => `hidden ${s.hiddenSize}, ${s.layers} layers`
    return {
      name: 'trainStep',
      title: `Training step: ${setting.lengths.length} samples of ${Math.min(...setting.lengths)} to ${Math.max(...setting.lengths)} tokens, student ${describe(setting.student)}, teacher ${describe(setting.teacher)}, vocabulary ${setting.student.vocabSize}, median`,
      ceiling: 'multiply-adds from registers alone',
      rows,
      notes: [
        'Tokens without padding. PyTorch: transformers, batches padded on the right; bfloat16 is autocast there, and stored weights and activations with float32 master weights here. ' +
          'Memory: growth of the resident set beyond the weights (gradients, moments, activations), from before the optimiser was made; here what was allocated with the workspace, where that is more.',
      ],
    }
  },
}

/** Samples of the given lengths; the label of a token is the one after it. */
function samplesOf({ lengths, masked, student }: Setting): Sample[] {
  return lengths.map((length, seed) => {
    const ids = randomIds(length, student.vocabSize, seed)
    return { ids, labels: ids.map((_, i) => (i + 1 >= masked && i + 1 < length ? ids[i + 1]! : -100)) }
  })
}

async function measure(context: BenchContext, setting: Setting, { kind, dtype, goal }: Case): Promise<Row[]> {
  const { student: shape, teacher: guide, lengths, masked } = setting
  const device = context.device()
  const peer = context.peer('train_step.py', 'transformers') // one process a case: its memory is then that case's alone
  try {
    const student = randomQwen2(device, shape, dtype).trainable()
    const objective = kind
      ? distillation(student, randomQwen2(device, guide, dtype), { divergence: kind })
      : languageModelling(student)
    await device.synchronize()
    collectGarbage()
    device.resetPeakMemory()
    const before = { resident: residentBytes(), live: device.memory().live }
    const samples = samplesOf(setting)
    const trainer = new Trainer(device, objective, new Optimiser(student.parameters), samples, [], {
      seed: 1,
      batchSize: samples.length,
      microBatchTokens: 8192,
      steps: 1e6,
      learningRate: 8e-5,
      warmupSteps: 0,
      decay: 'constant',
      maxGradNorm: 1,
      evalEvery: 0,
      patience: 0,
      checkpointEvery: 0,
    })
    const step = watchResident(async () => {
      await trainer.step()
    })
    const ours: Contender = contender(step.run)
    const timing = await context.race(
      ours,
      peer,
      { student: shape, teacher: guide, lengths, masked, kind, dtype },
      dtype,
    )
    const tokens = lengths.reduce((n, length) => n + length, 0)
    const flops = objective.flops(samples)
    const label = `${kind ?? 'cross entropy'}, ${dtype}`
    const memory = device.memory()
    const { PyTorch } = timing.peers
    const theirs = PyTorch && { PyTorch: PyTorch.facts().extraBytes / 2 ** 20 }
    return [
      context.row(label, timing, {
        unit: 'tokens/s',
        better: 'higher',
        figure: (seconds) => tokens / seconds,
        ceiling: timing.ceiling && (timing.ceiling * 1e9 * tokens) / flops,
        goal: { ratio: { PyTorch: goal } },
        headline: true,
      }),
      plainRow(`${label}: memory`, 'MiB', {
        // What the allocator holds in reserve from before is no growth of the resident set: the larger figure counts.
        ours: Math.max(step.peak() - before.resident, memory.peak - before.live + memory.workspace) / 2 ** 20,
        theirs,
        goal: { ratio: { PyTorch: 2 } },
        headline: true,
      }),
    ]
  } finally {
    await peer?.close()
    await device.close()
  }
}
