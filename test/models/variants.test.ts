import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { languageModelling } from '../../lib/distill/objectives.js'
import { Engine } from '../../lib/generate/engine.js'
import { Decoder } from '../../lib/models/decoder.js'
import type { DecoderConfig } from '../../lib/models/decoderConfig.js'
import { parameterCount, parseModelConfig } from '../../lib/models/families.js'
import { openFolder } from '../../lib/models/folder.js'
import type { WeightSource } from '../../lib/models/model.js'
import type { ModernBertConfig } from '../../lib/models/modernbertConfig.js'
import { pack } from '../../lib/models/packed.js'
import { loadDecoder, loadModel } from '../../lib/models/registry.js'
import { crossEntropy } from '../../lib/ops/crossEntropy.js'
import { distillHead } from '../../lib/ops/distillHead.js'
import type { DivergenceKind } from '../../lib/ops/divergence.js'
import { cast } from '../../lib/ops/elementwise.js'
import { Tape } from '../../lib/tensor/tape.js'
import type { Tensor } from '../../lib/tensor/tensor.js'
import { QUICK, relativeError, testDevice } from '../support.js'
import { expectedOf, expectSmall, fixture, type Golden, goldenOf, gradientErrors, samplesOf } from './golden.js'

// What a family can be beyond its plain form, float32 against float64: windows, stretched contexts, files of other storage, classifiers.
const device = testDevice()
const idsOf = (golden: Golden) => samplesOf(golden).map((s) => s.ids)

describe.each(['qwen2-window', 'phi3-longrope-short', 'phi3-longrope-long', 'qwen2-f16'])('%s', (name) => {
  const golden = goldenOf(name)
  const expected = expectedOf(name)

  test('hidden states, logits, loss and every gradient', async () => {
    using model = await loadDecoder(device, fixture(name), { trainable: true })
    const samples = samplesOf(golden)
    const hidden = model.forward(pack(device, idsOf(golden)))
    expect(relativeError(await hidden.floats(), golden.last_hidden!.data as Float32Array)).toBeLessThan(2e-5)
    expect(relativeError(await model.logits(hidden).floats(), golden.logits!.data as Float32Array)).toBeLessThan(2e-5)
    const valid = samples.reduce((n, s) => n + s.labels.filter((y) => y !== -100).length, 0)
    using tape = new Tape(device)
    const { loss } = languageModelling(model).loss(samples, 1 / valid)
    tape.backward(loss)
    expect(Math.abs((await loss.item()) / expected.ce - 1)).toBeLessThan(2e-5)
    const graded = Object.keys(golden).some((key) => key.startsWith('grad.'))
    expect(graded).toBe(name !== 'qwen2-f16')
    if (graded) expectSmall(await gradientErrors(model, golden, 'grad.ce'), 2e-5)
  })
})

test('longrope: a sequence takes the long factors when it may become long, whatever it is now', async () => {
  const golden = goldenOf('phi3-longrope-long')
  using model = await loadDecoder(device, fixture('phi3-longrope-long'))
  const cu = golden['in_long.cu_seqlens']!.data as Int32Array
  const ids = golden['in_long.input_ids']!.data as Int32Array
  const sequences = Array.from({ length: cu.length - 1 }, (_, i) => ids.slice(cu[i], cu[i + 1]))
  const contexts = sequences.map(() => 33)
  const logits = await model.logits(model.forward(pack(device, sequences, { contexts }))).floats()
  expect(relativeError(logits, golden['in_long.logits']!.data as Float32Array)).toBeLessThan(2e-5)
  const short = await model.logits(model.forward(pack(device, sequences))).floats()
  expect(relativeError(short, golden['in_long.logits']!.data as Float32Array)).toBeGreaterThan(0.01)
})

describe.each(['modernbert-cls', 'qwen3-seqcls', 'phi3-seqcls'])('%s', (name) => {
  test('class logits, loss and every gradient', async () => {
    const golden = goldenOf(name)
    using model = await loadModel(device, fixture(name), { trainable: true })
    const labels = device.tensor(golden.class_labels!.data as Int32Array)
    using tape = new Tape(device)
    const logits = model.classify(pack(device, idsOf(golden)))
    const values = logits.floats()
    const { loss } = crossEntropy(logits, labels, { scale: 1 / labels.size })
    tape.backward(loss)
    expect(relativeError(await values, golden.logits!.data as Float32Array)).toBeLessThan(2e-5)
    expect(Math.abs((await loss.item()) / expectedOf(name).ce - 1)).toBeLessThan(2e-5)
    expectSmall(await gradientErrors(model, golden, 'grad.ce'), 2e-5)
  })
})

// On the PTX machine a part of them: it executes every lane.
const LENGTH = QUICK ? 16 : 200

describe('200 greedy tokens after prompts of uneven lengths, batched, are those of one prompt at a time', () => {
  test.each(Object.entries(expectedOf('generation')) as [string, { prompts: number[][]; continuations: number[][] }][])(
    '%s',
    async (name, { prompts, continuations }) => {
      using model = await loadDecoder(device, fixture(name))
      using engine = new Engine(model, { cacheTokens: 2048 })
      const got = await Promise.all(
        prompts.map(async (prompt) => {
          const ids: number[] = []
          for await (const { id } of engine.generate(prompt, { maxTokens: LENGTH, stop: [] })) ids.push(id)
          return ids
        }),
      )
      expect(continuations[0]).toHaveLength(200)
      expect(got).toEqual(continuations.map((ids) => ids.slice(0, LENGTH)))
    },
  )
})

