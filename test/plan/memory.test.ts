import { afterAll, describe, expect, test } from 'vitest'
import { classification, distillation, languageModelling } from '../../lib/distill/objectives.js'
import type { ModelConfig } from '../../lib/models/config.js'
import type { Decoder } from '../../lib/models/decoder.js'
import type { DecoderConfig } from '../../lib/models/decoderConfig.js'
import { buildModel, readModelConfig } from '../../lib/models/families.js'
import { randomWeights } from '../../lib/models/initialise.js'
import { isOfBody, type Model } from '../../lib/models/model.js'
import { pack } from '../../lib/models/packed.js'
import { createDecoder, loadDecoder } from '../../lib/models/registry.js'
import { distillHead, linearCrossEntropy } from '../../lib/ops/distillHead.js'
import { cast } from '../../lib/ops/elementwise.js'
import { pairs } from '../../lib/plan/forward.js'
import { headPlan } from '../../lib/plan/head.js'
import { planStep, type StepOptions } from '../../lib/plan/step.js'
import { Device } from '../../lib/tensor/device.js'
import { Tape } from '../../lib/tensor/tape.js'
import type { FloatDType } from '../../lib/tensor/tensor.js'
import type { Sample } from '../../lib/train/batches.js'
import { Optimiser } from '../../lib/train/optimiser.js'
import { type Objective, Trainer } from '../../lib/train/trainer.js'
import { MODERNBERT, tinyConfig } from '../configs.js'
import { FLOATS } from '../support.js'

const device = Device.open('cpu')
afterAll(() => device.close())

const SEQUENCES = 3
const LENGTH = 500

const QWEN = tinyConfig({
  hiddenSize: 64,
  layers: 3,
  heads: 4,
  kvHeads: 2,
  intermediateSize: 192,
  vocabSize: 1000,
  tieWordEmbeddings: false,
  maxPositionEmbeddings: 1024,
})
const QWEN3: DecoderConfig = { ...QWEN, modelType: 'qwen3', headDim: 32, qkNorm: true, attentionBias: false }
const PHI3: DecoderConfig = {
  ...QWEN,
  modelType: 'phi3',
  fusedProjections: true,
  attentionBias: false,
  ropeScaling: {
    shortFactor: Array(8).fill(1),
    longFactor: Array(8).fill(2),
    originalMaxPositions: 256,
  },
}
const CLASSIFIER: DecoderConfig = { ...QWEN, numLabels: 3, classifierHiddenSize: 48 }
const samples = (label?: number, split?: number): Sample[] =>
  Array.from({ length: SEQUENCES }, (_, s) => {
    const ids = Int32Array.from({ length: LENGTH }, (_, i) => (7 * i + 31 * s) % 900)
    if (label === undefined) return { ids, labels: ids }
    return { ids, labels: new Int32Array(0), label, ...(split && { split }) }
  })

const CONCAT = { ...QWEN3, numLabels: 3, twoTower: { interaction: 'concat', hiddenSize: 40 } } as const
const TOWERS: Record<string, ModelConfig> = {
  'two towers of QWEN3 that meet by concat': CONCAT,
  'two towers of MODERNBERT that meet by dot': { ...MODERNBERT, twoTower: { interaction: 'dot' } },
}

/** The peak of a step that is run, and what the plan says of it. */
async function measured(model: Model, objective: Objective, train: Sample[], plan: Partial<StepOptions>) {
  const optimiser = new Optimiser(model.parameters)
  const { validation, sequences = SEQUENCES, length = LENGTH } = plan
  const trainer = new Trainer(device, objective, optimiser, train, [], {
    seed: 1,
    batchSize: sequences,
    microBatchTokens: (validation?.sequences ?? sequences) * length,
    steps: 1,
    learningRate: 1e-3,
    warmupSteps: 0,
    decay: 'constant',
    maxGradNorm: 1,
    evalEvery: 0,
    patience: 0,
    checkpointEvery: 0,
  })
  model.recompute = plan.recompute ?? false
  await trainer.step()
  await device.synchronize()
  device.resetPeakMemory()
  const before = device.memory().live
  await trainer.step()
  if (validation) await trainer.evaluate(Array(validation.sequences).fill(train[0]))
  const { peak, live } = device.memory()
  expect(live).toBe(before)
  const { memory } = planStep({
    student: model.config,
    precision: model.dtype,
    sequences: SEQUENCES,
    length: LENGTH,
    device: { kind: 'cpu' },
    ...plan,
  })
  optimiser.dispose()
  return { peak, memory }
}

/** Blocks come in multiples of 64 bytes; nothing else may be between plan and device. */
const CLOSE = 0.001

const precisions = FLOATS.flatMap((precision) => [false, true].map((recompute) => ({ precision, recompute })))

