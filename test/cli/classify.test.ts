import { existsSync } from 'node:fs'
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { beforeAll, describe, expect, it, vi } from 'vitest'
import { type ClassifyTrainSettings, classifyTrain } from '../../lib/cli/classifyTrain.js'
import { makeData } from '../../lib/cli/data.js'
import { evaluate } from '../../lib/cli/eval.js'
import { rateAndExplain } from '../../lib/cli/fit.js'
import { softLabels } from '../../lib/cli/softLabels.js'
import { readDataset, readPairs, writeDataset } from '../../lib/fit/dataset.js'
import { buildModel, parseModelConfig, readModelConfig } from '../../lib/models/families.js'
import { openFolder, saveFolder } from '../../lib/models/folder.js'
import { randomWeights } from '../../lib/models/initialise.js'
import { readSafetensorsSync } from '../../lib/models/safetensors.js'
import { Tokenizer } from '../../lib/text/tokenizer.js'
import { roundBf16, testDevice } from '../support.js'
import { temporaryFolder, writeTinyModel, writeTinyTokenizer } from '../tiny.js'

vi.setConfig({ testTimeout: 240_000, hookTimeout: 240_000 }) // real trainings, on a machine that may be busy
const device = testDevice()
const root = temporaryFolder()
const lines: string[] = []
const context = { device, print: (line: string) => void lines.push(line) }
const at = (...parts: string[]) => join(root, ...parts)
const training = { steps: 2, batchSize: 4, learningRate: 3e-3, checkpointEvery: 1 }

/** Trains, and hands back where the model is and what was printed. */
async function trained(name: string, settings: Partial<ClassifyTrainSettings>) {
  lines.length = 0
  const all = { model: at('base'), data: at('data'), training, out: at(name), ...settings }
  const { end, model } = await classifyTrain(all, context)
  expect(end).toBe('finished')
  return { model, config: await readModelConfig(join(model, 'config.json')), printed: lines.join('\n') }
}

/** Scores a classifier on the test pairs, all of which it has to rate. */
async function scored(classifier: string) {
  const scores = (await evaluate({ classifier, data: at('data', 'test.jsonl') }, context)).classifier!
  const pairs = (await readFile(at('data', 'test.jsonl'), 'utf8')).trim().split('\n').length
  expect(scores.confusion.flat().reduce((a, b) => a + b)).toBe(pairs)
  return scores
}

/** The tokenizer of `from` without a chat template, which puts these around a text. */
async function plainTokenizer(folder: string, from: string, around: { first?: string; last?: string }): Promise<void> {
  const tokenizer = JSON.parse(await readFile(join(from, 'tokenizer.json'), 'utf8'))
  const { chat_template: _, ...config } = JSON.parse(await readFile(join(from, 'tokenizer_config.json'), 'utf8'))
  const token = (id?: string) => (id === undefined ? [] : [{ SpecialToken: { id, type_id: 0 } }])
  const single = [...token(around.first), { Sequence: { id: 'A', type_id: 0 } }, ...token(around.last)]
  const specials = Object.values(around).map((id) => {
    const known = tokenizer.added_tokens.find((t: { content: string }) => t.content === id)
    return [id, { id, ids: [known.id], tokens: [id] }]
  })
  const post_processor = {
    type: 'TemplateProcessing',
    single,
    pair: single,
    special_tokens: Object.fromEntries(specials),
  }
  await writeFile(join(folder, 'tokenizer.json'), JSON.stringify({ ...tokenizer, post_processor }))
  await writeFile(join(folder, 'tokenizer_config.json'), JSON.stringify(config))
}

beforeAll(async () => {
  await writeTinyTokenizer(at('tokenizer'))
  await writeTinyModel(device, at('base'), { tokenizerFrom: at('tokenizer') })
  await makeData({ out: at('data'), pairs: 18, seed: 5, validation: 0.2, test: 0.2 }, () => {})
  await mkdir(at('train-only'))
  await copyFile(at('data', 'train.jsonl'), at('train-only', 'train.jsonl'))
})

