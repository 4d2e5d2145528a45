import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { loadConfig, parseConfig } from '../../lib/config/config.js'
import { editDistance, suggest } from '../../lib/config/suggest.js'
import { ConfigError } from '../../lib/errors.js'

const schedule = z.enum(['linear', 'cosine', 'constant'])
const schema = z.object({
  model: z.string().min(1),
  train: z
    .object({
      learningRate: z.number().positive().max(1).default(1e-4),
      batchTokens: z.int().min(1).default(4096),
      schedule: schedule.default('cosine'),
      resume: z.boolean().default(false),
      stages: z.array(z.strictObject({ name: z.string(), steps: z.int().positive() })).default([]),
    })
    .prefault({}),
  divergence: z
    .discriminatedUnion('kind', [
      z.object({ kind: z.literal('forwardKL') }),
      z.object({ kind: z.literal('generalizedJS'), beta: z.number().min(0).max(1) }),
    ])
    .default({ kind: 'forwardKL' }),
  seed: z.union([z.int(), z.literal('random')]).default(0),
  output: z.union([z.string(), z.object({ folder: z.string(), keep: z.int() })]).default('out'),
  weights: z.record(z.string(), z.number()).default({}),
})

function problemsOf(text: string): string[] {
  try {
    parseConfig(text, 'lantern.yaml', schema)
  } catch (error) {
    if (error instanceof ConfigError) return error.message.split('\n')
    throw error
  }
  return []
}

describe('parseConfig', () => {
  it('reads YAML and JSON and fills in defaults', () => {
    const expected = {
      model: 'qwen',
      train: { learningRate: 2e-4, batchTokens: 4096, schedule: 'cosine', resume: false, stages: [] },
      divergence: { kind: 'generalizedJS', beta: 0.5 },
      seed: 'random',
      output: 'out',
      weights: { a: 1 },
    }
    const yaml = `
# comment
model: qwen
train:
  learningRate: 2e-4
divergence: { kind: generalizedJS, beta: 0.5 }
seed: random
weights:
  a: 1
`
    const json =
      '{\n\t"model": "qwen",\n\t"train": {"learningRate": 2e-4},\n\t"divergence": {"kind": "generalizedJS", "beta": 0.5},\n\t"seed": "random", "weights": {"a": 1}\n}\n'
    expect(parseConfig(yaml, 'a.yaml', schema)).toEqual(expected)
    expect(parseConfig(json, 'a.json', schema)).toEqual(expected)
  })

  it('takes an empty file for an empty section', () => {
    expect(parseConfig('', 'a.yaml', z.object({ steps: z.int().default(3) }))).toEqual({ steps: 3 })
    expect(parseConfig('# nothing\n', 'a.yaml', z.object({}))).toEqual({})
  })

  it('reports everything at once, in the order of the file, with line and column', () => {
    const text = `model: qwen
train:
  learnignRate: 1e-3
  batchTokens: "4096"
  schedule: cosin
  stages:
    - name: first
      steps: 0
    - nmae: second
      steps: 1.5
extra: 1
`
    expect(problemsOf(text)).toEqual([
      'lantern.yaml:3:3: train.learnignRate: unknown key; did you mean "learningRate"?',
      'lantern.yaml:4:16: train.batchTokens: must be a number but is the text "4096"; remove the quotes',
      'lantern.yaml:5:13: train.schedule: must be one of linear, cosine, constant but is the text "cosin"; did you mean "cosine"?',
      'lantern.yaml:8:14: train.stages[0].steps: must be more than 0 but is 0',
      'lantern.yaml:9:7: train.stages[1].nmae: unknown key; did you mean "name"?',
      'lantern.yaml:9:7: train.stages[1].name: is missing; add it (text)',
      'lantern.yaml:10:14: train.stages[1].steps: must be an integer but is 1.5',
      'lantern.yaml:11:1: extra: unknown key; known keys: model, train, divergence, seed, output, weights',
    ])
  })

  it('carries the problems as data', () => {
    try {
      parseConfig('modle: x\n', 'c.yaml', schema)
      expect.unreachable()
    } catch (error) {
      expect(error).toBeInstanceOf(ConfigError)
      if (!(error instanceof ConfigError)) throw error
      expect(error.code).toBe('CONFIG_INVALID')
      expect(error.file).toBe('c.yaml')
      expect(error.problems).toEqual([
        { path: 'modle', message: 'unknown key; did you mean "model"?', line: 1, column: 1 },
        { path: 'model', message: 'is missing; add it (text)', line: 1, column: 1 },
      ])
    }
  })

  it.each([
    [
      'a key of another section',
      'model: q\nlearningRate: 1',
      '2:1: learningRate: unknown key; it belongs under "train"',
    ],
    [
      'a nested top-level key',
      'model: q\ntrain: {seed: 1}',
      '2:9: train.seed: unknown key; it belongs at the top level',
    ],
    [
      'another spelling',
      'model: q\ntrain: {batch_tokens: 1}',
      '2:9: train.batch_tokens: unknown key; did you mean "batchTokens"?',
    ],
    [
      'a number out of range',
      'model: q\ntrain: {learningRate: 3}',
      '2:23: train.learningRate: must be at most 1 but is 3',
    ],
    ['an empty text', 'model: ""', '1:8: model: has 0 characters but must have at least 1'],
    ['a number for a text', 'model: 7', '1:8: model: must be text but is 7; put it in quotes'],
    ['an empty value', 'model:\n', '1:7: model: must be text but is nothing (null)'],
    [
      'yes for true',
      'model: q\ntrain: {resume: yes}',
      '2:17: train.resume: must be true or false but is the text "yes"; YAML 1.2 knows only true and false',
    ],
    ['a text for a section', 'model: q\ntrain: fast', '2:8: train: must be a section of keys but is the text "fast"'],
    [
      'a wrong discriminator',
      'model: q\ndivergence: {kind: forwardkl}',
      '2:20: divergence.kind: must be one of forwardKL, generalizedJS but is the text "forwardkl"; did you mean "forwardKL"?',
    ],
    [
      'a missing discriminator',
      'model: q\ndivergence: {}',
      '2:1: divergence.kind: is missing; it must be one of forwardKL, generalizedJS',
    ],
    [
      'an unknown key of a variant',
      'model: q\ndivergence: {kind: forwardKL, beta: 1}',
      '2:31: divergence.beta: unknown key; known keys: kind',
    ],
    ['neither of a union', 'model: q\nseed: 1.5', '2:7: seed: must be an integer or random but is 1.5'],
    [
      'inside one branch of a union',
      'model: q\noutput: {folder: a, keep: b}',
      '2:27: output.keep: must be a number but is the text "b"',
    ],
    [
      'an unknown key in a union',
      'model: q\noutput: {folder: a, keep: 1, keeep: 2}',
      '2:30: output.keeep: unknown key; did you mean "keep"?',
    ],
    [
      'a value in a record',
      'model: q\nweights: {"a b": x}',
      '2:18: weights["a b"]: must be a number but is the text "x"',
    ],
    [
      '__proto__',
      'model: q\n__proto__: {a: 1}',
      '2:1: __proto__: unknown key; known keys: model, train, divergence, seed, output, weights',
    ],
    [
      'a value behind an alias',
      'model: q\nweights: &w {a: x}\ntrain: *w',
      '2:17: weights.a: must be a number but is the text "x"',
    ],
  ])('explains %s', (_, text, problem) => {
    expect(problemsOf(text)).toContain(`lantern.yaml:${problem}`)
  })

  it.each([
    ['a list at the top', '- a\n- b\n', /must be a section of keys/],
    ['a key given twice', 'model: a\nmodel: b\n', /c\.yaml:2:1: Map keys must be unique/],
    ['broken YAML', 'model: [a\ntrain: {}\n', /c\.yaml:\d+:\d+: .*correct the YAML or JSON here/],
    ['broken JSON', '{\n  "model": "a",\n  "train": {\n', /c\.yaml:\d+:\d+: /],
    ['two documents', 'model: a\n---\nmodel: b\n', /multiple documents/],
    ['an unknown tag', 'model: !secret a\n', /c\.yaml:1:8: Unresolved tag/],
    ['an unknown alias', 'model: *a\n', /Unresolved alias/],
    [
      'an alias bomb',
      `a: &a [x,x,x,x,x,x,x,x,x,x]\n${'bcdefgh'
        .split('')
        .map((c, i) => `${c}: &${c} [${Array(10).fill(`*${'abcdefg'[i]}`).join(',')}]`)
        .join('\n')}\n`,
      /Excessive alias count/,
    ],
  ])('refuses %s', (_, text, message) => {
    expect(() => parseConfig(text, 'c.yaml', schema)).toThrow(ConfigError)
    expect(() => parseConfig(text, 'c.yaml', schema)).toThrow(message)
  })
})

