import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { DatasetError } from '../../lib/errors.js'
import {
  type PairSample,
  readDataset,
  readProvenance,
  splitDataset,
  toSample,
  writeDataset,
  writeProvenance,
} from '../../lib/fit/dataset.js'
import { generatePairs } from '../../lib/fit/generate.js'

const samples = [...generatePairs({ seed: 5, count: 60 })].map(toSample)
const collect = async (file: string) => {
  const read: PairSample[] = []
  for await (const sample of readDataset(file)) read.push(sample)
  return read
}

let folder = ''
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lantern-fit-'))
})
afterAll(() => rm(folder, { recursive: true }))

describe('datasets', () => {
  it('are read as they were written', async () => {
    const file = join(folder, 'deep', 'train.jsonl')
    expect(await writeDataset(file, samples)).toBe(60)
    expect(await collect(file)).toEqual(samples)
    expect(await readdir(join(folder, 'deep'))).toEqual(['train.jsonl'])
  })

  const good = JSON.stringify(samples[0])
  it.each([
    ['no JSON', `${good}\n{"id": `, 2, /no JSON/],
    ['a missing field', `${good}\n\n{"id": "x"}`, 3, /jobId/],
    ['an unknown level', good.replace(/"level":"\w+"/, '"level":"superb"'), 1, /level/],
    ['an unknown field', good.replace('{', '{"labell":1,'), 1, /labell/],
    ['an empty text', JSON.stringify({ ...samples[0], explanation: ' ' }), 1, /explanation: is empty/],
    ['no statuses', JSON.stringify({ ...samples[0], statuses: [] }), 1, /statuses/],
    ['a repeated id', `${good}\n${good}`, 2, /occurred before/],
    ['an empty file', '\n\n', 0, /no sample/],
  ])('name file and line of %s', async (name, text, line, message) => {
    const file = join(folder, `${name}.jsonl`)
    await writeFile(file, text)
    const error = await collect(file).catch((caught: unknown) => caught)
    expect(error).toBeInstanceOf(DatasetError)
    expect(error).toMatchObject({ code: 'ERR_DATASET', file, line, message: expect.stringMatching(message) })
    expect((error as Error).message.startsWith(line > 0 ? `${file}:${line}: ` : `${file}: `)).toBe(true)
  })

  it('that do not exist are a typed error', async () => {
    await expect(collect(join(folder, 'none.jsonl'))).rejects.toMatchObject({ code: 'ERR_DATASET', line: 0 })
  })

  it('stay as they were when writing fails', async () => {
    const file = join(folder, 'kept.jsonl')
    await writeDataset(file, samples.slice(0, 2))
    const before = await readFile(file, 'utf8')
    await expect(writeDataset(file, [samples[2]!, { ...samples[3]!, job: '' }])).rejects.toThrow(
      /kept\.jsonl:2: .*job: is empty/,
    )
    const failing = (function* () {
      yield samples[4]!
      throw new Error('source broke')
    })()
    await expect(writeDataset(file, failing)).rejects.toThrow(/source broke/)
    expect(await readFile(file, 'utf8')).toBe(before)
    expect((await readdir(folder)).filter((name) => name.endsWith('.tmp'))).toEqual([])
  })
})

describe('splits', () => {
  it('keep the samples of a job together and lose none', () => {
    const split = splitDataset(samples, { seed: 1, validation: 0.2, test: 0.2 })
    const parts = [split.train, split.validation, split.test]
    expect(parts.map((part) => part.length)).toEqual([36, 12, 12])
    const jobs = parts.map((part) => new Set(part.map((sample) => sample.jobId)))
    for (const [i, own] of jobs.entries())
      for (const other of jobs.slice(i + 1)) expect([...own].filter((job) => other.has(job))).toEqual([])
    expect(
      parts
        .flat()
        .map((sample) => sample.id)
        .sort(),
    ).toEqual(samples.map((sample) => sample.id).sort())
  })
  it('depend on the seed alone', () => {
    const ids = (seed: number, list = samples) =>
      splitDataset(list, { seed })
        .test.map((sample) => sample.id)
        .sort()
    expect(ids(1)).toEqual(ids(1, [...samples].reverse()))
    expect(ids(1)).not.toEqual(ids(2))
  })
  it('refuse shares and sizes that leave nothing', () => {
    expect(() => splitDataset(samples, { seed: 1, validation: 0.5, test: 0.5 })).toThrow(/leave nothing to train on/)
    expect(() => splitDataset(samples.slice(0, 3), { seed: 1 })).toThrow(/too few/)
  })
})

describe('provenance', () => {
  it('stands beside the data', async () => {
    const made = { command: 'lantern data --seed 5', version: '0.1.0', seed: 5, counts: { 'train.jsonl': 60 } }
    expect(await writeProvenance(folder, made)).toBe(join(folder, 'made-with.json'))
    expect(await readProvenance(folder)).toEqual(made)
    await expect(readProvenance(join(folder, 'deep'))).rejects.toMatchObject({ code: 'ERR_DATASET' })
  })
})
