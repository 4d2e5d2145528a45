import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { ConfigError } from '../../lib/errors.js'
import { eosTokenIds } from '../../lib/models/config.js'
import type { DecoderConfig } from '../../lib/models/decoderConfig.js'
import {
  configToJson,
  parameterCount,
  parseModelConfig,
  readModelConfig,
  tensorShapes,
} from '../../lib/models/families.js'
import { readSafetensorsSync } from '../../lib/models/safetensors.js'

const root = mkdtempSync(join(tmpdir(), 'config-'))
afterAll(() => rmSync(root, { recursive: true }))

/** What the published config.json of Qwen2.5-0.5B-Instruct says, in the dialect of transformers 4. */
const PUBLISHED = {
  architectures: ['Qwen2ForCausalLM'],
  attention_dropout: 0,
  bos_token_id: 151643,
  eos_token_id: 151645,
  hidden_act: 'silu',
  hidden_size: 896,
  initializer_range: 0.02,
  intermediate_size: 4864,
  max_position_embeddings: 32768,
  max_window_layers: 21,
  model_type: 'qwen2',
  num_attention_heads: 14,
  num_hidden_layers: 24,
  num_key_value_heads: 2,
  rms_norm_eps: 1e-6,
  rope_theta: 1000000,
  sliding_window: 32768,
  tie_word_embeddings: true,
  torch_dtype: 'bfloat16',
  transformers_version: '4.43.1',
  use_cache: true,
  use_sliding_window: false,
  vocab_size: 151936,
}

const QWEN_05B: DecoderConfig = {
  modelType: 'qwen2',
  hiddenSize: 896,
  layers: 24,
  heads: 14,
  kvHeads: 2,
  headDim: 64,
  intermediateSize: 4864,
  vocabSize: 151936,
  ropeTheta: 1e6,
  rmsNormEps: 1e-6,
  tieWordEmbeddings: true,
  slidingWindow: null,
  maxPositionEmbeddings: 32768,
  causal: true,
  attentionBias: true,
  eosTokenId: 151645,
  bosTokenId: 151643,
  padTokenId: null,
  dtype: 'bfloat16',
}

const without = (...keys: (keyof typeof PUBLISHED)[]) =>
  Object.fromEntries(Object.entries(PUBLISHED).filter(([key]) => !keys.includes(key as keyof typeof PUBLISHED)))