function fresh(config: ModelConfig, precision: FloatDType, narrows = (_name: string) => true): Model {
  const random = randomWeights(device, { seed: 1, layers: config.layers })
  return buildModel(
    device,
    config,
    (name, shape) => {
      const t = random(name, shape)
      if (precision === 'float32' || !narrows(name)) return t
      const narrow = device.persistent(() => cast(t, precision))
      t.dispose()
      return narrow
    },
    precision,
  ).trainable()
}

/** A classifier whose head alone is trained, in float32, over weights as a file of `precision` has them. */
const headOf = (config: ModelConfig, precision: FloatDType): Model =>
  fresh(config, precision, isOfBody).trainable('head')

for (const [name, config] of Object.entries({ QWEN, QWEN3, PHI3 }))
  test.each(precisions)(`a step of ${name} holds what the plan says: %o`, async ({ precision, recompute }) => {
    using model = createDecoder(device, config, { seed: 1, dtype: precision })
    const { peak, memory } = await measured(model, languageModelling(model), samples(), { recompute })
    expect(Math.abs(memory.allocated / peak - 1)).toBeLessThan(CLOSE)
  })

for (const [name, config] of Object.entries({ CLASSIFIER, MODERNBERT }))
  test.each(precisions)(`a step of ${name} holds what the plan says: %o`, async ({ precision, recompute }) => {
    using model = fresh(config, precision)
    const { peak, memory } = await measured(model, classification(model), samples(1), { recompute })
    expect(Math.abs(memory.allocated / peak - 1)).toBeLessThan(CLOSE)
  })

for (const [name, config] of Object.entries(TOWERS)) {
  const pairs = samples(1, 180)
  test.each(precisions)(`a step of ${name} holds what the plan says: %o`, async ({ precision, recompute }) => {
    using model = fresh(config, precision)
    const { peak, memory } = await measured(model, classification(model), pairs, { recompute })
    expect(Math.abs(memory.allocated / peak - 1)).toBeLessThan(CLOSE)
  })

  test.each(FLOATS)(`a step in %s of ${name}, frozen, holds what the plan says`, async (precision) => {
    using model = headOf(config, precision)
    const student = { ...config, dtype: precision }
    const { peak, memory } = await measured(model, classification(model), pairs, { frozen: true, student })
    const mapped = memory.parts.find((p) => p.mapped)!
    expect(Math.abs((memory.allocated + mapped.bytes) / peak - 1)).toBeLessThan(CLOSE)
  })

  // a head alone would be lost among layers: here it is most of what there is
  test.each(FLOATS)(`the head of ${name} in %s holds what the plan says`, async (precision) => {
    const small = { ...config, layers: 1 }
    using model = fresh(small, precision)
    const many = Array.from({ length: 300 }, () => ({ ...pairs[0]!, ids: pairs[0]!.ids.slice(0, 4), split: 2 }))
    const shape = { sequences: 300, length: 4, student: small }
    const { peak, memory } = await measured(model, classification(model), many, shape)
    expect(Math.abs(memory.allocated / peak - 1)).toBeLessThan(CLOSE)
  })
}

for (const [name, config] of Object.entries({ CLASSIFIER, MODERNBERT }))
  test.each(FLOATS)(`a step of ${name} in %s whose encoder is frozen holds what the plan says`, async (precision) => {
    using model = headOf(config, precision)
    const { peak, memory } = await measured(model, classification(model), samples(1), {
      frozen: true,
      student: { ...config, dtype: precision },
    })
    const mapped = memory.parts.find((p) => p.mapped)! // here the encoder is not from a file
    expect(mapped.name).toBe("the frozen encoder's weights")
    expect(Math.abs((memory.allocated + mapped.bytes) / peak - 1)).toBeLessThan(CLOSE)
  })

test.each(precisions)('distilling assets/student holds what the plan says: %o', async ({ precision, recompute }) => {
  const dtypes = { weights: precision, activations: precision }
  using model = await loadDecoder(device, 'assets/student', { trainable: true, ...dtypes })
  using teacher: Decoder = await loadDecoder(device, 'assets/teacher', { activations: precision })
  const objective = distillation(model, teacher, { divergence: 'jensenShannon' })
  const { peak, memory } = await measured(model, objective, samples(), {
    recompute,
    teacher: await readModelConfig('assets/teacher/config.json'),
  })
  expect(Math.abs(memory.allocated / peak - 1)).toBeLessThan(CLOSE)
})

