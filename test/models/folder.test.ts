import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { open } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, describe, expect, it, vi } from 'vitest'
import { CheckpointError, ConfigError } from '../../lib/errors.js'
import type { ModelConfig } from '../../lib/models/config.js'
import type { DecoderConfig } from '../../lib/models/decoderConfig.js'
import { parameterCount, readModelConfig, tensorShapes } from '../../lib/models/families.js'
import { openFolder, saveFolder } from '../../lib/models/folder.js'
import { type HostTensor, readSafetensorsSync, writeSafetensors } from '../../lib/models/safetensors.js'
import type { Tensor } from '../../lib/tensor/tensor.js'
import { normal, roundBf16, testDevice } from '../support.js'

const device = testDevice({ threads: 1 })
const root = mkdtempSync(join(tmpdir(), 'folder-'))
afterAll(() => rmSync(root, { recursive: true }))
afterEach(() => vi.restoreAllMocks())

const fixture = (name: string) => `test/fixtures/models/${name}`

let folders = 0
const freshPath = () => join(root, `model-${++folders}`)

const json = (...path: string[]) => JSON.parse(readFileSync(join(...path), 'utf8')) as Record<string, unknown>

/** Tensors of a fixture on the device, for saving. */
function tensorsOf(host: Record<string, HostTensor>): { name: string; tensor: Tensor }[] {
  return Object.entries(host).map(([name, { shape, data }]) => ({
    name,
    tensor: device.tensor(data as Float32Array, shape),
  }))
}

/** Bit equality; comparing value by value takes seconds for a model. */
function expectSame(actual: ArrayBufferView, expected: ArrayBufferView): void {
  const bytes = ({ buffer, byteOffset, byteLength }: ArrayBufferView) => Buffer.from(buffer, byteOffset, byteLength)
  expect(bytes(actual).equals(bytes(expected))).toBe(true)
}

/** That the folder's single file holds exactly these tensors. */
function expectStored(path: string, host: Record<string, HostTensor>): void {
  const stored = readSafetensorsSync(join(path, 'model.safetensors'))
  expect(Object.keys(stored).sort()).toEqual(Object.keys(host).sort())
  for (const [name, { dtype, shape, data }] of Object.entries(stored)) {
    expect([dtype, shape]).toEqual([host[name]!.dtype, host[name]!.shape])
    expectSame(data, host[name]!.data)
  }
}

/** Everything of a fixture, in memory. */
async function load(name: string) {
  const host = readSafetensorsSync(join(fixture(name), 'model.safetensors'))
  return { host, tensors: tensorsOf(host), config: await readModelConfig(join(fixture(name), 'config.json')) }
}

/** A folder whose weights are a fixture's under other names. */
async function renamed(name: string, rename: (name: string) => string | null): Promise<string> {
  const path = freshPath()
  mkdirSync(path)
  copyFileSync(join(fixture(name), 'config.json'), join(path, 'config.json'))
  const { tensors } = await load(name)
  const kept = tensors.flatMap(({ name: old, tensor }) => {
    const next = rename(old)
    return next === null ? [] : [{ name: next, tensor }]
  })
  await writeSafetensors(join(path, 'model.safetensors'), kept)
  return path
}

