import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { type PlanSettings, plan } from '../../lib/cli/plan.js'
import { forwardFlops } from '../../lib/distill/objectives.js'
import { ArgumentError } from '../../lib/errors.js'
import type { Model } from '../../lib/models/model.js'
import { bytesText } from '../../lib/plan/bytesText.js'
import { CARDS } from '../../lib/plan/cards.js'
import type { PlanRequest } from '../../lib/plan/changes.js'
import { machineOf } from '../../lib/plan/machine.js'
import { type Plan, planTraining } from '../../lib/plan/plan.js'
import { publishedModels, resolveConfig, smallerModels } from '../../lib/plan/published.js'
import { planStep } from '../../lib/plan/step.js'
import { timeBound } from '../../lib/plan/time.js'
import { temporaryFolder } from '../tiny.js'

const folder = temporaryFolder()
const [a100, h100, rtx4090] = CARDS.map(machineOf)

const request = async (changes: Partial<PlanRequest> = {}): Promise<PlanRequest> => ({
  student: await resolveConfig('Qwen2.5-1.5B'),
  teacher: await resolveConfig('Qwen/Qwen2.5-7B'),
  precision: 'bfloat16',
  recompute: false,
  length: 8192,
  batch: 8,
  microBatch: 8,
  ...changes,
})

test('weights, master weights, moments and gradients are those of the parameters', async () => {
  const { memory } = await planTraining(await request(), h100!)
  const of = (name: string) => memory.parts.find((p) => p.name === name)?.bytes
  const [student, teacher] = [1_543_714_304, 7_615_616_512]
  expect(of("student's weights")).toBe(2 * student)
  expect(of('master weights')).toBe(4 * student)
  expect(of("optimiser's moments")).toBe(8 * student + 56 * 338) // 12 tensors a layer, embedding and norm
  expect(of('gradients')).toBe(4 * student)
  expect(of("teacher's weights")).toBe(2 * teacher)
  expect(of('rope tables')).toBe(2 * 131072 * 128 * 4)
  expect(memory.needed).toBe(memory.parts.reduce((n, { bytes }) => n + bytes, 0))
})

test.each(publishedModels())('a plan of %s can be made for every card, with figures that are finite', async (name) => {
  const config = await resolveConfig(name)
  const student = config.modelType === 'modernbert' ? { ...config, numLabels: 3 } : config
  for (const machine of [a100!, h100!, rtx4090!]) {
    const { memory, time } = await planTraining(
      await request({ student, teacher: null, length: 512, batch: 2, microBatch: 2 }),
      machine,
    )
    for (const { bytes } of memory.parts) expect(bytes).toBeGreaterThan(0)
    for (const { seconds } of time.parts) expect(seconds).toBeGreaterThan(0)
    expect(Number.isFinite(time.tokensPerSecond)).toBe(true)
  }
})

describe('what does not fit', () => {
  test('gets changes that do what they say, and what costs time alone comes first', async () => {
    const { fits, remedies, memory } = await planTraining(await request(), h100!)
    expect(fits).toBe(false)
    for (const { request: changed, bytes, fits } of remedies) {
      const again = await planTraining(changed, h100!)
      expect(again.memory.needed).toBe(bytes)
      expect(again.fits).toBe(fits)
      expect(bytes).toBeLessThan(memory.needed)
    }
    const words = remedies.map((r) => r.change.split(/ \d|,/)[0])
    expect(words.slice(0, 2)).toEqual(['micro-batches of', 'recompute'])
    expect(words.slice(2)).toEqual([
      'sequences of',
      'train on texts the teacher wrote',
      'teacher Qwen2.5-3B',
      'student Qwen2.5-0.5B',
    ])
  })

  test('gets the largest micro-batch that fits', async () => {
    const { remedies } = await planTraining(await request({ length: 1024, batch: 64, microBatch: 64 }), h100!)
    const { microBatch } = remedies[0]!.request
    expect(remedies[0]!.fits).toBe(true)
    expect(
      (await planTraining(await request({ length: 1024, batch: 64, microBatch: microBatch + 1 }), h100!)).fits,
    ).toBe(false)
  })

  test('gets no recomputation where the encoder is frozen: nothing of it is recorded', async () => {
    const student = { ...(await resolveConfig('ModernBERT-large')), numLabels: 3 }
    const frozen = await request({ student, teacher: null, frozen: true, batch: 4096, microBatch: 4096 })
    const { remedies, memory, other } = await planTraining(frozen, rtx4090!)
    expect(other).toEqual(memory)
    expect(remedies[0]!.fits).toBe(true)
    for (const { change } of remedies) expect(change).not.toContain('recompute')
  })

  test('is told apart from what can be made to fit by nothing', async () => {
    const { remedies } = await planTraining(await request({ student: await resolveConfig('Qwen2.5-7B') }), rtx4090!)
    expect(remedies.slice(0, 3).map((r) => r.fits)).toEqual([false, false, false])
  })
})

