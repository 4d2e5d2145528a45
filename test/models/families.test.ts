import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { describe, expect, it, test } from 'vitest'
import { languageModelling } from '../../lib/distill/objectives.js'
import { Engine } from '../../lib/generate/engine.js'
import { configToJson, FAMILIES, parseModelConfig, readModelConfig } from '../../lib/models/families.js'
import { openFolder } from '../../lib/models/folder.js'
import { embed } from '../../lib/models/gte.js'
import { pack } from '../../lib/models/packed.js'
import { loadDecoder, loadModel } from '../../lib/models/registry.js'
import { crossEntropy } from '../../lib/ops/crossEntropy.js'
import { Tape } from '../../lib/tensor/tape.js'
import { relativeError, testDevice } from '../support.js'
import { expectedOf, expectSmall, fixture, goldenOf, gradientErrors, samplesOf } from './golden.js'

const device = testDevice()
const packed = (name: string) =>
  pack(
    device,
    samplesOf(goldenOf(name)).map((s) => s.ids),
  )

const peers = JSON.parse(readFileSync(fixture('bfloat16-peer.json'), 'utf8')).families
/** Float32: the arithmetic alone. Bfloat16: what PyTorch's own reaches on the same model and data (bfloat16_peer.py). */
const limit = (
  name: string,
  dtype: 'float32' | 'bfloat16',
  what: 'hidden' | 'logits' | 'gradients' | 'tensor',
): number => (dtype === 'float32' ? 2e-5 : peers[name][what])

describe.each(['qwen3', 'phi3'])('%s against float64', (name) => {
  const golden = goldenOf(name)
  const expected = expectedOf(name)
  const samples = samplesOf(golden)

  test.each(['float32', 'bfloat16'] as const)('hidden states, logits, loss and every gradient in %s', async (dtype) => {
    using model = await loadDecoder(device, fixture(name), { trainable: true, weights: dtype, activations: dtype })
    const hidden = model.forward(packed(name))
    const logits = await model.logits(hidden).floats()
    expect(relativeError(logits, golden.logits!.data as Float32Array)).toBeLessThan(limit(name, dtype, 'logits'))
    expect(relativeError(await hidden.floats(), golden.last_hidden!.data as Float32Array)).toBeLessThan(
      limit(name, dtype, 'hidden'),
    )
    const valid = samples.reduce((n, s) => n + s.labels.filter((y) => y !== -100).length, 0)
    using tape = new Tape(device)
    const { loss } = languageModelling(model).loss(samples, 1 / valid)
    tape.backward(loss)
    expect(Math.abs((await loss.item()) / expected.ce - 1)).toBeLessThan(limit(name, dtype, 'logits'))
    const errors = await gradientErrors(model, golden, 'grad.ce')
    expectSmall(errors, limit(name, dtype, 'gradients'), limit(name, dtype, 'tensor'))
  })

  test('greedy continuations, all sequences batched together', async () => {
    using model = await loadDecoder(device, fixture(name))
    using engine = new Engine(model, { cacheTokens: 512 })
    const greedy = Object.entries(expected.greedy as Record<string, number[]>)
    const continued = greedy.map(async ([index, want]) => {
      const got: number[] = []
      for await (const { id } of engine.generate(samples[Number(index)]!.ids, { maxTokens: want.length, stop: [] }))
        got.push(id)
      expect(got).toEqual(want)
    })
    await Promise.all(continued)
    expect(greedy.length).toBeGreaterThan(1)
  })
})

test('gte-qwen2: a bidirectional body without a head, its last tokens and their embeddings', async () => {
  const golden = goldenOf('gte-qwen2')
  using model = await loadDecoder(device, fixture('gte-qwen2'))
  const batch = packed('gte-qwen2')
  const hidden = model.forward(batch)
  for (const [name, tensor] of Object.entries({
    last_hidden: hidden,
    'pool.last': model.pool(hidden, batch),
    embedding: embed(model, batch),
  }))
    expect(relativeError(await tensor.floats(), golden[name]!.data as Float32Array), name).toBeLessThan(2e-5)
  expect(() => model.logits(hidden)).toThrow('body without a language-model head')
})

