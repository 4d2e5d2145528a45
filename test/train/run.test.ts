import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { distillation } from '../../lib/distill/objectives.js'
import { createDecoder } from '../../lib/models/registry.js'
import { Device } from '../../lib/tensor/device.js'
import type { FloatDType } from '../../lib/tensor/tensor.js'
import type { Sample } from '../../lib/train/batches.js'
import { Optimiser } from '../../lib/train/optimiser.js'
import { runTraining } from '../../lib/train/run.js'
import { type Objective, Trainer } from '../../lib/train/trainer.js'
import { tinyConfig } from '../configs.js'
import { relativeError, testDevice } from '../support.js'
import { temporaryFolder, writeTinyTokenizer } from '../tiny.js'

const device = testDevice()
const root = temporaryFolder()
const at = (...parts: string[]) => join(root, ...parts)
beforeAll(() => writeTinyTokenizer(at('tokenizer')), 120_000)

const config = tinyConfig()

const samples: Sample[] = [9, 6, 11, 4, 7].map((length) => {
  const ids = Int32Array.from({ length }, (_, i) => (i * i + 5 * length) % config.vocabSize)
  return { ids, labels: ids.map((_, i) => (i < 2 ? -100 : (ids[i + 1] ?? -100))) }
})

/** A distillation of four steps, two micro-batches each. `change` may replace the objective. */
function distilled(on: Device, dtype: FloatDType, change = (objective: Objective): Objective => objective) {
  const student = createDecoder(on, config, { seed: 1, dtype })
  const teacher = createDecoder(on, { ...config, hiddenSize: 48, headDim: 24 }, { seed: 2, dtype })
  const optimiser = new Optimiser(student.parameters)
  const objective = change(distillation(student, teacher, { divergence: 'forwardKL' }))
  const trainer = new Trainer(on, objective, optimiser, samples.slice(0, 4), samples.slice(4), {
    seed: 3,
    batchSize: 2,
    microBatchTokens: 12,
    steps: 4,
    learningRate: 1e-2,
    warmupSteps: 1,
    decay: 'cosine',
    maxGradNorm: 1,
    evalEvery: 2,
    patience: 0,
    checkpointEvery: 2,
  })
  const weights = async () => {
    const all = await Promise.all([...student.parameters.values()].map((p) => p.floats()))
    return Float32Array.from(all.flatMap((w) => [...w]))
  }
  return { student, trainer, weights }
}

const metricsIn = async (out: string) =>
  (await readFile(at(out, 'metrics.jsonl'), 'utf8'))
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { step: number; loss?: number; validation?: { loss: number } })

const run = ({ trainer, student }: ReturnType<typeof distilled>, out: string, more = {}) =>
  runTraining(trainer, student, { out: at(out), tokenizerFrom: at('tokenizer'), ...more })

describe.each(['float32', 'bfloat16'] as const)('a distillation in %s', (dtype) => {
  let whole: Float32Array
  beforeAll(async () => {
    const all = distilled(device, dtype)
    expect(await run(all, `${dtype}-whole`)).toBe('finished')
    whole = await all.weights()
  }, 300_000)

  /** Every file of a run that ended is that of the run that was never interrupted. */
  async function expectSame(out: string): Promise<void> {
    for (const name of ['metrics.jsonl', 'model/model.safetensors', 'checkpoints/step-00000004/optimiser.safetensors'])
      expect((await readFile(at(out, name))).equals(await readFile(at(`${dtype}-whole`, name))), name).toBe(true)
  }

  test('learns', async () => {
    const losses = (await metricsIn(`${dtype}-whole`)).flatMap(({ loss }) => loss ?? [])
    expect(losses).toHaveLength(4)
    expect(losses[3]).toBeLessThan(losses[0]!)
  })

  test('is interrupted and goes on in another trainer with the same bits', async () => {
    const controller = new AbortController()
    const first = distilled(device, dtype)
    const listener = { onStep: ({ step }: { step: number }) => (step === 3 ? controller.abort() : undefined) }
    expect(await run(first, `${dtype}-parts`, { signal: controller.signal, listener })).toBe('interrupted')
    const second = distilled(device, dtype)
    expect(await run(second, `${dtype}-parts`, { resume: true })).toBe('finished')
    expect(await second.weights()).toEqual(whole)
    await expectSame(`${dtype}-parts`)
  })

  test('fails within a step, after one of its micro-batches, and goes on from the checkpoint with the same bits', async () => {
    let micro = 0
    const failing = distilled(device, dtype, (objective) => ({
      ...objective,
      loss(batch, scale) {
        if (device.tape && ++micro === 6) throw new Error('the second micro-batch of the third step')
        return objective.loss(batch, scale)
      },
    }))
    const out = `${dtype}-failed`
    await expect(run(failing, out)).rejects.toThrow(/second micro-batch of the third step.*step-00000002/)
    expect(await run(failing, out, { resume: true })).toBe('finished')
    expect(await failing.weights()).toEqual(whole)
    await expectSame(out)
  })

  test.skipIf(device.kind === 'cpu' || dtype === 'bfloat16')('comes to what it comes to on the CPU', async () => {
    const cpu = Device.open('cpu')
    const there = distilled(cpu, dtype)
    await run(there, 'cpu')
    const [ours, theirs] = [await metricsIn(`${dtype}-whole`), await metricsIn('cpu')]
    for (const [i, { loss, validation }] of theirs.entries()) {
      const pairs = [
        [ours[i]!.loss, loss],
        [ours[i]!.validation?.loss, validation?.loss],
      ]
      for (const [a, b] of pairs) if (b !== undefined) expect(Math.abs(a! / b - 1)).toBeLessThan(1e-5)
    }
    expect(relativeError(whole, await there.weights())).toBeLessThan(1e-4)
    await cpu.close()
  })
})

test('a step that fails before it waits has no error of a kernel left that nobody handles', async () => {
  let micro = 0
  const { trainer } = distilled(device, 'float32', (objective) => ({
    ...objective,
    loss(batch, scale) {
      if (++micro === 2) throw new Error('the second micro-batch')
      return objective.loss(batch, scale)
    },
  }))
  const bad = { ids: Int32Array.of(1, config.vocabSize), labels: Int32Array.of(1, -100) }
  const options = { ...trainer.options, microBatchTokens: 2 }
  const failing = new Trainer(device, trainer.objective, trainer.optimiser, [bad, bad], [], options)
  await expect(failing.step()).rejects.toThrow('the second micro-batch')
  await device.synchronize() // the error went to the read of the first, and vitest fails on a rejection that nobody handles
  expect((await device.tensor([1]).floats())[0]).toBe(1)
})