test('smaller models are of the family and use, the largest first', async () => {
  const names = async (of: string) => (await smallerModels(await resolveConfig(of))).map(({ name }) => name)
  expect(await names('Qwen2.5-7B')).toEqual(['Qwen2.5-3B', 'Qwen2.5-1.5B', 'Qwen2.5-0.5B'])
  expect(await names('ModernBERT-large')).toEqual(['ModernBERT-base'])
  expect(await names('Qwen2.5-0.5B')).toEqual([])
})

test.each(['Qwen2.5-0.5B', 'Qwen3-8B', 'Phi-3-mini-4k-instruct'])(
  'products of %s are those of the formula by which training reports its speed',
  async (name) => {
    const student = await resolveConfig(name)
    const { ledger } = planStep({
      student,
      precision: 'bfloat16',
      sequences: 2,
      length: 2000,
      device: h100!.device,
    })
    const flops = (...parts: string[]) => ledger.work.reduce((n, w) => n + (parts.includes(w.part) ? w.flops : 0), 0)
    const ids = new Int32Array(2000)
    const sample = { ids, labels: ids }
    const model = { config: { ...student, slidingWindow: null } } as Model
    const forward = forwardFlops(model, [sample, sample])
    const headForward = flops('head') / 3
    expect((flops('student forward') + headForward) / forward).toBeCloseTo(1, 3)
    expect(flops('student backward') / flops('student forward')).toBeGreaterThan(2)
  },
)

test('a kernel takes the longer of its products and its bytes; a part is limited by what most of its time waits for', () => {
  const machine = { ...h100!, bandwidth: 100, flops: { bfloat16: 1000, float32: 10 } }
  const bound = timeBound(
    [
      { part: 'student forward', flops: 3000, dtype: 'bfloat16', bytes: 200 }, // 3 s against 2 s
      { part: 'student forward', flops: 100, dtype: 'bfloat16', bytes: 100 }, // 0.1 s against 1 s
      { part: 'head', flops: 70, dtype: 'float32', bytes: 10 }, // 7 s against 0.1 s
      { part: 'optimiser', flops: 0, dtype: 'float32', bytes: 500 },
    ],
    machine,
    2,
    54,
  )
  expect(bound.parts.map(({ part, seconds, limit }) => [part, seconds, limit])).toEqual([
    ['student forward', 8, 'compute'],
    ['head', 14, 'compute'],
    ['optimiser', 5, 'memory'],
  ])
  expect(bound).toMatchObject({ seconds: 27, limit: 'compute', tokensPerSecond: 2 })
})

