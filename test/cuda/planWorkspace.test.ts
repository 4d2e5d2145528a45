import { afterAll, expect, test } from 'vitest'
import { classification, languageModelling } from '../../lib/distill/objectives.js'
import type { ModelConfig } from '../../lib/models/config.js'
import type { Decoder } from '../../lib/models/decoder.js'
import { buildModel } from '../../lib/models/families.js'
import { randomWeights } from '../../lib/models/initialise.js'
import { cast } from '../../lib/ops/elementwise.js'
import { planStep } from '../../lib/plan/step.js'
import { Device } from '../../lib/tensor/device.js'
import { Tape } from '../../lib/tensor/tape.js'
import type { FloatDType } from '../../lib/tensor/tensor.js'
import type { Sample } from '../../lib/train/batches.js'
import { Optimiser } from '../../lib/train/optimiser.js'
import { MODERNBERT, tinyConfig } from '../configs.js'

const opened: Device[] = []
afterAll(async () => {
  for (const device of opened) await device.close()
})

const TINY = tinyConfig({ vocabSize: 1000, maxPositionEmbeddings: 1024 })
const cases: [string, ModelConfig, number, FloatDType][] = [
  ['a language model', TINY, 300, 'float32'],
  ['a classifier', { ...TINY, numLabels: 3 }, 300, 'float32'],
  ['a classifier', { ...TINY, numLabels: 3, hiddenSize: 64, heads: 8, headDim: 8 }, 40, 'bfloat16'],
  ['an encoder', { ...MODERNBERT, layers: 2, slidingWindow: null }, 280, 'bfloat16'],
]

test.each(cases)('the workspace of a step of %s is what the plan says', async (_, config, length, precision) => {
  const device = Device.open('cuda') // the workspace is the largest of the device's life
  opened.push(device)
  const random = randomWeights(device, { seed: 1, layers: config.layers })
  const narrow = (name: string, shape: readonly number[]) => {
    const t = random(name, shape)
    return precision === 'float32' ? t : device.persistent(() => cast(t, precision))
  }
  using model = buildModel(device, config, narrow, precision).trainable()
  const ids = Int32Array.from({ length }, (_, i) => i)
  const classifies = config.numLabels !== undefined
  const sample: Sample = classifies ? { ids, labels: new Int32Array(0), label: 1 } : { ids, labels: ids }
  const objective = classifies ? classification(model) : languageModelling(model as Decoder)
  const optimiser = new Optimiser(model.parameters)
  {
    using _scope = device.scope()
    using tape = new Tape(device)
    tape.backward(objective.loss([sample], 1).loss)
    optimiser.step(1e-3, 1)
    await device.synchronize()
  }
  const { multiprocessors } = Device.describe().cuda.gpus[0]!
  const planned = {
    student: config,
    precision,
    sequences: 1,
    length,
    device: { kind: 'cuda', multiprocessors },
  } as const
  expect(planStep(planned).memory.workspace).toBe(device.memory().workspace)
  optimiser.dispose()
})
