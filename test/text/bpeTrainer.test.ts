import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { TokenizerError } from '../../lib/errors.js'
import { CHAT_SPECIAL_TOKENS, trainByteLevelBpe } from '../../lib/text/bpeTrainer.js'
import { BYTE_TO_CHAR, bytesToToken, tokenBytes } from '../../lib/text/byteLevel.js'
import { Tokenizer } from '../../lib/text/tokenizer.js'
import { tokenizerFiles, writeTokenizer } from '../../lib/text/writeTokenizer.js'

interface Golden {
  texts: string[]
  vocabSize: number
  merges: string[]
  samples: { text: string; ids: number[] }[]
}

const golden: Golden = JSON.parse(await readFile(new URL('../fixtures/bpe/bpe.json', import.meta.url), 'utf8'))

describe('byte alphabet', () => {
  it('is a bijection that keeps printable ASCII', () => {
    expect(new Set(BYTE_TO_CHAR).size).toBe(256)
    expect(BYTE_TO_CHAR[65]).toBe('A')
    expect(BYTE_TO_CHAR[32]).toBe('Ġ')
    expect(BYTE_TO_CHAR[10]).toBe('Ċ')
    const all = Uint8Array.from({ length: 256 }, (_, byte) => byte)
    expect(tokenBytes(bytesToToken(all))).toEqual(all)
    expect(tokenBytes('a b')).toBeUndefined()
  })
})

describe('trainByteLevelBpe against the reference implementation', () => {
  const trained = trainByteLevelBpe({ texts: golden.texts, vocabSize: golden.vocabSize })
  const tokenizer = new Tokenizer(tokenizerFiles(trained))

  it('learns the same merges in the same order', () => {
    expect(trained.model.merges).toEqual(golden.merges)
  })

  it('gives the same ids for every sample, and the text back byte for byte', () => {
    for (const { text, ids } of golden.samples) {
      expect(Array.from(tokenizer.encode(text)), JSON.stringify(text)).toEqual(ids)
      expect(tokenizer.decode(ids)).toBe(text)
    }
  })

  it('numbers bytes, merges, then special tokens', () => {
    expect(tokenizer.vocabSize).toBe(golden.vocabSize)
    expect([...tokenizer.specialTokens]).toEqual(CHAT_SPECIAL_TOKENS.map((token, i) => [token, 437 + i]))
    expect(tokenizer.tokenToId('!')).toBe(0)
    expect(tokenizer.eosTokenId).toBe(439)
    expect(tokenizer.padTokenId).toBe(437)
  })
})