describe('lantern plan', () => {
  test('prints memory, verdict and time, and writes the same figures', async () => {
    const lines: string[] = []
    const json = join(folder, 'plan.json')
    const models = { student: 'Qwen2.5-1.5B', teacher: 'Qwen2.5-7B' }
    const settings = { ...models, gpu: 'h100', seq: 8192, batch: 8, samples: 1000, json } as const
    const planned = await plan(settings, (line) => lines.push(line))
    const figures = JSON.parse(readFileSync(json, 'utf8'))
    expect(figures.memory).toEqual(JSON.parse(JSON.stringify(planned.memory)))
    expect(figures.fits).toBe(false)
    const text = lines.join('\n')
    expect(text).toContain('Qwen2.5-1.5B (1.54 B parameters) learns from Qwen2.5-7B (7.62 B parameters), on H100')
    expect(text).toContain('8 sequences of 8,192 tokens a step, 8 at once; bfloat16')
    for (const { name, bytes } of planned.memory.parts) {
      const line = text.split('\n').find((l) => l.startsWith(name))
      expect(line, name).toContain(bytesText(bytes))
    }
    for (const { change } of planned.remedies) expect(text).toContain(change)
    const minutes = ((1000 / 8) * planned.time.seconds) / 60
    expect(text).toContain(`1,000 samples take ${minutes.toFixed(1)} minutes at least`)
  })

  test('plans an encoder as a classifier, and a folder on this machine', async () => {
    const lines: string[] = []
    await plan({ student: 'ModernBERT-base', gpu: 'rtx4090', seq: 512 }, (line) => lines.push(line))
    expect(lines.join('\n')).toContain('a classifier of 3 classes')
    expect(lines.join('\n')).toMatch(/^To rate 16 sequences at once, without training: \d/m)
    const here = await plan({ student: 'assets/student', teacher: 'assets/teacher' }, () => {})
    expect(here.fits).toBe(true)
    expect(here.memory.parts.find((p) => p.mapped)?.name).toBe("teacher's weights")
  })

  test('plans a classifier whose encoder is frozen, in one column', async () => {
    const lines: string[] = []
    const settings = { student: 'ModernBERT-base', gpu: 'rtx4090', seq: 512 } as const
    const { memory } = await plan({ ...settings, frozen: true }, (line) => lines.push(line))
    const text = lines.join('\n')
    expect(text).toContain('its head alone, over a frozen encoder')
    expect(text).toMatch(/^memory +encoder frozen$/m)
    expect(text).toMatch(/^the frozen encoder's weights +\d/m)
    const trained = await plan(settings, () => {})
    expect(memory.needed).toBeLessThan(trained.memory.needed / 2)
  })

  test('plans two towers, whose texts are read apart', async () => {
    const lines: string[] = []
    const settings = { student: 'gte-Qwen2-1.5B-instruct', gpu: 'h100', seq: 4096 } as const
    const towers = await plan({ ...settings, structure: 'twoTower' }, (line) => lines.push(line))
    const together = await plan({ ...settings, structure: 'seqCls' }, () => {})
    expect(lines.join('\n')).toContain('16 pairs of 4,096 tokens')
    expect(towers.memory.needed).toBeGreaterThan(together.memory.needed) // a dense layer
    const flops = ({ time }: Plan) => time.parts.reduce((n, p) => n + p.flops, 0)
    expect(flops(towers)).toBeLessThan(flops(together)) // half the pairs of a query and a key
  })

  test.each<[PlanSettings, string]>([
    [{ student: 'Qwen2.5-0.5B', frozen: true }, 'frozen is of a classifier, and Qwen2.5-0.5B is none; give --labels'],
    [{ student: 'ModernBERT-base', interaction: 'dot' }, 'dot is of two towers; set structure to twoTower'],
    [{ student: 'Qwen9' }, 'Qwen9 is neither a folder with a config.json, nor a pulled model, nor a published one'],
    [{ student: 'ModernBERT-base', teacher: 'Qwen2.5-7B' }, 'leave the teacher out'],
    [{ student: 'Phi-3-mini-4k-instruct', seq: 5000 }, 'takes 4,096 tokens at most, not 5,000'],
  ])('refuses %o', async (settings, message) => {
    const failed = plan({ gpu: 'h100', ...settings }, () => {})
    await expect(failed).rejects.toThrow(ArgumentError)
    await expect(failed).rejects.toThrow(message)
  })
})
