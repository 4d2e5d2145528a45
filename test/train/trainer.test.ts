import { expect, test } from 'vitest'
import { languageModelling } from '../../lib/distill/objectives.js'
import { DeviceError } from '../../lib/errors.js'
import { createDecoder, loadDecoder } from '../../lib/models/registry.js'
import { gradOf } from '../../lib/tensor/tape.js'
import type { Sample } from '../../lib/train/batches.js'
import { Optimiser } from '../../lib/train/optimiser.js'
import { type StepReport, Trainer, type TrainOptions } from '../../lib/train/trainer.js'
import { TINY } from '../cuda/tinyRun.js'
import { QUICK, relativeError, testDevice, uniform } from '../support.js'

const device = testDevice()
const random = uniform(5)
const COUNT = QUICK ? 4 : 12
/** Samples of 5 to 24 tokens; the first third has no labels, as a prompt has none. */
const samples: Sample[] = Array.from({ length: COUNT }, () => {
  const ids = Int32Array.from({ length: 5 + Math.floor(20 * random()) }, () => Math.floor(90 * random()))
  const labels = ids.map((_, i) => (i < ids.length / 3 ? -100 : (ids[i + 1] ?? -100)))
  return { ids, labels }
})
const options: TrainOptions = {
  seed: 3,
  batchSize: COUNT / 2,
  microBatchTokens: 4096,
  steps: 4,
  learningRate: 1e-3,
  warmupSteps: 1,
  decay: 'linear',
  maxGradNorm: 1,
  evalEvery: 2,
  patience: 0,
  checkpointEvery: 0,
}

/** A tiny model in training, two samples a step, a micro-batch each; and the values of all that a step changes. */
function inTraining(train: readonly Sample[]) {
  const model = createDecoder(device, TINY, { seed: 1, dtype: 'float32' })
  const optimiser = new Optimiser(model.parameters)
  const settings = { ...options, batchSize: 2, microBatchTokens: 1 }
  const trainer = new Trainer(device, languageModelling(model), optimiser, train, [], settings)
  const tensors = [...[...model.parameters].map(([name, tensor]) => ({ name, tensor })), ...optimiser.state()]
  return {
    trainer,
    values: async () =>
      Object.fromEntries(await Promise.all(tensors.map(async (t) => [t.name, await t.tensor.floats()] as const))),
    gradients: () => Promise.all([...model.parameters.values()].map((p) => gradOf(p).floats())),
    dispose: () => {
      optimiser.dispose()
      model.dispose()
    },
  }
}

async function run(changes: Partial<TrainOptions>) {
  const model = await loadDecoder(device, 'test/fixtures/models/qwen2', { trainable: true })
  const optimiser = new Optimiser(model.parameters)
  const held = samples.slice(0, 3)
  const trainer = new Trainer(device, languageModelling(model), optimiser, samples, held, { ...options, ...changes })
  const steps: StepReport[] = []
  const losses: number[] = []
  const end = await trainer.run({
    onStep: (report) => void steps.push(report),
    onEval: ({ parts }) => void losses.push(parts.loss!),
  })
  const weights = await model.parameters.get('model.layers.0.mlp.up_proj.weight')!.floats()
  optimiser.dispose()
  model.dispose()
  return { end, steps, losses, weights }
}

test('accumulated micro-batches of different sizes are one batch: the same losses, norms and weights', async () => {
  const [whole, parts] = [await run({}), await run({ microBatchTokens: 30 })]
  expect(whole.end).toBe('finished')
  for (const [i, step] of whole.steps.entries()) {
    expect(Math.abs(parts.steps[i]!.parts.loss! / step.parts.loss! - 1)).toBeLessThan(1e-5)
    expect(Math.abs(parts.steps[i]!.gradNorm / step.gradNorm - 1)).toBeLessThan(1e-4)
  }
  expect(relativeError(parts.weights, whole.weights)).toBeLessThan(1e-5)
})

test('reports tell step, rate, tokens and memory; validations come when they are due', async () => {
  const { steps, losses } = await run({})
  expect(steps.map((s) => s.step)).toEqual([1, 2, 3, 4])
  expect(steps[0]!.learningRate).toBe(1e-3)
  expect(steps.slice(0, 2).reduce((n, s) => n + s.tokens, 0)).toBe(samples.reduce((n, s) => n + s.ids.length, 0))
  for (const s of steps) expect(Math.min(s.memory, s.seconds, s.flopsPerSecond, s.tokensPerSecond)).toBeGreaterThan(0)
  expect(losses).toHaveLength(2)
  expect(losses[1]).toBeLessThan(losses[0]!)
})

test('the same seed gives the same bits, another one another run', async () => {
  const [a, b, c] = [await run({}), await run({}), await run({ seed: 4 })]
  expect(b.weights).toEqual(a.weights)
  expect(c.weights).not.toEqual(a.weights)
})

test.each([0, 1])('a bad id in sample %i: the step changes nothing, and can be tried again', async (bad) => {
  const two = [5, 3].map((length) => {
    const ids = Int32Array.from({ length }, (_, i) => (7 * i + length) % TINY.vocabSize)
    return { ids, labels: ids.map((_, i) => ids[i + 1] ?? -100) }
  })
  const smooth = inTraining(two)
  await smooth.trainer.step()
  const first = await smooth.values()
  await smooth.trainer.step()

  const { trainer, values, gradients, dispose } = inTraining(two)
  await trainer.step()
  const ids = two[bad]!.ids
  const good = ids[1]!
  ids[1] = 1 << 20
  const failed = trainer.step()
  await expect(failed).rejects.toThrow(DeviceError)
  await expect(failed).rejects.toThrow('embedding: id 1048576 at position 1 is outside [0, 40)')
  expect(await values()).toEqual(first)
  for (const gradient of await gradients()) expect(gradient.every((x) => x === 0)).toBe(true)
  expect([trainer.state.step, trainer.optimiser.count]).toEqual([1, 1])

  ids[1] = good
  await trainer.step()
  expect(await values()).toEqual(await smooth.values())
  dispose()
  smooth.dispose()
})