describe('openFolder', () => {
  it.each(['qwen2', 'qwen2-teacher', 'qwen2-seqcls'])('opens %s and has all that its config asks for', async (name) => {
    using folder = await openFolder(device, fixture(name))
    const { host } = await load(name)
    expect(folder.verify()).toEqual([])
    for (const [tensor, shape] of tensorShapes(folder.config)) {
      using got = folder.get(tensor, shape)
      expectSame(await got.floats(), host[tensor]!.data)
    }
  })

  it('understands files that lack the model. prefix', async () => {
    using folder = await openFolder(device, await renamed('qwen2-teacher', (name) => name.replace(/^model\./, '')))
    const { host } = await load('qwen2-teacher')
    expect(folder.has('model.norm.weight')).toBe(true)
    expect(folder.verify()).toEqual([])
    using norm = folder.get('model.norm.weight', [96])
    using head = folder.get('lm_head.weight', [512, 96])
    expect(await norm.floats()).toEqual(host['model.norm.weight']!.data)
    expectSame(await head.floats(), host['lm_head.weight']!.data)
  })

  it('names everything that is missing, misshapen or unexpected', async () => {
    const path = await renamed('qwen2', (name) =>
      name === 'model.norm.weight' ? null : name === 'model.layers.1.mlp.up_proj.weight' ? 'extra' : name,
    )
    using folder = await openFolder(device, path)
    let error: unknown
    try {
      folder.verify({ ...folder.config, vocabSize: 513 })
    } catch (e) {
      error = e
    }
    expect(error).toBeInstanceOf(CheckpointError)
    expect(error).toMatchObject({ file: path })
    expect((error as Error).message).toBe(
      `${path}: model.embed_tokens.weight is [512, 64], but config.json makes it [513, 64]; ` +
        'model.layers.1.mlp.up_proj.weight [160, 64] is missing; model.norm.weight [64] is missing; unexpected: extra; ' +
        'config.json and the weights must be of the same model: download or save them again together',
    )
    expect(() => folder.get('model.norm.weight', [64])).toThrow(
      expect.objectContaining({ code: 'ERR_CHECKPOINT_MISSING' }),
    )
    expect(() => folder.get('extra', [160])).toThrow(expect.objectContaining({ code: 'ERR_CHECKPOINT_SHAPE' }))
    expect(() => folder.get('extra', [64, 160])).toThrow(expect.objectContaining({ code: 'ERR_CHECKPOINT_SHAPE' }))
  })

  it('tells what a folder without config or weights lacks', async () => {
    const path = freshPath()
    await expect(openFolder(device, path)).rejects.toBeInstanceOf(ConfigError)
    mkdirSync(path)
    copyFileSync(join(fixture('qwen2'), 'config.json'), join(path, 'config.json'))
    await expect(openFolder(device, path)).rejects.toMatchObject({
      code: 'ERR_CHECKPOINT_READ',
      file: join(path, 'model.safetensors'),
    })
  })

  it('keeps tensors alive after the folder is closed', async () => {
    const folder = await openFolder(device, fixture('qwen2'))
    const norm = folder.get('model.norm.weight', [64])
    folder.close()
    expect(await norm.floats()).toEqual((await load('qwen2')).host['model.norm.weight']!.data)
    norm.dispose()
  })
})

describe('sharded folders', () => {
  const save = async (path: string) => {
    const { config, tensors, host } = await load('qwen2-teacher')
    await saveFolder(path, { config, tensors, maxShardBytes: 200_000 })
    return {
      config,
      host,
      index: json(path, 'model.safetensors.index.json') as { weight_map: Record<string, string>; metadata: object },
    }
  }

  it('are written below the limit, and read back as one', async () => {
    const path = freshPath()
    const { config, host, index } = await save(path)
    const shards = readdirSync(path)
      .filter((name) => name.endsWith('.safetensors'))
      .sort()
    const total = shards.length
    expect(total).toBeGreaterThan(3)
    expect(shards).toEqual(Array.from({ length: total }, (_, i) => `model-0000${i + 1}-of-0000${total}.safetensors`))
    expect([...new Set(Object.values(index.weight_map))].sort()).toEqual(shards)
    expect(index.metadata).toEqual({ total_size: 4 * parameterCount(config) })
    for (const shard of shards) {
      const sizes = Object.values(readSafetensorsSync(join(path, shard))).map(({ data }) => data.byteLength)
      expect(sizes.length === 1 || sizes.reduce((a, b) => a + b) <= 200_000).toBe(true)
    }
    using folder = await openFolder(device, path)
    expect(folder.verify()).toEqual([])
    for (const [name, shape] of tensorShapes(config)) {
      using tensor = folder.get(name, shape)
      expectSame(await tensor.floats(), host[name]!.data)
    }
  })

  const edits: [string, (map: Record<string, unknown>) => unknown, string, RegExp][] = [
    ['no weight_map', () => ({}), 'INDEX', /no weight_map/],
    ['a weight_map that is a list', () => ({ weight_map: [] }), 'INDEX', /no weight_map/],
    ['an empty weight_map', () => ({ weight_map: {} }), 'INDEX', /empty/],
    ['null', () => null, 'INDEX', /no weight_map/],
    [
      'a path out of the folder',
      (map) => ({ weight_map: { ...map, x: '../model.safetensors' } }),
      'INDEX',
      /no .safetensors file of the folder/,
    ],
    [
      'an absolute path',
      (map) => ({ weight_map: { ...map, x: '/etc/model.safetensors' } }),
      'INDEX',
      /no .safetensors file of the folder/,
    ],
    [
      'a file that is no safetensors',
      (map) => ({ weight_map: { ...map, x: 'config.json' } }),
      'INDEX',
      /"config.json"/,
    ],
    ['a number for a file', (map) => ({ weight_map: { ...map, x: 1 } }), 'INDEX', /said to be in 1/],
    [
      'a shard that does not exist',
      (map) => ({ weight_map: { ...map, x: 'x.safetensors' } }),
      'READ',
      /x.safetensors: it cannot be opened/,
    ],
    [
      'a tensor that is in no shard',
      (map) => ({ weight_map: { ...map, x: 'model-00001-of-00008.safetensors' } }),
      'INDEX',
      /x is not in/,
    ],
    [
      'a tensor that is in another shard',
      (map) => ({ weight_map: { ...map, 'model.norm.weight': 'model-00001-of-00008.safetensors' } }),
      'INDEX',
      /model.norm.weight is not in model-00001/,
    ],
  ]

  it.each(edits)('an index with %s is a typed error', async (_, edit, code, message) => {
    const path = freshPath()
    const { index } = await save(path)
    writeFileSync(join(path, 'model.safetensors.index.json'), JSON.stringify(edit(index.weight_map)))
    const error = await openFolder(device, path).catch((e: unknown) => e)
    expect(error).toBeInstanceOf(CheckpointError)
    expect(error).toMatchObject({ code: `ERR_CHECKPOINT_${code}` })
    expect((error as Error).message).toMatch(message)
  })

  it('an index that is no JSON, a missing shard and a tensor in two shards are typed errors', async () => {
    const path = freshPath()
    const { index } = await save(path)
    writeFileSync(join(path, 'model.safetensors.index.json'), '{')
    await expect(openFolder(device, path)).rejects.toMatchObject({ code: 'ERR_CHECKPOINT_INDEX' })
    writeFileSync(join(path, 'model.safetensors.index.json'), JSON.stringify(index))
    const first = join(path, 'model-00001-of-00008.safetensors')
    const second = join(path, 'model-00002-of-00008.safetensors')
    const kept = readFileSync(first)
    copyFileSync(second, first)
    await expect(openFolder(device, path)).rejects.toMatchObject({
      code: 'ERR_CHECKPOINT_INDEX',
      message: expect.stringContaining('is also in'),
    })
    writeFileSync(first, kept.subarray(0, -1))
    await expect(openFolder(device, path)).rejects.toMatchObject({ code: 'ERR_CHECKPOINT_TRUNCATED', file: first })
    rmSync(first)
    await expect(openFolder(device, path)).rejects.toMatchObject({ code: 'ERR_CHECKPOINT_READ', file: first })
  })
})