describe('structures', () => {
  it('two towers, by concat unless told otherwise', async () => {
    const { model, config, printed } = await trained('concat', { structure: 'twoTower', pooling: 'mean' })
    expect(config).toMatchObject({
      numLabels: 3,
      id2label: ['low', 'medium', 'high'],
      twoTower: { interaction: 'concat', hiddenSize: 32 },
      pooling: 'mean',
    })
    expect(printed).toContain('classifier: two towers that meet by concat, pooling mean, all weights trained')
    expect(printed).toContain('attention: causal (is_causal: true)')
    await scored(model)
  })

  it('two towers by dot, over a frozen encoder, and further from there', async () => {
    const settings = { structure: 'twoTower', interaction: 'dot', frozen: true } as const
    const { model, config, printed } = await trained('dot', settings)
    expect(config.twoTower).toEqual({ interaction: 'dot' })
    expect(printed).toContain('pooling last, encoder frozen')
    const [base, after] = [at('base'), model].map((path) => readSafetensorsSync(join(path, 'model.safetensors')))
    for (const [name, { data }] of Object.entries(base!))
      expect(after![name]!.data, name).toEqual(roundBf16(data as Float32Array))
    const checkpoint = readSafetensorsSync(at('dot', 'checkpoints', 'step-00000002', 'model.safetensors'))
    expect(Object.keys(checkpoint)).toEqual(['two_tower.score.weight'])
    const further = await trained('dot-further', { model })
    expect(further.config.twoTower).toEqual({ interaction: 'dot' })
  })

  it('a frozen run that was interrupted ends with the same bits', async () => {
    const controller = new AbortController()
    const settings = { model: at('base'), data: at('data'), training, frozen: true }
    const listener = { onStep: () => controller.abort() }
    const half = { ...settings, out: at('halves') }
    expect((await classifyTrain(half, { ...context, signal: controller.signal, listener })).end).toBe('interrupted')
    await classifyTrain({ ...half, resume: true }, context)
    const whole = await trained('whole', { frozen: true })
    const weights = (path: string) => readFile(join(path, 'model.safetensors'))
    expect((await weights(at('halves', 'model'))).equals(await weights(whole.model))).toBe(true)
  })

  it.each([
    [{ interaction: 'dot' }, 'interaction: dot is of two towers'],
    [{ structure: 'twoTower', interaction: 'dot', classifierHidden: 8 }, 'have no hidden layer'],
    [{ pooling: 'cls' }, 'pooling is cls; a model of the family qwen2 has last, mean'],
    [{ softLabels: true }, 'has no probabilities; write them with lantern soft-labels'],
  ] as const)('%j is refused', async (settings, message) => {
    const all = { model: at('base'), data: at('data'), out: at('refused'), training, ...settings }
    await expect(classifyTrain(all, context)).rejects.toThrow(message)
  })
})

describe('class weights', () => {
  const first = async (name: string) => JSON.parse((await readFile(at(name, 'metrics.jsonl'), 'utf8')).split('\n')[0]!)

  it('balanced is inverse to how often a level occurs, and the same as its three numbers', async () => {
    const counts = { low: 0, medium: 0, high: 0 }
    for await (const { level } of readDataset(at('data', 'train.jsonl'))) counts[level]++
    const total = counts.low + counts.medium + counts.high
    const [low, medium, high] = [counts.low, counts.medium, counts.high].map((n) => total / (3 * n))
    await trained('balanced', { classWeights: 'balanced' })
    await trained('numbers', { classWeights: [low!, medium!, high!] })
    await trained('double', { classWeights: [2 * low!, 2 * medium!, 2 * high!] })
    expect(await first('numbers')).toEqual(await first('balanced'))
    expect((await first('double')).loss).toBeCloseTo(2 * (await first('balanced')).loss, 5)
  })
})