describe('parseModelConfig', () => {
  it('reads the dialect of transformers 4', () => {
    expect(parseModelConfig(PUBLISHED)).toEqual(QWEN_05B)
  })

  it('reads the dialect of transformers 5', () => {
    const five = {
      ...without('rope_theta', 'torch_dtype', 'sliding_window'),
      sliding_window: null,
      rope_parameters: { rope_theta: 1e6, rope_type: 'default' },
      dtype: 'bfloat16',
      layer_types: Array.from({ length: 24 }, () => 'full_attention'),
      pad_token_id: null,
    }
    expect(parseModelConfig(five)).toEqual(QWEN_05B)
  })

  it('takes head_dim from the file, and derives it only where it is missing', () => {
    expect(parseModelConfig({ ...PUBLISHED, head_dim: 128 }).headDim).toBe(128)
    expect(parseModelConfig({ ...PUBLISHED, head_dim: 128, hidden_size: 900 }).headDim).toBe(128)
    expect(parseModelConfig({ ...PUBLISHED, head_dim: null }).headDim).toBe(64)
  })

  it('lets a window slide only where it is switched on, in the layers that are named', () => {
    const layers = { ...PUBLISHED, num_hidden_layers: 4, max_window_layers: 3, sliding_window: 512 }
    const types = ['sliding_attention', 'full_attention', 'sliding_attention', 'full_attention']
    const windows = (json: object) => parseModelConfig({ ...layers, ...json }).slidingWindow
    expect(windows({})).toBeNull()
    expect(windows({ layer_types: types })).toBeNull()
    expect(windows({ use_sliding_window: true })).toEqual([null, null, null, 512])
    expect(windows({ use_sliding_window: true, layer_types: types })).toEqual([512, null, 512, null])
    expect(windows({ use_sliding_window: true, sliding_window: null })).toBeNull()
    expect(windows({ use_sliding_window: true, max_window_layers: 4 })).toBeNull()
  })

  it('reads the labels of classifiers, and ignores the default labels of other models', () => {
    const classifier = { ...PUBLISHED, architectures: ['Qwen2ForSequenceClassification'] }
    const labels = (json: object) => {
      const { numLabels, id2label } = parseModelConfig(json)
      return [numLabels, id2label]
    }
    const id2label = { 1: 'medium', 0: 'low', 2: 'high' }
    expect(labels({ ...classifier, id2label })).toEqual([3, ['low', 'medium', 'high']])
    expect(labels({ ...classifier, num_labels: 3 })).toEqual([3, ['LABEL_0', 'LABEL_1', 'LABEL_2']])
    expect(labels(classifier)).toEqual([2, ['LABEL_0', 'LABEL_1']]) // transformers does not write the default of two
    expect(labels({ ...PUBLISHED, id2label })).toEqual([undefined, undefined])
    expect(labels({ ...without('architectures'), num_labels: 1 })).toEqual([1, ['LABEL_0']])
  })

  it('reads token ids, one, several or none', () => {
    const ids = (json: object) => {
      const config = parseModelConfig({ ...PUBLISHED, ...json })
      return [eosTokenIds(config), config.bosTokenId, config.padTokenId]
    }
    expect(ids({ eos_token_id: [151645, 151643], pad_token_id: -1 })).toEqual([[151645, 151643], 151643, null])
    expect(ids({ eos_token_id: null, bos_token_id: null, pad_token_id: 0 })).toEqual([[], null, 0])
    expect(ids({})).toEqual([[151645], 151643, null])
  })

  it('fills what older files leave out', () => {
    const config = parseModelConfig(
      without(
        'rope_theta',
        'rms_norm_eps',
        'tie_word_embeddings',
        'torch_dtype',
        'hidden_act',
        'use_sliding_window',
        'num_key_value_heads',
        'max_position_embeddings',
      ),
    )
    expect(config).toMatchObject({
      ropeTheta: 1e4,
      rmsNormEps: 1e-6,
      tieWordEmbeddings: false,
      dtype: 'float32',
      kvHeads: 14,
      maxPositionEmbeddings: 32768,
    })
    expect(parseModelConfig({ ...PUBLISHED, is_causal: false }).causal).toBe(false)
    expect(parseModelConfig({ ...PUBLISHED, torch_dtype: 'float16' }).dtype).toBe('float32')
  })

  const wrong: [string, unknown, string][] = [
    ['another family', { ...PUBLISHED, model_type: 'llama' }, 'model_type'],
    ['no family', without('model_type'), 'model_type'],
    ['no hidden size', without('hidden_size'), 'hidden_size'],
    ['no vocabulary', without('vocab_size'), 'vocab_size'],
    ['0 heads', { ...PUBLISHED, num_attention_heads: 0 }, 'num_attention_heads'],
    ['0 layers', { ...PUBLISHED, num_hidden_layers: 0 }, 'num_hidden_layers'],
    ['a billion layers', { ...PUBLISHED, num_hidden_layers: 1e9 }, 'num_hidden_layers'],
    ['negative sizes', { ...PUBLISHED, hidden_size: -896 }, 'hidden_size'],
    ['fractional sizes', { ...PUBLISHED, intermediate_size: 4864.5 }, 'intermediate_size'],
    ['sizes as text', { ...PUBLISHED, vocab_size: '151936' }, 'vocab_size'],
    ['1e12 words', { ...PUBLISHED, vocab_size: 1e12 }, 'vocab_size'],
    ['key heads that do not divide the heads', { ...PUBLISHED, num_key_value_heads: 3 }, 'num_key_value_heads'],
    ['more key heads than heads', { ...PUBLISHED, num_key_value_heads: 28 }, 'num_key_value_heads'],
    ['a hidden size that heads do not divide', { ...PUBLISHED, hidden_size: 900 }, 'hidden_size'],
    ['odd heads', { ...PUBLISHED, hidden_size: 14 * 63 }, 'hidden_size'],
    ['odd explicit heads', { ...PUBLISHED, head_dim: 63 }, 'head_dim'],
    ['another activation', { ...PUBLISHED, hidden_act: 'gelu' }, 'hidden_act'],
    ['an epsilon of 0', { ...PUBLISHED, rms_norm_eps: 0 }, 'rms_norm_eps'],
    ['a negative theta', { ...PUBLISHED, rope_theta: -1 }, 'rope_theta'],
    [
      'rope scaling, old dialect',
      { ...PUBLISHED, rope_scaling: { type: 'yarn', factor: 4 } },
      'rope_scaling.rope_type',
    ],
    [
      'rope scaling, new dialect',
      { ...PUBLISHED, rope_parameters: { rope_type: 'yarn', rope_theta: 1e6 } },
      'rope_parameters.rope_type',
    ],
    ['layer types of another length', { ...PUBLISHED, layer_types: ['full_attention'] }, 'layer_types'],
    [
      'an unknown layer type',
      { ...PUBLISHED, num_hidden_layers: 1, layer_types: ['linear_attention'] },
      'layer_types.0',
    ],
    ['a window of 0', { ...PUBLISHED, use_sliding_window: true, sliding_window: 0 }, 'sliding_window'],
    ['an end token beyond the vocabulary', { ...PUBLISHED, eos_token_id: [1, 151936] }, 'eos_token_id'],
    ['labels that do not count from 0', { ...PUBLISHED, id2label: { 1: 'a', 2: 'b' } }, 'id2label'],
    ['labels that are not numbered', { ...PUBLISHED, id2label: { a: 'a' } }, 'id2label'],
    ['no labels', { ...PUBLISHED, id2label: {} }, 'id2label'],
    ['labels that num_labels contradicts', { ...PUBLISHED, num_labels: 2, id2label: { 0: 'a' } }, 'num_labels'],
    ['a list', [], ''],
    ['null', null, ''],
  ]

  it.each(wrong)('refuses %s and names the key', (_, json, key) => {
    let error: unknown
    try {
      parseModelConfig(json, 'some/config.json')
    } catch (e) {
      error = e
    }
    expect(error).toBeInstanceOf(ConfigError)
    const { code, file, problems, message } = error as ConfigError
    expect({ code, file, paths: problems.map((p) => p.path) }).toEqual({
      code: 'ERR_MODEL_CONFIG',
      file: 'some/config.json',
      paths: [key],
    })
    expect(message).toContain(`some/config.json: ${key}`)
  })

  it('tells all problems at once', () => {
    const json = { ...without('vocab_size'), hidden_size: 0, rope_theta: 'big' }
    expect(() => parseModelConfig(json)).toThrow(
      /hidden_size: Too small.*; vocab_size: is missing; rope_theta: .*number.*\. Correct the file/,
    )
  })

  it('names the file that cannot be read', async () => {
    const broken = join(root, 'broken.json')
    writeFileSync(broken, '{"model_type": ')
    for (const path of [broken, join(root, 'none.json')])
      await expect(readModelConfig(path)).rejects.toMatchObject({ code: 'ERR_MODEL_CONFIG', file: path })
  })
})

