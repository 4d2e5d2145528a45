import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { beforeAll, describe, expect, it, vi } from 'vitest'
import { type ClassifyTrainSettings, classifyTrain } from '../../lib/cli/classifyTrain.js'
import { makeData } from '../../lib/cli/data.js'
import { evaluate } from '../../lib/cli/eval.js'
import { softLabels } from '../../lib/cli/softLabels.js'
import { readDataset } from '../../lib/fit/dataset.js'
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

describe('soft labels', () => {
  it('a student learns what its teacher thinks', async () => {
    const teacher = await trained('teacher', { training: { ...training, steps: 6, learningRate: 1e-2 } })
    await softLabels({ classifier: teacher.model, data: at('data'), out: at('soft') }, context)
    for await (const { probabilities } of readDataset(at('soft', 'train.jsonl')))
      expect(probabilities!.low + probabilities!.medium + probabilities!.high).toBeCloseTo(1, 9)
    const settings = { data: at('soft'), softLabels: true, training: { ...training, steps: 8, learningRate: 1e-2 } }
    await trained('student', { ...settings, structure: 'twoTower' })
    const metrics = (await readFile(at('student', 'metrics.jsonl'), 'utf8')).trim().split('\n')
    const losses = metrics.map((line) => JSON.parse(line)).flatMap(({ loss }) => loss ?? [])
    expect(losses.at(-1)).toBeLessThan(losses[0])
    // The teacher itself is nowhere off its own labels.
    await trained('same', { ...settings, model: teacher.model, training: { ...training, learningRate: 1e-9 } })
    const [start] = (await readFile(at('same', 'metrics.jsonl'), 'utf8')).split('\n')
    expect(JSON.parse(start!).loss).toBeLessThan(1e-3)
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