describe('calibration', () => {
  it('fits a temperature to validation.jsonl, stores it and tells', async () => {
    const settings = { model: at('base'), data: at('data'), out: at('calibrated'), training: { ...training, steps: 6 } }
    lines.length = 0
    const { model, calibration } = await classifyTrain(settings, context)
    const { temperature, ece } = calibration!
    const path = join(model, 'config.json')
    expect((await readModelConfig(path)).classifierTemperature).toBe(temperature)
    expect(lines.join('\n')).toContain(
      `calibration: ECE ${ece.calibrated.toFixed(4)} at temperature ${temperature.toFixed(3)} (${ece.raw.toFixed(4)} without)`,
    )
    const held = { classifier: model, data: at('data', 'validation.jsonl') }
    const scores = (await evaluate(held, context)).classifier!
    expect(scores.temperature).toBe(temperature)
    expect(scores.ece.calibrated).toBeCloseTo(ece.calibrated, 6)
    expect(scores.ece.raw).toBeCloseTo(ece.raw, 6)
    expect(scores.kept).toEqual({ threshold: 0, coverage: 1, accuracy: scores.accuracy })
    const none = await evaluate({ ...held, abstain: 1, json: at('abstain.json') }, context)
    expect(none.classifier!.kept).toEqual({ threshold: 1, coverage: 0, accuracy: null })
    expect(JSON.parse(await readFile(at('abstain.json'), 'utf8')).classifier).toMatchObject({
      temperature,
      ece: scores.ece,
    })
    expect(lines.join('\n')).toMatch(/kept +0\.0 % +at 1 or above, accuracy none/)
  })

  it('lantern fit abstains where no level reaches the threshold', async () => {
    const { model } = await trained('towers-fit', { structure: 'twoTower' })
    const pair = { job: 'examples/job.json', profile: 'examples/profile.json' }
    const rate = (abstain: number) =>
      rateAndExplain({ ...pair, classifier: model, explainer: at('base'), maxTokens: 2, abstain }, context)
    lines.length = 0
    const sure = await rate(0)
    const { low, medium, high } = sure.probabilities
    expect(lines[0]).toMatch(new RegExp(`^Rated ${sure.level} \\(low `))
    lines.length = 0
    expect(await rate(Math.max(low, medium, high) + 1e-3)).toMatchObject({ level: 'abstain' })
    expect(lines[0]).toMatch(/^Abstained \(low [\d.]+ %, medium [\d.]+ %, high [\d.]+ %\)/)
  })

  it('is said to be left out where there is nothing to calibrate on', async () => {
    const { config, printed } = await trained('uncalibrated', { data: at('train-only') })
    expect(config.classifierTemperature).toBeUndefined()
    expect(printed).toContain('calibration: none')
  })
})

describe('a pair longer than the positions of the model', () => {
  it('is cut in training, and refused where it is to be rated', async () => {
    await writeTinyModel(device, at('short'), { tokenizerFrom: at('tokenizer'), config: { maxPositionEmbeddings: 64 } })
    const { model, printed } = await trained('short-run', { model: at('short') })
    expect(printed).toMatch(/train\.jsonl: \d+ samples, \d+ tokens; [1-9]\d* cut to 64 tokens, 0 left out/)
    const [pair] = await readPairs(at('data', 'test.jsonl'))
    const refusal = new RegExp(`pair ${pair!.id} has \\d+ tokens, and .*model has 64 positions; shorten`)
    const settings = { classifier: model, data: at('data', 'test.jsonl') }
    await expect(evaluate(settings, context)).rejects.toThrow(refusal)
    await expect(softLabels({ classifier: model, data: at('data'), out: at('never') }, context)).rejects.toThrow(
      /tokens, and .* has 64 positions/,
    )
    expect(existsSync(at('never', 'train.jsonl'))).toBe(false)
  })
})