describe('a teacher of 152,064 rows and a student of the first 151,936', () => {
  const name = 'qwen2-152064'
  const golden = goldenOf(name)
  const expected = expectedOf(name)
  const kinds = Object.keys(expected.truncate) as DivergenceKind[]

  test.each([
    ...kinds.map((kind) => ['truncate', kind] as const),
    ...(Object.keys(expected.mask) as DivergenceKind[]).map((kind) => ['mask', kind] as const),
  ])('%s, %s: the loss and its gradient', async (vocabularyPolicy, divergence) => {
    using teacher = await loadDecoder(device, fixture(name), { weights: 'float32' })
    using folder = await openFolder(device, `${fixture(name)}/student`)
    const rows = folder.config.vocabSize
    const source: WeightSource = (tensor, shape) =>
      folder.has(tensor) ? widened(folder.get(tensor, shape)) : teacher.headWeight.rows(0, rows)
    const student = new Decoder(device, folder.config as DecoderConfig, source)
    const batch = pack(device, idsOf(golden))
    const hidden = student.forward(batch)
    expect(relativeError(await hidden.floats(), golden.last_hidden!.data as Float32Array)).toBeLessThan(2e-5)
    const ofTeacher = teacher.forward(batch)
    expect(relativeError(await ofTeacher.floats(), golden['teacher.last_hidden']!.data as Float32Array)).toBeLessThan(
      2e-5,
    )

    const labels = device.tensor(golden.labels!.data as Int32Array)
    const valid = (golden.labels!.data as Int32Array).filter((y) => y !== -100).length
    hidden.requiresGrad = true
    using tape = new Tape(device)
    const { loss, parts } = distillHead({
      hidden,
      weight: student.headWeight,
      teacher: { hidden: ofTeacher, weight: teacher.headWeight },
      labels,
      divergence,
      ...(divergence === 'generalizedJS' && { beta: 0.1 }),
      vocabularyPolicy,
      scale: 1 / valid,
    })
    tape.backward(loss)
    const want = expected[vocabularyPolicy][divergence]
    expect(Math.abs((await loss.item()) / want.loss - 1)).toBeLessThan(1e-5)
    expect(Math.abs((await parts.floats())[1]! / valid / want.kd - 1)).toBeLessThan(1e-5)
    const gradient = golden[`grad.${vocabularyPolicy}.${divergence}`]!.data as Float32Array
    expect(relativeError(await hidden.grad!.floats(), gradient)).toBeLessThan(1e-5)
  })

  test('nothing is decided for the caller', async () => {
    using teacher = await loadDecoder(device, fixture(name))
    const [hidden, weight] = [device.zeros([2, 8]), teacher.headWeight]
    const labels = device.tensor(Int32Array.of(1, 2))
    const options = { hidden, weight: weight.rows(0, 151_936), teacher: { hidden, weight }, labels }
    expect(() => distillHead({ ...options, divergence: 'jensenShannon' })).toThrow(
      "has 151936 rows and the teacher's 152064; if token ids mean the same in both, set vocabularyPolicy",
    )
  })
})

/** A mapped bfloat16 tensor as float32. */
const widened = (t: Tensor): Tensor => device.persistent(() => cast(t, 'float32'))

test.each([
  ['Qwen2.5-0.5B', 494_032_768],
  ['Qwen2.5-0.5B-Instruct', 494_032_768],
  ['Qwen2.5-1.5B', 1_543_714_304],
  ['Qwen2.5-1.5B-Instruct', 1_543_714_304],
  ['Qwen2.5-3B', 3_085_938_688],
  ['Qwen2.5-3B-Instruct', 3_085_938_688],
  ['Qwen2.5-7B', 7_615_616_512],
  ['Qwen2.5-7B-Instruct', 7_615_616_512],
  ['Qwen3-8B', 8_190_735_360],
  ['Phi-3-mini-4k-instruct', 3_821_079_552],
  ['Phi-3-mini-128k-instruct', 3_821_079_552],
  ['gte-Qwen2-1.5B-instruct', 1_776_197_120],
  ['ModernBERT-base', 149_655_232],
  ['ModernBERT-large', 395_881_664],
])('the published config of %s makes %i parameters', (name, count) => {
  const config = parseModelConfig(JSON.parse(readFileSync(`assets/configs/${name}.json`, 'utf8')), name)
  expect(parameterCount(config)).toBe(count)
})

test.each([
  ['ModernBERT-base', 149_014_272],
  ['ModernBERT-large', 394_781_696],
])('the body of %s has %i of them', (name, count) => {
  const config = parseModelConfig(JSON.parse(readFileSync(`assets/configs/${name}.json`, 'utf8')), name)
  const body: ModernBertConfig = { ...(config as ModernBertConfig), bare: true }
  expect(parameterCount(body)).toBe(count)
})