describe('modernbert against float64', () => {
  const golden = goldenOf('modernbert')
  test.each(['float32', 'bfloat16'] as const)(
    'hidden states, class logits, loss and every gradient in %s',
    async (dtype) => {
      using model = await loadModel(device, fixture('modernbert'), {
        trainable: true,
        weights: dtype,
        activations: dtype,
      })
      const batch = packed('modernbert')
      const hidden = await model.forward(batch).floats()
      expect(relativeError(hidden, golden.last_hidden!.data as Float32Array)).toBeLessThan(
        limit('modernbert', dtype, 'hidden'),
      )
      const labels = device.tensor(golden.class_labels!.data as Int32Array)
      using tape = new Tape(device)
      const logits = model.classify(batch)
      const values = logits.floats()
      const { loss } = crossEntropy(logits, labels, { scale: 1 / labels.size })
      tape.backward(loss)
      expect(relativeError(await values, golden.logits!.data as Float32Array)).toBeLessThan(
        limit('modernbert', dtype, 'logits'),
      )
      expect(Math.abs((await loss.item()) / expectedOf('modernbert').ce - 1)).toBeLessThan(
        limit('modernbert', dtype, 'logits'),
      )
      const errors = await gradientErrors(model, golden, 'grad.ce')
      expectSmall(errors, limit('modernbert', dtype, 'gradients'), limit('modernbert', dtype, 'tensor'))
    },
  )

  it('writes no text', async () => {
    await expect(loadDecoder(device, fixture('modernbert'))).rejects.toThrow(
      'is an encoder (modernbert) and writes no text',
    )
    using model = await loadModel(device, fixture('modernbert'))
    expect(() => model.pool(model.forward(packed('modernbert')), pack(device, [[1], []]))).toThrow('has no tokens')
  })
})

describe('every family', () => {
  const fixtures = readdirSync(fixture('')).filter((name) => existsSync(`${fixture(name)}/config.json`))

  it('has golden data', async () => {
    const types = await Promise.all(
      fixtures.map(async (name) => (await readModelConfig(`${fixture(name)}/config.json`)).modelType),
    )
    expect(new Set(types)).toEqual(new Set(FAMILIES.keys()))
  })

  it.each(fixtures)('knows the tensors of %s', async (name) => {
    using folder = await openFolder(device, fixture(name))
    expect(folder.verify()).toEqual([])
  })

  it.each(fixtures)('writes what it read of %s, in both dialects', async (name) => {
    const config = await readModelConfig(`${fixture(name)}/config.json`)
    const json = JSON.parse(JSON.stringify(configToJson(config))) as Record<string, unknown>
    const four = ['rope_parameters', 'dtype', 'layer_types']
    const five = [
      'rope_theta',
      'rope_scaling',
      'global_rope_theta',
      'local_rope_theta',
      'torch_dtype',
      'max_window_layers',
    ]
    for (const dropped of [[], four, five])
      expect(
        parseModelConfig(Object.fromEntries(Object.entries(json).filter(([key]) => !dropped.includes(key)))),
      ).toEqual(config)
  })

  it('is told of when another is asked for', () => {
    expect(() => parseModelConfig({ model_type: 'llama' })).toThrow(
      /model_type: "llama" is no family that is supported; there are qwen2, qwen3, phi3.*docs\/adding-a-model\.md/,
    )
  })
})

test('an encoder or another head is refused by name', async () => {
  await expect(loadModel(device, fixture('qwen3'), { config: { qkNorm: false, attentionBias: true } })).rejects.toThrow(
    /model\.layers\.0\.self_attn\.q_proj\.bias \[128\] is missing.*unexpected: .*q_norm\.weight/,
  )
})