describe('trainByteLevelBpe', () => {
  it('makes phrases one token each, the longest first, which are not special', () => {
    const phrases = [' (2 years', ' (2 years at', ' (listed)']
    const trained = trainByteLevelBpe({ texts: golden.texts, vocabSize: 400, phrases })
    const tokenizer = new Tokenizer(tokenizerFiles(trained))
    const ids = phrases.map((phrase) => tokenizer.tokenToId(phrase)!)
    expect(ids).toEqual([394, 395, 396])
    const text = 'Go (2 years at Acme); C (2 years); R (listed)<|im_end|>'
    const encoded = Array.from(tokenizer.encode(text))
    expect(encoded.filter((id) => ids.includes(id))).toEqual([ids[1], ids[0], ids[2]])
    expect(tokenizer.decode(encoded)).toBe(text)
    expect(tokenizer.decode(encoded, { skipSpecialTokens: true })).toBe(text.slice(0, -'<|im_end|>'.length))
    expect(Array.from(tokenizer.encode(text, { parseSpecialTokens: false })).length).toBeGreaterThan(encoded.length)
    expect(() => trainByteLevelBpe({ texts: [], phrases: ['ab', 'ab'], vocabSize: 400 })).toThrow(TokenizerError)
  })

  it('is deterministic and independent of how the text is divided into documents at line ends', () => {
    const text = golden.texts[0]!
    const once = trainByteLevelBpe({ texts: [text, text], vocabSize: 400 })
    expect(trainByteLevelBpe({ texts: [text, text], vocabSize: 400 })).toEqual(once)
    expect(trainByteLevelBpe({ texts: new Set([text]), vocabSize: 400, minFrequency: 1 }).model.merges).toEqual(
      once.model.merges,
    )
  })

  it('encodes everything from bytes alone when there is nothing to learn', () => {
    const trained = trainByteLevelBpe({ texts: [], vocabSize: 1000 })
    const tokenizer = new Tokenizer(tokenizerFiles(trained))
    expect(tokenizer.vocabSize).toBe(259)
    const text = 'é\u0000 🚀 e\u0301\r\n'
    expect(tokenizer.encode(text)).toHaveLength(new TextEncoder().encode(text).length)
    expect(tokenizer.decode(tokenizer.encode(text))).toBe(text)
  })

  it('does not learn from special tokens spelled out in the text', () => {
    const texts = Array(50).fill('<|im_start|>a<|im_end|>')
    const { vocab } = trainByteLevelBpe({ texts, vocabSize: 400 }).model
    expect(Object.keys(vocab)).toHaveLength(256)
  })

  it('merges overlapping repeats left to right', () => {
    const trained = trainByteLevelBpe({ texts: ['aaaaa bbbb aaaaa'], vocabSize: 263 })
    const tokenizer = new Tokenizer(tokenizerFiles(trained))
    // after "a a" and "b b", "aa aa" and "aa a" both occur twice: the smaller id goes first
    expect(trained.model.merges).toEqual(['a a', 'b b', 'aa a', 'aa aaa'])
    expect(tokenizer.encode('aaaaa')).toHaveLength(1)
    expect(tokenizer.encode('aaaaaaa')).toHaveLength(2)
  })

  it('normalises when asked to', () => {
    const trained = trainByteLevelBpe({ texts: ['e\u0301 e\u0301'], vocabSize: 300, normalizer: 'NFC' })
    const tokenizer = new Tokenizer(tokenizerFiles(trained))
    expect(tokenizer.decode(tokenizer.encode('e\u0301'))).toBe('\u00e9')
  })

  it('reports progress up to the last merge', () => {
    const seen: [number, number][] = []
    trainByteLevelBpe({ texts: golden.texts, vocabSize: 459, onProgress: (done, total) => seen.push([done, total]) })
    expect(seen.map(([done]) => done)).toEqual([64, 128, 192, 200])
    expect(seen.every(([, total]) => total === 200)).toBe(true)
  })

  it('refuses impossible vocabularies and special tokens', () => {
    expect(() => trainByteLevelBpe({ texts: [], vocabSize: 258 })).toThrow(TokenizerError)
    expect(() => trainByteLevelBpe({ texts: [], vocabSize: 258 })).toThrow(/from 259/)
    expect(() => trainByteLevelBpe({ texts: [], vocabSize: 300.5 })).toThrow(/300\.5/)
    expect(() => trainByteLevelBpe({ texts: [], vocabSize: 300, specialTokens: ['<a>', '<a>'] })).toThrow(/unique/)
    expect(() => trainByteLevelBpe({ texts: [], vocabSize: 300, specialTokens: ['§'] })).toThrow(/longer than one/)
  })
})

describe('writeTokenizer', () => {
  let folder: string
  const files = tokenizerFiles(trainByteLevelBpe({ texts: golden.texts.slice(0, 3), vocabSize: 320 }))
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'tokenizer-'))
  })
  afterAll(() => rm(folder, { recursive: true }))

  it('writes a folder that loads as it was, and nothing else', async () => {
    const target = join(folder, 'new', 'model')
    await writeTokenizer(target, files)
    await writeTokenizer(target, files) // over an old one
    expect((await readdir(target)).sort()).toEqual(['tokenizer.json', 'tokenizer_config.json'])
    const loaded = await Tokenizer.fromFolder(target)
    const direct = new Tokenizer(files)
    expect(loaded.encode('deploying 🚀')).toEqual(direct.encode('deploying 🚀'))
    expect(loaded.chatTemplate?.source).toBe(direct.chatTemplate?.source)
    expect([loaded.eosTokenId, loaded.padTokenId]).toEqual([direct.eosTokenId, direct.padTokenId])
  })

  it('keeps the chat template of a folder that had it in a file of its own', async () => {
    const target = join(folder, 'template')
    const config = { ...files.config, chat_template: undefined }
    await writeTokenizer(target, { ...files, config, chatTemplate: 'T{{ messages[0].content }}' })
    expect((await Tokenizer.fromFolder(target)).applyChatTemplate([{ role: 'user', content: 'x' }])).toBe('Tx')
  })

  it('refuses a token that is not special, and a target that is no folder', async () => {
    expect(() => tokenizerFiles(files.tokenizer, { eosToken: '</s>' })).toThrow(/"<\/s>" is none of/)
    const blocked = join(folder, 'file')
    await writeFile(blocked, '')
    await expect(writeTokenizer(blocked, files)).rejects.toThrow(TokenizerError)
    await expect(writeTokenizer(blocked, files)).rejects.toThrow(/cannot be written/)
  })

  it('leaves no temporary file behind when it fails', async () => {
    const target = join(folder, 'occupied')
    await mkdir(join(target, 'tokenizer.json'), { recursive: true })
    await expect(writeTokenizer(target, files)).rejects.toThrow(TokenizerError)
    expect(await readdir(target)).toEqual(['tokenizer.json'])
  })
})