describe('parameterCount', () => {
  const counts: [string, Partial<DecoderConfig>, number][] = [
    ['Qwen2.5-0.5B', {}, 494_032_768],
    ['Qwen2.5-1.5B', { hiddenSize: 1536, layers: 28, heads: 12, headDim: 128, intermediateSize: 8960 }, 1_543_714_304],
    ['Qwen2.5-3B', { hiddenSize: 2048, layers: 36, heads: 16, headDim: 128, intermediateSize: 11008 }, 3_085_938_688],
    [
      'Qwen2.5-7B',
      {
        hiddenSize: 3584,
        layers: 28,
        heads: 28,
        kvHeads: 4,
        headDim: 128,
        intermediateSize: 18944,
        vocabSize: 152064,
        tieWordEmbeddings: false,
      },
      7_615_616_512,
    ],
    [
      'gte-Qwen2-1.5B-instruct',
      {
        hiddenSize: 1536,
        layers: 28,
        heads: 12,
        headDim: 128,
        intermediateSize: 8960,
        vocabSize: 151646,
        tieWordEmbeddings: false,
      },
      1_776_197_120,
    ],
  ]

  it.each(counts)('of %s is the published one', (_, sizes, count) => {
    expect(parameterCount({ ...QWEN_05B, ...sizes })).toBe(count)
  })

  it.each(['qwen2', 'qwen2-teacher', 'qwen2-seqcls'])('and the shapes of %s are those of its file', async (name) => {
    const config = await readModelConfig(`test/fixtures/models/${name}/config.json`)
    const file = readSafetensorsSync(`test/fixtures/models/${name}/model.safetensors`)
    const shapes = Object.entries(file).map(([key, { shape }]): [string, readonly number[]] => [key, shape])
    expect(new Map([...tensorShapes(config)].sort())).toEqual(new Map(shapes.sort()))
    expect(parameterCount(config)).toBe(Object.values(file).reduce((n, { data }) => n + data.length, 0))
  })
})

