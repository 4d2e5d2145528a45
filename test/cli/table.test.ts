import { readFile, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { beforeAll, describe, expect, it, vi } from 'vitest'
import { makeData } from '../../lib/cli/data.js'
import { namesOf, OURS, trainingOf } from '../../lib/cli/table/grid.js'
import type { FinishedTable } from '../../lib/cli/table/run.js'
import { TABLES, table } from '../../lib/cli/table/table.js'
import { ConfigError, DatasetError } from '../../lib/errors.js'
import { fileDigest, modelDigest } from '../../lib/models/digest.js'
import { testDevice } from '../support.js'
import { temporaryFolder, writeTinyModel, writeTinyTokenizer } from '../tiny.js'

vi.setConfig({ testTimeout: 240_000, hookTimeout: 240_000 }) // real trainings, on a machine that may be busy
const device = testDevice()
const root = temporaryFolder()
const at = (...parts: string[]) => join(root, ...parts)
const lines: string[] = []
const context = { device, print: (line: string) => void lines.push(line) }
const training = { steps: 2, batchSize: 4, evalEvery: 1, learningRate: 1e-3 }
const common = () => ({ data: at('data'), scored: 2, maxTokens: 4, training })
/** Of tables with one seed. */
const models = ({ rows }: FinishedTable) => rows.map(({ models }) => models[0]!)
const printed = (pattern: RegExp) => lines.filter((line) => pattern.test(line))

/** The cells of table.csv. */
async function csv(out: string): Promise<string[][]> {
  const text = await readFile(at(out, 'table.csv'), 'utf8')
  expect(text.endsWith('\r\n')).toBe(true)
  return text
    .slice(0, -2)
    .split('\r\n')
    .map((line) => line.split(','))
}

beforeAll(async () => {
  await writeTinyTokenizer(at('tokenizer'))
  await writeTinyModel(device, at('large'), { tokenizerFrom: at('tokenizer') })
  await writeTinyModel(device, at('small'), { tokenizerFrom: at('tokenizer'), seed: 2, hiddenSize: 16 })
  await makeData({ out: at('data'), pairs: 24, seed: 5, validation: 0.2, test: 0.2 }, () => {})
})

describe('table 1', () => {
  const settings = () => ({
    ...common(),
    out: at('one'),
    teacher: at('large'),
    student: at('small'),
    divergences: ['totalVariation' as const, 'forwardKL' as const],
  })

  it('stops when it is told to, and goes on', async () => {
    const controller = new AbortController()
    const print = (line: string) => {
      lines.push(line)
      if (/^\[\d\/\d\] tvd /.test(line)) controller.abort()
    }
    expect(await table(1, settings(), { device, print, signal: controller.signal })).toBeNull()
    expect(lines.at(-1)).toBe('interrupted; still to do: tvd, fkl. The same command goes on in the middle of tvd')
    lines.length = 0
    const done = (await table(1, settings(), context))!
    expect(done.rows.map(({ labels }) => labels)).toEqual([
      ['student', 'nothing yet'],
      ['teacher', 'the data'],
      ['student', 'SFT'],
      ['student', 'TVD'],
      ['student', 'FKL'],
    ])
    expect(printed(/^\[\d\/\d\] \w+ \(\w+\): skipped, nothing/).map((line) => line.split(' ')[1])).toEqual([
      'teacher',
      'sft',
    ])
    expect(printed(/^scored 5 of 5: student, FKL$/)).toHaveLength(1)
  })

  it('prints the layout of the paper', () => {
    const header = lines.findIndex((line) => line.startsWith('Table 1: '))
    const [head, , ...rows] = lines[header + 1]!.split('\n')
    expect(head).toMatch(/^model +learns from +parameters +loss +ROUGE-1 +ROUGE-2 +ROUGE-L +verdicts right/)
    expect(rows).toHaveLength(5)
    expect(rows[4]).toMatch(/^student +FKL +[\d.]+ M( +[\d.]+){7}$/)
  })

  it('keeps what nothing has changed of, scores included', async () => {
    const before = await csv('one')
    lines.length = 0
    const again = models((await table(1, settings(), context))!)
    expect(again.every(({ trained }) => trained === null || trained.skipped)).toBe(true)
    const file = at('one', 'scores', `${again[4]!.digest.slice(0, 16)}.json`)
    const scores = await stat(file)
    expect(await csv('one')).toEqual(before)
    const other = models((await table(1, { ...settings(), scored: 1 }, context))!)
    expect(other.every(({ trained }) => trained === null || trained.skipped)).toBe(true)
    expect(again[4]!.generated).toHaveLength(2)
    expect(other[4]!.generated).toEqual(again[4]!.generated!.slice(0, 1))
    expect((await stat(file)).mtimeMs).toBeGreaterThan(scores.mtimeMs)
  })

  it('writes every number with what it comes from', async () => {
    const rows = models((await table(1, settings(), context))!)
    const [head, ...cells] = await csv('one')
    const column = (name: string) => cells.map((row) => row[head!.indexOf(name)])
    expect(column('rougeL').map(Number)).toEqual(rows.map(({ fields }) => fields.rougeL))
    expect(column('modelSha256')[4]).toBe(await modelDigest(at('one', 'fkl', 'model')))
    expect(column('test.jsonl SHA-256')[0]).toBe(await fileDigest(at('data', 'test.jsonl')))
    expect(column('steps')).toEqual(['', '2', '2', '2', '2'])
    for (const { fields } of rows) {
      expect(fields.loss).toBeGreaterThan(0)
      expect(fields.rougeLLow!).toBeLessThanOrEqual(fields.rougeL!)
      expect(fields.rougeLHigh!).toBeGreaterThanOrEqual(fields.rougeL!)
    }
    const made = JSON.parse(await readFile(at('one', 'made-with.json'), 'utf8'))
    expect(made).toMatchObject({ command: 'lantern table 1', steps: 2, lambdaKd: 0.9, out: at('one') })
    const report = await readFile(at('one', 'report.html'), 'utf8')
    expect(report.match(/<svg/g)).toHaveLength(3)
    expect(report).toContain('ROUGE-L, with 95 % bootstrap intervals')
  })

  it('takes a teacher that is tuned already', async () => {
    const tuned = { ...common(), out: at('tuned'), tunedTeacher: at('one', 'teacher', 'model'), student: at('small') }
    const rows = models((await table(1, { ...tuned, divergences: ['totalVariation' as const] }, context))!)
    const fromOne = await modelDigest(at('one', 'tvd', 'model'))
    expect(rows.map(({ trained }) => trained?.name)).toEqual([undefined, undefined, 'sft', 'tvd'])
    expect(rows[3]!.digest).toBe(fromOne) // the same student, of the same teacher
  })

  it('has a teacher of other length and speed', () => {
    const schema = TABLES[1].schema.parse({ teacher: 'a', student: 'b', teacherSteps: 7, training: { steps: 3 } })
    const [teacher, sft] = TABLES[1].grid(schema).stages
    expect(teacher).toMatchObject({ name: 'teacher', training: { steps: 7 } })
    expect(sft).toMatchObject({ name: 'sft', training: { steps: 3 } })
  })
})

describe('table 2', () => {
  it('distils at once and in stages', async () => {
    const sizes = { teacher: at('large'), middle: [at('large'), at('small')], student: at('small') }
    const done = (await table(2, { ...common(), out: at('two'), ...sizes }, context))!
    expect(done.rows.map(({ labels }) => labels.join(': '))).toEqual([
      'teacher: the data',
      'large: teacher',
      'small: teacher -> large',
      'small: SFT',
      'small: teacher',
      'small: teacher -> large -> small',
    ])
    expect(new Set(models(done).map(({ digest }) => digest)).size).toBe(6)
  })
})

describe('table 2 on our own models', () => {
  it('trains every row but the teacher alike', () => {
    const { stages } = TABLES[2].grid(TABLES[2].schema.parse({}))
    const [teacher, ...others] = stages.map(({ name, training }) => ({ name, training }))
    expect(teacher!.name).toBe('teacher')
    expect(others.map(({ name }) => name)).toEqual(['middle-student', 'alone', 'direct', 'staged'])
    for (const { training } of others) expect(training).toEqual(others[0]!.training)
  })
})

describe('table 3', () => {
  it('compares models as they come and fine-tuned', async () => {
    const done = (await table(3, { ...common(), out: at('three'), models: [at('large'), at('small')] }, context))!
    expect(done.rows.map(({ labels, models }) => [...labels, models[0]!.trained?.name])).toEqual([
      ['large', 'none', undefined],
      ['large', 'SFT', 'large'],
      ['small', 'none', undefined],
      ['small', 'SFT', 'small'],
    ])
    const [start, tuned] = models(done)
    expect(tuned!.fields.loss).toBeLessThan(start!.fields.loss!)
  })
})

describe('table 4', () => {
  it('crosses structure, interaction, pooling and what is trained', async () => {
    const done = (await table(4, { ...common(), out: at('four'), models: [at('small')] }, context))!
    const { rows } = done
    expect(rows).toHaveLength(12)
    expect(new Set(rows.map(({ labels }) => labels.join())).size).toBe(12)
    expect(rows[0]!.labels).toEqual(['small', 'seqCls', '-', 'last', 'frozen'])
    for (const { fields } of models(done)) {
      expect(fields.weightedF1Low!).toBeLessThanOrEqual(fields.weightedF1!)
      expect(fields.accuracy!).toBeLessThanOrEqual(1)
    }
    const config = JSON.parse(await readFile(join(models(done)[10]!.model, 'config.json'), 'utf8'))
    expect(rows[10]!.labels).toEqual(['small', 'twoTower', 'dot', 'mean', 'frozen'])
    expect(config).toMatchObject({ two_tower: { interaction: 'dot' }, classifier_pooling: 'mean' })
    expect((await csv('four'))[0]).toContain('weightedF1High')
  })
})

describe('seeds', () => {
  const settings = () => ({ ...common(), out: at('seeds'), teacher: at('large'), student: at('small') })
  const one = { divergences: ['totalVariation' as const] }
  let done: FinishedTable

  it('trains every row with each, and nothing again that is there', async () => {
    await table(1, { ...settings(), ...one }, context)
    lines.length = 0
    done = (await table(1, { ...settings(), ...one, seeds: 2 }, context))!
    expect(printed(/nothing it is made from has changed/)).toHaveLength(3)
    expect(done.rows.map(({ models }) => models.map(({ trained }) => trained?.seed))).toEqual([
      [undefined],
      [1, 2],
      [1, 2],
      [1, 2],
    ])
    const digests = done.rows.flatMap(({ models }) => models.map(({ digest }) => digest))
    expect(new Set(digests).size).toBe(7)
    const made = JSON.parse(await readFile(join(done.rows[3]!.models[1]!.model, 'made-with.json'), 'utf8'))
    expect(made.settings).toMatchObject({ teacher: at('seeds/teacher-seed-2/model'), training: { seed: 2 } })
  })

  it('prints mean and standard deviation, and writes every model besides', async () => {
    const header = lines.findIndex((line) => line.startsWith('Table 1: '))
    const rows = lines[header + 1]!.split('\n').slice(2)
    expect(rows[0]).not.toContain('±')
    const [a, b] = done.rows[3]!.models.map(({ fields }) => fields.loss!)
    const mean = (a! + b!) / 2
    const deviation = Math.abs(a! - b!) / Math.SQRT2
    expect(rows[3]).toContain(` ${mean.toFixed(3)} ± ${deviation.toFixed(3)} `)
    const [head, ...cells] = await csv('seeds')
    const column = (name: string) => cells.map((row) => row[head!.indexOf(name)])
    expect(column('seed')).toEqual(['', ...[1, 2, 3].flatMap(() => ['1', '2', 'mean', 'deviation'])])
    const last = column('loss').slice(-4).map(Number)
    expect(last.slice(0, 2)).toEqual([a, b])
    expect(last[2]).toBeCloseTo(mean, 12)
    expect(last[3]).toBeCloseTo(deviation, 12)
    expect(column('rougeLLow').at(-1)).toBe('')
    expect(await readFile(at('seeds', 'report.html'), 'utf8')).toContain('mean and standard deviation of 2 seeds')
  })
})

describe('settings of a table', () => {
  it('names models by their folders', () => {
    expect(namesOf(['a/small', 'b/small', 'Qwen/Qwen2.5-0.5B', 'odd name/@x y'])).toEqual([
      'small',
      'small-2',
      'Qwen2.5-0.5B',
      '_x-y',
    ])
  })

  it('trains models of the user as lantern train does, ours in minutes, and as it is told', () => {
    expect(trainingOf('student', 'models/0.5b', {})).toEqual({ checkpointEvery: undefined })
    expect(trainingOf('student', OURS.student, { steps: 9 })).toMatchObject({ steps: 9, learningRate: 2e-3 })
  })

  it('refuses data without a test before anything is trained', async () => {
    await makeData({ out: at('untested'), pairs: 12, seed: 5, validation: 0.2, test: 0.2 }, () => {})
    await rm(at('untested', 'test.jsonl'))
    const settings = { ...common(), data: at('untested'), out: at('five'), models: [at('small')] }
    const failure = table(3, settings, context)
    await expect(failure).rejects.toThrow(DatasetError)
    await expect(failure).rejects.toThrow(/test\.jsonl: is not there, and a table is scored on it/)
  })

  it('says which model does not exist, and which setting is wrong', async () => {
    const missing = table(3, { ...common(), out: at('six'), models: [at('nowhere')] }, context)
    await expect(missing).rejects.toThrow(/nowhere" is neither a stage nor a model folder/)
    const wrong = table(1, { ...common(), divergences: ['jensenshannon' as never] }, context)
    await expect(wrong).rejects.toThrow(ConfigError)
    await expect(wrong).rejects.toThrow(/table 1: divergences/)
  })
})