describe('saveFolder', () => {
  it('writes a folder that opens to the same model', async () => {
    const { config, tensors, host } = await load('qwen2')
    const path = freshPath()
    await saveFolder(path, { config, tensors })
    expect(readdirSync(path).sort()).toEqual(['config.json', 'generation_config.json', 'model.safetensors'])
    expect(json(path, 'generation_config.json')).toEqual({ bos_token_id: 1, eos_token_id: 2, pad_token_id: 0 })
    using folder = await openFolder(device, path)
    expect(folder.config).toEqual(config)
    expectStored(path, host)
  })

  it('stores bfloat16 and says so in the config', async () => {
    const { config, tensors, host } = await load('qwen2-seqcls')
    const path = freshPath()
    const ids = device.tensor(new Int32Array([3]))
    await saveFolder(path, {
      config: { ...config, id2label: ['low', 'medium', 'high'] },
      tensors: [...tensors, { name: 'ids', tensor: ids }],
      dtype: 'bfloat16',
      extraConfig: { fit: { levels: 3 } },
    })
    const { ids: storedIds, ...stored } = readSafetensorsSync(join(path, 'model.safetensors'))
    expect(storedIds).toEqual({ dtype: 'I32', shape: [1], data: new Int32Array([3]) })
    for (const [name, { dtype, data }] of Object.entries(stored)) {
      expect(dtype).toBe('BF16')
      expectSame(data, roundBf16(host[name]!.data as Float32Array))
    }
    using folder = await openFolder(device, path)
    expect(folder.config).toMatchObject({ dtype: 'bfloat16', numLabels: 3, id2label: ['low', 'medium', 'high'] })
    expect(json(path, 'config.json')).toMatchObject({
      fit: { levels: 3 },
      architectures: ['Qwen2ForSequenceClassification'],
    })
    expect(existsSync(join(path, 'generation_config.json'))).toBe(false) // classifiers do not generate
    expect(folder.verify()).toEqual(['ids'])
  })

  it('copies the tokenizer, adds generation settings and further files', async () => {
    const { config, tensors } = await load('qwen2')
    const from = freshPath()
    mkdirSync(from)
    const content = { config, tensors, tokenizerFrom: from }
    const path = freshPath()
    await expect(saveFolder(path, content)).rejects.toMatchObject({ code: 'ERR_CHECKPOINT_TOKENIZER', file: from })
    expect(existsSync(path)).toBe(false)
    for (const name of ['tokenizer.json', 'tokenizer_config.json', 'chat_template.jinja', 'notes.txt'])
      writeFileSync(join(from, name), name)
    await saveFolder(path, {
      ...content,
      generationConfig: { eos_token_id: [2, 3], temperature: 0.7 },
      also: async (directory) => writeFileSync(join(directory, 'state.json'), '{}'),
    })
    expect(readdirSync(path).sort()).toEqual([
      'chat_template.jinja',
      'config.json',
      'generation_config.json',
      'model.safetensors',
      'state.json',
      'tokenizer.json',
      'tokenizer_config.json',
    ])
    expect(readFileSync(join(path, 'chat_template.jinja'), 'utf8')).toBe('chat_template.jinja')
    expect(json(path, 'generation_config.json')).toEqual({
      bos_token_id: 1,
      eos_token_id: [2, 3],
      pad_token_id: 0,
      temperature: 0.7,
    })
    await saveFolder(path, { ...content, tokenizerFrom: path }) // the folder that is being replaced
    expect(readFileSync(join(path, 'tokenizer.json'), 'utf8')).toBe('tokenizer.json')
  })

  it('replaces a model that is in use', async () => {
    const { config, tensors } = await load('qwen2')
    const path = freshPath()
    await saveFolder(path, { config, tensors })
    using folder = await openFolder(device, path)
    const name = 'model.norm.weight'
    using old = folder.get(name, [64])
    const values = await old.floats()
    const changed = normal(5, 64)
    const next = tensors.map((t) => (t.name === name ? { name, tensor: device.tensor(changed) } : t))
    await saveFolder(path, { config, tensors: next, maxShardBytes: 50_000 })
    expect(existsSync(join(path, 'model.safetensors'))).toBe(false)
    expect(await old.floats()).toEqual(values)
    using reopened = await openFolder(device, path)
    using fresh = reopened.get(name, [64])
    expect(await fresh.floats()).toEqual(changed)
  })

  it('leaves the old model when the disk is full or anything else fails', async () => {
    const { config, tensors, host } = await load('qwen2')
    const parent = freshPath()
    mkdirSync(parent)
    const path = join(parent, 'model')
    await saveFolder(path, { config, tensors })
    const failure = new Error('mine')
    const also = async () => {
      throw failure
    }
    await expect(saveFolder(path, { config, tensors, also })).rejects.toBe(failure)
    const handle = await open(join(path, 'config.json'))
    const full = Object.assign(new Error('ENOSPC: no space left on device, write'), {
      code: 'ENOSPC',
      syscall: 'write',
    })
    vi.spyOn(Object.getPrototypeOf(handle), 'write').mockRejectedValue(full)
    await handle.close()
    await expect(saveFolder(path, { config, tensors })).rejects.toMatchObject({ code: 'ERR_DISK_FULL', file: path })
    expect(readdirSync(parent)).toEqual(['model'])
    expectStored(path, host)
  })

  it('finds the old model again after a crash in the middle of the swap', async () => {
    const { config, tensors } = await load('qwen2')
    const path = freshPath()
    await saveFolder(path, { config, tensors })
    renameSync(path, join(root, `.${path.slice(root.length + 1)}.previous`))
    using folder = await openFolder(device, path)
    expect(folder.verify()).toEqual([])
  })

  it('refuses to replace what is no model, and touches nothing', async () => {
    const { config, tensors } = await load('qwen2')
    const notes = freshPath()
    mkdirSync(notes)
    writeFileSync(join(notes, 'thesis.tex'), '')
    const clone = freshPath()
    await saveFolder(clone, { config, tensors })
    mkdirSync(join(clone, '.git'))
    const file = freshPath()
    writeFileSync(file, '')
    for (const path of [notes, clone, file])
      await expect(saveFolder(path, { config, tensors })).rejects.toMatchObject({
        code: 'ERR_CHECKPOINT_FOLDER',
        file: path,
      })
    expect(readdirSync(notes)).toEqual(['thesis.tex'])
    expect(readdirSync(clone)).toContain('.git')
    const empty = freshPath()
    mkdirSync(empty)
    await saveFolder(empty, { config, tensors })
    expect(readdirSync(empty)).toContain('config.json')
  })

  it('refuses tensors that do not make the model, before anything is written', async () => {
    const { config, tensors } = await load('qwen2')
    const path = freshPath()
    const refuses = (content: { config: ModelConfig; tensors: typeof tensors }, code: string, message: RegExp) =>
      expect(saveFolder(path, content)).rejects.toMatchObject({
        code: `ERR_CHECKPOINT_${code}`,
        message: expect.stringMatching(message),
      })
    await refuses(
      { config, tensors: tensors.slice(1) },
      'MISSING',
      /model.embed_tokens.weight \[512, 64\] is not among/,
    )
    const untied: DecoderConfig = { ...(config as DecoderConfig), tieWordEmbeddings: false }
    await refuses({ config: untied, tensors }, 'MISSING', /lm_head.weight/)
    await refuses(
      { config: { ...config, vocabSize: 511 }, tensors },
      'SHAPE',
      /is \[512, 64\], but the config makes it \[511, 64\]/,
    )
    expect(existsSync(path)).toBe(false)
  })
})
