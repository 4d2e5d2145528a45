import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { beforeAll, describe, expect, it, vi } from 'vitest'
import { classifyTrain } from '../../lib/cli/classifyTrain.js'
import { makeData } from '../../lib/cli/data.js'
import { distill } from '../../lib/cli/distill.js'
import { evaluate } from '../../lib/cli/eval.js'
import { generate } from '../../lib/cli/generate.js'
import { train } from '../../lib/cli/train.js'
import { readProvenance } from '../../lib/fit/dataset.js'
import type { StepReport } from '../../lib/train/trainer.js'
import { testDevice } from '../support.js'
import { temporaryFolder, writeTinyModel, writeTinyTokenizer } from '../tiny.js'

vi.setConfig({ testTimeout: 240_000, hookTimeout: 240_000 }) // real trainings, on a machine that may be busy
const device = testDevice()
const root = temporaryFolder()
const lines: string[] = []
const context = { device, print: (line: string) => void lines.push(line) }
const at = (...parts: string[]) => join(root, ...parts)
const training = { steps: 4, batchSize: 4, learningRate: 3e-3, evalEvery: 2, checkpointEvery: 0 }

describe('from data to scores', () => {
  beforeAll(async () => {
    await writeTinyTokenizer(at('tokenizer'))
    await writeTinyModel(device, at('base'), { tokenizerFrom: at('tokenizer') })
    await writeTinyModel(device, at('small'), { tokenizerFrom: at('tokenizer'), seed: 2, hiddenSize: 16 })
  })

  it('makes the same data from the same seed', async () => {
    const result = await makeData({ out: at('data'), pairs: 18, seed: 5, validation: 0.2, test: 0.2 }, context.print)
    expect(result.levels).toEqual({ low: 6, medium: 6, high: 6 })
    expect(result.counts).toEqual({ 'train.jsonl': 12, 'validation.jsonl': 3, 'test.jsonl': 3 })
    expect(await readProvenance(at('data'))).toMatchObject({ seed: 5, counts: result.counts })
    await makeData({ out: at('again'), pairs: 18, seed: 5, validation: 0.2, test: 0.2 }, context.print)
    for (const name of Object.keys(result.counts))
      expect(await readFile(at('again', name), 'utf8')).toBe(await readFile(at('data', name), 'utf8'))
  })

  it('trains a teacher', async () => {
    lines.length = 0
    const steps: StepReport[] = []
    const listener = { onStep: (report: StepReport) => void steps.push(report) }
    const result = await train(
      { model: at('base'), data: at('data'), out: at('teacher'), training },
      { ...context, listener },
    )
    expect(result).toMatchObject({ end: 'finished', steps: 4, samples: 12, skipped: 0, best: { step: 4 } })
    expect(steps.map(({ step }) => step)).toEqual([1, 2, 3, 4])
    expect(steps[3]!.parts.loss).toBeLessThan(steps[0]!.parts.loss!)
    expect(result.best!.loss).toBeLessThan(Math.log(600))
    const progress = lines.filter((line) => /tok\/s/.test(line))
    expect(progress).toHaveLength(4)
    expect(new Set(progress.map((line) => line.indexOf('lr'))).size, progress.join('\n')).toBe(1)
    expect(JSON.parse(await readFile(at('teacher', 'model', 'made-with.json'), 'utf8'))).toMatchObject({
      command: 'lantern train',
      settings: { training: { steps: 4, decay: 'cosine' } },
    })
  })

  it('trains in bfloat16, and goes on after an interruption with the same bits', async () => {
    const settings = { model: at('base'), data: at('data'), training: { ...training, precision: 'bfloat16' as const } }
    const whole = await train({ ...settings, out: at('bf16') }, context)
    const controller = new AbortController()
    const listener = { onStep: ({ step }: StepReport) => (step === 2 ? controller.abort() : undefined) }
    const part = { ...settings, out: at('bf16-parts') }
    expect((await train(part, { ...context, listener, signal: controller.signal })).end).toBe('interrupted')
    const rest = await train({ ...part, resume: true }, context)
    expect(rest.best).toEqual(whole.best)
    const file = (out: string, name: string) => readFile(at(out, name))
    for (const name of ['model/model.safetensors', 'checkpoints/step-00000004/optimiser.safetensors', 'metrics.jsonl'])
      expect((await file('bf16-parts', name)).equals(await file('bf16', name)), name).toBe(true)
  })

  it('counts samples that are cut or left out', async () => {
    const settings = { model: at('base'), data: at('data'), training: { ...training, steps: 1, maxLength: 700 } }
    lines.length = 0
    const cut = await train({ ...settings, out: at('cut') }, context)
    expect(cut.truncated).toBeGreaterThan(0)
    expect(cut.samples).toBe(12)
    expect(lines.join('\n')).toContain('cut to 700 tokens')
    const left = await train(
      { ...settings, out: at('left'), training: { ...settings.training, longSamples: 'skip' } },
      context,
    )
    expect(left.skipped).toBe(cut.truncated)
    expect(left.samples).toBeLessThan(12)
  })

  it('stops early', async () => {
    const settings = {
      ...training,
      steps: 8,
      evalEvery: 1,
      patience: 2,
      learningRate: 1e-12,
      decay: 'constant' as const,
    }
    const result = await train({ model: at('base'), data: at('data'), out: at('early'), training: settings }, context)
    expect(result.end).toBe('early-stop')
    expect(result.steps).toBe(result.best!.step + 2)
  })

  it.each(['jensenShannon', 'forwardKL'] as const)('distils a smaller student: %s', async (divergence) => {
    const out = at(`student-${divergence}`)
    const settings = {
      model: at('small'),
      teacher: at('teacher', 'model'),
      data: at('data'),
      out,
      distill: { divergence },
      training,
    }
    const result = await distill(settings, context)
    expect(result).toMatchObject({ end: 'finished', steps: 4 })
    const metrics = (await readFile(join(out, 'metrics.jsonl'), 'utf8'))
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    const kd = metrics.filter((m) => 'kd' in m)
    expect(kd).toHaveLength(4)
    expect(kd[3].loss).toBeLessThan(kd[0].loss)
    expect(kd[0].loss).toBeCloseTo(0.1 * kd[0].ce + 0.9 * kd[0].kd, 5)
  })

  it('trains and scores a classifier and an explainer', async () => {
    const result = await classifyTrain(
      { model: at('base'), data: at('data'), out: at('classifier'), training },
      context,
    )
    expect(result.end).toBe('finished')
    lines.length = 0
    const model = at('student-jensenShannon', 'model')
    const settings = { classifier: at('classifier', 'model'), data: at('data', 'test.jsonl'), limit: 2, maxTokens: 8 }
    const scores = await evaluate({ model, ...settings, json: at('scores.json') }, context)
    expect(scores.classifier!.samples).toBe(2)
    expect(scores.classifier!.confusion.flat().reduce((a, b) => a + b)).toBe(2)
    expect(scores.explainer).toMatchObject({ samples: 2, leftOut: 0, explanation: { levelRight: 0 } })
    expect(scores.explainer!.perplexity).toBeCloseTo(Math.exp(scores.explainer!.loss), 6)
    expect(scores.explainer!.loss).toBeGreaterThan(4)
    expect(scores.explainer!.loss).toBeLessThan(7)
    expect(JSON.parse(await readFile(at('scores.json'), 'utf8')).explainer.generated).toHaveLength(2)
    expect(lines.join('\n')).toMatch(/ROUGE-Lsum[\s\S]*weighted F1/)
  })

  it('generates: greedy is repeatable, sampling follows the seed, a signal ends it', async () => {
    const model = at('teacher', 'model')
    const pieces: string[] = []
    const stream = { device, print: (text: string) => void pieces.push(text) }
    const first = await generate({ model, prompt: 'Job: Engineer', maxTokens: 12 }, stream)
    expect(first.tokens).toBeGreaterThan(0)
    expect(pieces.join('')).toBe(first.text)
    expect((await generate({ model, prompt: 'Job: Engineer', maxTokens: 12 }, context)).text).toBe(first.text)
    const drawn = async (seed: number) =>
      (await generate({ model, chat: 'Who?', maxTokens: 12, temperature: 1, seed }, context)).text
    expect(await drawn(1)).toBe(await drawn(1))
    expect(await drawn(1)).not.toBe(await drawn(2))
    const controller = new AbortController()
    const stopping = { device, signal: controller.signal, print: () => controller.abort() }
    const cut = await generate({ model, prompt: 'Job', maxTokens: 500, temperature: 1 }, stopping)
    expect(cut.interrupted).toBe(true)
    expect(cut.tokens).toBeLessThan(500)
  })

  it('leaves nothing on the device', async () => {
    const { live } = device.memory()
    await train({ model: at('base'), data: at('data'), out: at('leak'), training: { ...training, steps: 1 } }, context)
    expect(existsSync(at('leak', 'model', 'model.safetensors'))).toBe(true)
    await device.synchronize()
    expect(device.memory().live).toBeLessThanOrEqual(live)
  })
})