describe('configToJson', () => {
  const classifier: Partial<DecoderConfig> = { numLabels: 3, id2label: ['low', 'medium', 'high'], padTokenId: 7 }
  it.each<[string, Partial<DecoderConfig>]>([
    ['a language model', {}],
    ['an untied one', { tieWordEmbeddings: false, dtype: 'float32' }],
    ['a classifier', classifier],
    ['a bidirectional body', { causal: false }],
    ['an explicit head size', { headDim: 128 }],
    ['windows', { layers: 4, slidingWindow: [null, null, 512, 512] }],
    ['several end tokens', { eosTokenId: [1, 2] }],
  ])('of %s says the same in both dialects', (_, change) => {
    const config = { ...QWEN_05B, ...change }
    const json = JSON.parse(JSON.stringify(configToJson(config))) as Record<string, unknown>
    const { rope_theta: _t, torch_dtype: _d, max_window_layers: _m, ...five } = json
    const { rope_parameters: _r, dtype: _y, layer_types: _l, ...four } = json
    expect(parseModelConfig(json)).toEqual(config)
    expect(parseModelConfig(five)).toEqual(config)
    expect(parseModelConfig(four)).toEqual(config)
  })

  it('names the architecture and the labels', () => {
    expect(configToJson(QWEN_05B)).toMatchObject({ architectures: ['Qwen2ForCausalLM'], model_type: 'qwen2' })
    expect(configToJson(QWEN_05B)).not.toHaveProperty('id2label')
    expect(configToJson({ ...QWEN_05B, ...classifier }, { transformers_version: '5.0.0' })).toMatchObject({
      architectures: ['Qwen2ForSequenceClassification'],
      id2label: { 0: 'low', 1: 'medium', 2: 'high' },
      label2id: { low: 0, medium: 1, high: 2 },
      transformers_version: '5.0.0',
    })
  })

  it('keeps what a file of transformers says', () => {
    for (const name of ['qwen2', 'qwen2-teacher', 'qwen2-seqcls']) {
      const theirs = JSON.parse(readFileSync(`test/fixtures/models/${name}/config.json`, 'utf8')) as Record<
        string,
        unknown
      >
      const ours = configToJson(parseModelConfig(theirs))
      const shared = Object.keys(theirs).filter((key) => key !== 'max_window_layers' && key in ours) // means nothing without a window
      expect(shared.length).toBeGreaterThan(18)
      for (const key of shared) expect({ [key]: ours[key] }).toEqual({ [key]: theirs[key] })
    }
  })
})
