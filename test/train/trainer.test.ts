import { expect, test } from 'vitest'
import { languageModelling } from '../../lib/distill/objectives.js'
import { loadModel } from '../../lib/models/registry.js'
import type { Sample } from '../../lib/train/batches.js'
import { Optimiser } from '../../lib/train/optimiser.js'
import { type StepReport, Trainer, type TrainOptions } from '../../lib/train/trainer.js'
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

async function run(changes: Partial<TrainOptions>) {
  const model = await loadModel(device, 'test/fixtures/models/qwen2', { trainable: true })
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