describe('soft labels', () => {
  const losses = async (name: string): Promise<number[]> => {
    const metrics = (await readFile(at(name, 'metrics.jsonl'), 'utf8')).trim().split('\n')
    return metrics.map((line) => JSON.parse(line)).flatMap(({ loss }) => loss ?? [])
  }

  it('are what the teacher thinks of every pair: it is nowhere off them itself', async () => {
    const teacher = await trained('teacher', {
      data: at('train-only'), // not calibrated: its labels are then what its logits say
      training: { ...training, steps: 6, learningRate: 1e-2 },
    })
    await softLabels({ classifier: teacher.model, data: at('data'), out: at('soft') }, context)
    for await (const { probabilities } of readDataset(at('soft', 'train.jsonl')))
      expect(probabilities!.low + probabilities!.medium + probabilities!.high).toBeCloseTo(1, 9)
    const settings = { data: at('soft'), softLabels: true, training: { ...training, precision: 'float32' } } as const
    await trained('same', { ...settings, model: teacher.model })
    expect((await losses('same'))[0]).toBeLessThan(1e-6)
    await trained('base-on-soft', settings)
    expect((await losses('base-on-soft'))[0]).toBeGreaterThan(1e-5)
  })

  it('are learnt in place of the levels', async () => {
    const pairs = []
    for await (const pair of readDataset(at('data', 'train.jsonl')))
      pairs.push({ ...pair, probabilities: { low: 0.8, medium: 0.15, high: 0.05 } })
    await writeDataset(at('sure', 'train.jsonl'), pairs)
    const settings = { data: at('sure'), softLabels: true, training: { ...training, steps: 12, learningRate: 1e-2 } }
    await trained('student', { ...settings, structure: 'twoTower' })
    const [first, last] = [(await losses('student'))[0]!, (await losses('student')).at(-1)!]
    const fromUniform = Math.log(3) + 0.8 * Math.log(0.8) + 0.15 * Math.log(0.15) + 0.05 * Math.log(0.05)
    expect(first).toBeCloseTo(fromUniform, 1)
    expect(last).toBeLessThan(first / 4)
  })
})

describe('families without a chat template', () => {
  it.each([
    ['seqCls', undefined],
    ['twoTower', 'cls'],
  ] as const)('ModernBERT as %s', async (structure, pooling) => {
    const config = parseModelConfig({
      model_type: 'modernbert',
      architectures: ['ModernBertModel'],
      vocab_size: (await Tokenizer.fromFolder(at('tokenizer'))).vocabSize,
      hidden_size: 32,
      num_hidden_layers: 3,
      num_attention_heads: 2,
      intermediate_size: 48,
      max_position_embeddings: 2048,
      local_attention: 32,
      classifier_pooling: 'mean',
    })
    using model = buildModel(device, config, randomWeights(device, { seed: 3, layers: 3 }))
    const tensors = [...model.parameters].map(([name, tensor]) => ({ name, tensor }))
    const folder = at(`modernbert-${structure}`)
    await saveFolder(folder, { config, tensors, tokenizerFrom: at('tokenizer') })
    await plainTokenizer(folder, at('tokenizer'), { first: '<|im_start|>', last: '<|im_end|>' })
    const done = await trained(`modernbert-${structure}-run`, { model: folder, structure, pooling })
    expect(done.config.pooling).toBe(pooling ?? 'mean')
    expect(done.printed).toContain('attention: bidirectional (is_causal: false)')
    await scored(done.model)
    await expect(trained('never', { model: folder, classifierHidden: 8 })).rejects.toThrow(
      'the head of ModernBERT has a hidden layer of its own',
    )
  })

  it('gte: a decoder whose config does not say that it is bidirectional', async () => {
    await writeTinyModel(device, at('gte'), { tokenizerFrom: at('tokenizer'), config: { bare: true } })
    const json = JSON.parse(await readFile(at('gte', 'config.json'), 'utf8'))
    await writeFile(at('gte', 'config.json'), JSON.stringify({ ...json, is_causal: undefined }))
    await plainTokenizer(at('gte'), at('tokenizer'), { last: '<|endoftext|>' })
    const { model, config, printed } = await trained('gte-run', { model: at('gte'), bidirectional: true })
    expect(config.causal).toBe(false)
    expect(printed).toContain('attention: bidirectional (is_causal: false)')
    await scored(model)
    using folder = await openFolder(device, model)
    expect(folder.verify()).toEqual([])
  })
})