describe('validation that holds more than a step', () => {
  const validation = { sequences: 40, length: LENGTH }
  const recompute = true
  const expectPeak = ({ peak, memory }: Awaited<ReturnType<typeof measured>>) => {
    expect(memory.peak).toBe('validation')
    expect(Math.abs(memory.allocated / peak - 1)).toBeLessThan(CLOSE)
  }

  test.each(FLOATS)('holds what the plan says: a language model in %s', async (precision) => {
    using model = createDecoder(device, QWEN, { seed: 1, dtype: precision })
    expectPeak(await measured(model, languageModelling(model), samples(), { recompute, validation }))
  })

  test.each(FLOATS)('holds what the plan says: a classifier in %s', async (precision) => {
    using model = fresh(MODERNBERT, precision)
    expectPeak(await measured(model, classification(model), samples(1), { recompute, validation }))
  })

  test('holds what the plan says: a student and its teacher', async () => {
    using model = createDecoder(device, QWEN, { seed: 1, dtype: 'float32' })
    using teacher = createDecoder(device, { ...QWEN, hiddenSize: 96, headDim: 24 }, { seed: 2, dtype: 'float32' })
    const objective = distillation(model, teacher.trainable(false), { divergence: 'reverseKL' })
    const { peak, memory } = await measured(model, objective, samples(), {
      recompute,
      validation,
      teacher: teacher.config,
    })
    const mapped = memory.parts.find((p) => p.mapped)! // here the teacher is not from a file
    expectPeak({ peak, memory: { ...memory, allocated: memory.allocated + mapped.bytes } })
  })
})

test.each(FLOATS)('a forward pass in %s holds what the plan says', async (precision) => {
  using model = fresh(MODERNBERT, precision).trainable(false)
  const batch = device.persistent(() =>
    pack(
      device,
      samples().map(({ ids }) => ids),
    ),
  )
  await device.synchronize()
  device.resetPeakMemory()
  {
    using _scope = device.scope()
    model.classify(batch)
  }
  const { memory } = planStep({
    student: MODERNBERT,
    mode: 'forward',
    precision,
    sequences: SEQUENCES,
    length: LENGTH,
    device: { kind: 'cpu' },
  })
  expect(Math.abs(memory.allocated / device.memory().peak - 1)).toBeLessThan(CLOSE)
  for (const t of [batch.ids, batch.positions, batch.cuSeqlens]) t.dispose()
})

const HEADS = [
  [700, 64, 30_000, null],
  [700, 64, 30_000, 96], // several passes of several chunks, where pairs of bfloat16 are multiplied
  [1000, 72, 9000, 200], // columns that are filled up
  [333, 128, 40_000, 128],
  [500, 512, 60_000, 1024],
  [100, 1024, 3000, null],
  [17, 30, 152_000, 64],
  [5, 48, 100, 48],
] as const

const headCases = HEADS.flatMap((shape) =>
  FLOATS.flatMap((precision) => [true, false].map((gradients) => [...shape, precision, gradients] as const)),
)

test.each(headCases)(
  'the workspace of a head is what the plan says, to the byte: %i tokens, size %i, vocabulary %i, teacher %s, %s, gradients %s',
  async (tokens, hidden, vocab, size, precision, gradients) => {
    const alone = Device.open('cpu', { threads: 2 }) // the workspace keeps its largest size
    try {
      using _scope = alone.scope()
      const labels = alone.tensor(new Int32Array(tokens).fill(3))
      const zeros = (n: number) => ({
        hidden: alone.zeros([tokens, n], precision),
        weight: alone.zeros([vocab, n], precision),
      })
      const student = zeros(hidden)
      const teacher = size === null ? null : zeros(size)
      student.weight.requiresGrad = student.hidden.requiresGrad = true
      using _tape = gradients ? new Tape(alone) : null
      if (teacher) distillHead({ ...student, teacher, labels, divergence: 'forwardKL' })
      else linearCrossEntropy(student.hidden, student.weight, labels)
      await alone.synchronize()
      const stored = { weights: precision, activations: precision }
      const theirs = size === null ? {} : { teacher: { hidden: size, vocab, stored } }
      const sizes = { tokens, hidden, vocab, stored, gradients, ...theirs }
      const { instructionSet } = Device.describe()
      expect(headPlan(sizes, { kind: 'cpu', instructionSet, threads: 2 }).workspace).toBe(alone.memory().workspace)
    } finally {
      await alone.close()
    }
  },
)

test.each([
  [true, null],
  [true, 1],
  [true, 7],
  [true, 50],
  [false, null],
  [false, 0],
  [false, 5],
  [false, 50],
])('pairs of queries and keys: causal %s, window %s', (causal, window) => {
  const length = 23
  const sees = (i: number, j: number) =>
    causal ? i - j >= 0 && (window === null || i - j < window) : window === null || Math.abs(i - j) <= window
  let count = 0
  for (let i = 0; i < length; i++) for (let j = 0; j < length; j++) if (sees(i, j)) count++
  const config: ModelConfig = { ...QWEN, causal, slidingWindow: [window] }
  expect(pairs(config, 0, { sequences: 2, length })).toBe(2 * count)
})