describe('loadConfig', () => {
  let folder: string
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'config-'))
  })
  afterAll(() => rm(folder, { recursive: true }))

  it('reads a file', async () => {
    const file = join(folder, 'a.yaml')
    await writeFile(file, '\ufeffmodel: x\n')
    expect((await loadConfig(file, schema)).model).toBe('x')
  })

  it('names a file that is missing, binary or far too large', async () => {
    await expect(loadConfig(join(folder, 'none.yaml'), schema)).rejects.toThrow(/none\.yaml: cannot be read .*ENOENT/)
    const binary = join(folder, 'model.safetensors')
    await writeFile(binary, Uint8Array.of(0xff, 0xfe, 0xc0, 0x80))
    await expect(loadConfig(binary, schema)).rejects.toThrow(/not UTF-8 text/)
    const large = join(folder, 'large.json')
    await writeFile(large, ' '.repeat((1 << 20) + 1))
    await expect(loadConfig(large, schema)).rejects.toThrow(ConfigError)
    await expect(loadConfig(large, schema)).rejects.toThrow(/1048577 bytes/)
  })
})

describe('suggest', () => {
  it('counts insertions, deletions, substitutions and swaps', () => {
    expect(editDistance('', 'abc')).toBe(3)
    expect(editDistance('kitten', 'sitting')).toBe(3)
    expect(editDistance('learnign', 'learning')).toBe(1)
  })

  it('stays silent when nothing is close', () => {
    expect(suggest('optimizer', ['model', 'train'])).toBeUndefined()
    expect(suggest('x', [])).toBeUndefined()
  })
})
