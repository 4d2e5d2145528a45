import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ChatTemplateError, TokenizerError } from '../../lib/errors.js'
import { trainByteLevelBpe } from '../../lib/text/bpeTrainer.js'
import { Tokenizer } from '../../lib/text/tokenizer.js'
import type { TokenizerFiles } from '../../lib/text/tokenizerFiles.js'
import { tokenizerFiles, writeTokenizer } from '../../lib/text/writeTokenizer.js'

const golden: { texts: string[]; samples: { text: string; ids: number[] }[] } = JSON.parse(
  await readFile(new URL('../fixtures/bpe/bpe.json', import.meta.url), 'utf8'),
)
const trained = trainByteLevelBpe({ texts: golden.texts, vocabSize: 400 })
const tokenizer = new Tokenizer(tokenizerFiles(trained))

/** A vocabulary of whole words with bytes as fallback, as the Llama family has it: single ids do not decode alone. */
function wordPieceLikeLlama(): TokenizerFiles {
  const bytes = Array.from({ length: 256 }, (_, b) => `<0x${b.toString(16).toUpperCase().padStart(2, '0')}>`)
  const vocab = Object.fromEntries(
    ['<s>', '</s>', '▁', 'h', 'i', '▁h', '▁hi', ...bytes].map((token, id) => [token, id]),
  )
  return {
    tokenizer: {
      added_tokens: [
        { id: 0, content: '<s>', special: true },
        { id: 1, content: '</s>', special: true },
      ],
      normalizer: {
        type: 'Sequence',
        normalizers: [
          { type: 'Prepend', prepend: '▁' },
          { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
        ],
      },
      pre_tokenizer: null,
      post_processor: {
        type: 'TemplateProcessing',
        single: [{ SpecialToken: { id: '<s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
        pair: [],
        special_tokens: { '<s>': { id: '<s>', ids: [0], tokens: ['<s>'] } },
      },
      decoder: {
        type: 'Sequence',
        decoders: [
          { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
          { type: 'ByteFallback' },
          { type: 'Fuse' },
          { type: 'Strip', content: ' ', start: 1, stop: 0 },
        ],
      },
      model: { type: 'BPE', byte_fallback: true, vocab, merges: ['▁ h', '▁h i'] },
    },
    config: { eos_token: { content: '</s>' } },
    chatTemplate: undefined,
  }
}

describe('encode and decode', () => {
  it('handles the empty text', () => {
    expect(tokenizer.encode('')).toEqual(new Int32Array(0))
    expect(tokenizer.decode([])).toBe('')
  })

  it('never prepends anything', () => {
    expect(tokenizer.encode('a')).toEqual(tokenizer.encode('a', { addSpecialTokens: false }))
    expect(tokenizer.encode('a')).toHaveLength(1)
  })

  it('decodes or drops special tokens', () => {
    const ids = tokenizer.encode('<|im_start|>user\nhi<|im_end|>')
    expect(tokenizer.decode(ids)).toBe('<|im_start|>user\nhi<|im_end|>')
    expect(tokenizer.decode(ids, { skipSpecialTokens: true })).toBe('user\nhi')
    expect(tokenizer.isSpecial(ids[0]!)).toBe(true)
    expect(tokenizer.isSpecial(ids[1]!)).toBe(false)
  })

  it('reads special tokens in a text as plain characters when asked to', () => {
    for (const text of ['<|im_end|>', 'a<|im_start|>system\nb<|im_end|><|im_end|>c', '<|<|im_end|>|im_end|>']) {
      const ids = tokenizer.encode(text, { parseSpecialTokens: false })
      expect(Array.from(ids).some((id) => tokenizer.isSpecial(id))).toBe(false)
      expect(tokenizer.decode(ids)).toBe(text)
    }
    expect(tokenizer.encode('plain', { parseSpecialTokens: false })).toEqual(tokenizer.encode('plain'))
  })

  it('turns broken bytes into U+FFFD', () => {
    const [first] = tokenizer.encode('\u{10ffff}')
    expect(tokenizer.decode([first!])).toBe('\ufffd')
  })

  it('takes lone surrogates as UTF-8 encoders do', () => {
    expect(tokenizer.decode(tokenizer.encode('a\ud800b'))).toBe('a\ufffdb')
  })

  it.each([-1, 0.5, Number.NaN, 400, 1 << 30])('refuses to decode id %s', (id) => {
    expect(() => tokenizer.decode([0, id])).toThrow(TokenizerError)
    expect(() => tokenizer.decode([0, id])).toThrow(/not in the vocabulary of 400/)
  })

  it('gives the same ids with its word cache hot', () => {
    const fresh = new Tokenizer(tokenizerFiles(trained))
    for (const { text } of golden.samples) {
      const cold = fresh.encode(text)
      expect(fresh.encode(text)).toEqual(cold)
      expect(tokenizer.decode(cold)).toBe(text)
    }
  })
})

describe('StreamDecoder', () => {
  it('emits whole characters only and adds up to decode', () => {
    for (const { text } of golden.samples) {
      for (const skipSpecialTokens of [false, true]) {
        const ids = tokenizer.encode(text)
        const stream = tokenizer.streamDecoder({ skipSpecialTokens })
        const pieces = [...ids].map((id) => stream.push(id))
        for (const piece of pieces) expect(!/[\ud800-\udfff\ufffd]/u.test(piece)).toBe(true)
        expect(pieces.join('') + stream.flush()).toBe(tokenizer.decode(ids, { skipSpecialTokens }))
      }
    }
  })

  it('holds a character back until its last byte', () => {
    const ids = [...tokenizer.encode('𝄞')]
    expect(ids).toHaveLength(4)
    const stream = tokenizer.streamDecoder()
    expect(ids.map((id) => stream.push(id))).toEqual(['', '', '', '𝄞'])
    expect(stream.flush()).toBe('')
  })

  it('flushes what never completed as U+FFFD, and is ready for another stream', () => {
    const [first, second] = tokenizer.encode('𝄞')
    const stream = tokenizer.streamDecoder()
    expect([stream.push(first!), stream.push(second!), stream.flush()]).toEqual(['', '', '\ufffd'])
    expect(stream.push(tokenizer.tokenToId('a')!)).toBe('a')
  })

  it('ends an unfinished character at a special token that is shown, and joins over one that is not', () => {
    const [a, b, c, d] = tokenizer.encode('𝄞')
    const ids = [a!, b!, tokenizer.eosTokenId!, c!, d!]
    expect(tokenizer.decode(ids)).toMatch(/^\ufffd<\|im_end\|>\ufffd+$/)
    expect(tokenizer.decode(ids, { skipSpecialTokens: true })).toBe('𝄞')
  })

  it('works for tokenizers whose ids decode only together', () => {
    const llama = new Tokenizer(wordPieceLikeLlama())
    const ids = llama.encode('hi hi é𝄞 h', { addSpecialTokens: false })
    expect(llama.decode(ids)).toBe('hi hi é𝄞 h')
    const stream = llama.streamDecoder()
    const pieces = [...ids].map((id) => stream.push(id))
    expect(pieces.slice(0, 2)).toEqual(['hi', ' hi'])
    expect(pieces.join('') + stream.flush()).toBe('hi hi é𝄞 h')
    for (const piece of pieces) expect(piece).not.toContain('\ufffd')
  })
})

describe('other families', () => {
  const llama = new Tokenizer(wordPieceLikeLlama())

  it('lets the post-processor add its tokens, also to text with plain special tokens', () => {
    expect([...llama.encode('hi')]).toEqual([0, 6])
    expect([...llama.encode('hi', { addSpecialTokens: false })]).toEqual([6])
    const plain = llama.encode('hi</s>', { parseSpecialTokens: false })
    expect(plain[0]).toBe(0)
    expect(plain.includes(1)).toBe(false)
    expect(llama.decode([0, 6, 1], { skipSpecialTokens: true })).toBe('hi')
    expect(llama.eosTokenId).toBe(1)
    expect(llama.padTokenId).toBeNull()
  })

  it('reports text that the vocabulary cannot express', () => {
    const files = wordPieceLikeLlama()
    files.tokenizer.model = { type: 'WordPiece', vocab: { a: 0 }, unk_token: '[UNK]' }
    expect(() => new Tokenizer(files).encode('zzz', { addSpecialTokens: false })).toThrow(TokenizerError)
  })
})

describe('checkMatches', () => {
  it('accepts padding and tells how many rows it has', () => {
    expect(tokenizer.checkMatches(400)).toBe(0)
    expect(tokenizer.checkMatches(512)).toBe(112)
  })

  it('refuses a model with fewer rows, and one with far more', () => {
    expect(() => tokenizer.checkMatches(399)).toThrow(TokenizerError)
    expect(() => tokenizer.checkMatches(399)).toThrow(/ids up to 399 but the model has 399 embedding rows;/)
    expect(() => tokenizer.checkMatches(151_936)).toThrow(/151536 of them unused/)
  })
})

describe('applyChatTemplate', () => {
  it('renders ChatML', () => {
    const messages = [
      { role: 'system', content: 'Be brief.' },
      { role: 'user', content: ' Hi\n' },
      { role: 'assistant', content: 'Hello' },
    ] as const
    const text =
      '<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n Hi\n<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n'
    expect(tokenizer.applyChatTemplate(messages)).toBe(text)
    expect(tokenizer.applyChatTemplate(messages.slice(0, 1), { addGenerationPrompt: true })).toBe(
      '<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>assistant\n',
    )
  })

  it('passes the special tokens and further variables', () => {
    const files = tokenizerFiles(trained, { chatTemplate: '{{ eos_token }}{{ pad_token }}{{ mode }}' })
    expect(new Tokenizer(files).applyChatTemplate([], { variables: { mode: 'x' } })).toBe('<|im_end|><|endoftext|>x')
  })

  it('says what is wrong with a template', () => {
    const withTemplate = (chatTemplate: string) => new Tokenizer(tokenizerFiles(trained, { chatTemplate }))
    expect(() => withTemplate('{% for %}')).toThrow(ChatTemplateError)
    expect(() => withTemplate("{{ raise_exception('roles must alternate') }}").applyChatTemplate([])).toThrow(
      /refuses these messages.*roles must alternate/,
    )
    const without = new Tokenizer({ ...tokenizerFiles(trained), chatTemplate: undefined })
    expect(without.chatTemplate).toBeNull()
    expect(() => without.applyChatTemplate([])).toThrow(/no chat template/)
  })
})

describe('fromFolder', () => {
  let folder: string
  const write = (name: string, content: unknown) =>
    writeFile(join(folder, name), typeof content === 'string' ? content : JSON.stringify(content))
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'tokenizer-'))
    await writeTokenizer(folder, tokenizerFiles(trained))
  })
  afterAll(() => rm(folder, { recursive: true }))

  it('prefers chat_template.jinja, and knows lists of named templates', async () => {
    const config = tokenizerFiles(trained).config
    const chat_template = [
      { name: 'tool_use', template: 'tools' },
      { name: 'default', template: 'default' },
    ]
    await write('tokenizer_config.json', { ...config, chat_template })
    expect((await Tokenizer.fromFolder(folder)).applyChatTemplate([])).toBe('default')
    await write('chat_template.jinja', 'file')
    expect((await Tokenizer.fromFolder(folder)).applyChatTemplate([])).toBe('file')
    await rm(join(folder, 'chat_template.jinja'))
    await write('tokenizer_config.json', { ...config, chat_template: 7 })
    await expect(Tokenizer.fromFolder(folder)).rejects.toThrow(ChatTemplateError)
  })

  it('takes the end token from special_tokens_map.json when the configuration lacks it', async () => {
    await write('tokenizer_config.json', {})
    expect((await Tokenizer.fromFolder(folder)).eosTokenId).toBeNull()
    await write('special_tokens_map.json', { eos_token: { content: '<|endoftext|>' } })
    expect((await Tokenizer.fromFolder(folder)).eosTokenId).toBe(397)
    await rm(join(folder, 'special_tokens_map.json'))
  })

  it.each([
    ['broken JSON', '{"model": ', /not valid JSON .*download/],
    ['no object', '[]', /not a JSON object/],
    ['no model', {}, /"model\.vocab" is missing/],
    ['a list for a vocabulary', { model: { type: 'Unigram', vocab: [['a', 0]] } }, /"model\.vocab" is missing/],
    ['an absurd id', { model: { type: 'BPE', vocab: { a: 1e12 }, merges: [] } }, /below 2\^24/],
    ['a negative id', { model: { type: 'BPE', vocab: { a: -1 }, merges: [] } }, /below 2\^24/],
    ['a broken added token', { ...trained, added_tokens: [{ id: 'x', content: 'y' }] }, /"added_tokens"/],
    ['no merges', { ...trained, model: { ...trained.model, merges: undefined } }, /cannot be used/],
    ['an unknown component', { ...trained, decoder: { type: 'Nonsense' } }, /cannot be used .*Nonsense/],
  ])('refuses tokenizer.json with %s', async (_, content, message) => {
    await write('tokenizer_config.json', {})
    await write('tokenizer.json', content)
    await expect(Tokenizer.fromFolder(folder)).rejects.toThrow(TokenizerError)
    await expect(Tokenizer.fromFolder(folder)).rejects.toThrow(message)
  })

  it('refuses a configuration of another model', async () => {
    await write('tokenizer.json', trained)
    await write('tokenizer_config.json', { eos_token: '</s>' })
    await expect(Tokenizer.fromFolder(folder)).rejects.toThrow(
      /eos_token is "<\/s>", which tokenizer\.json does not have/,
    )
  })

  it('names the file that is missing or unreadable', async () => {
    await rm(join(folder, 'tokenizer_config.json'))
    await expect(Tokenizer.fromFolder(folder)).rejects.toThrow(/tokenizer_config\.json: no such file/)
    await expect(Tokenizer.fromFolder(join(folder, 'none'))).rejects.toThrow(/tokenizer\.json: no such file/)
    await expect(Tokenizer.fromFolder(join(folder, 'tokenizer.json'))).rejects.toThrow(TokenizerError)
    await expect(Tokenizer.fromFolder(join(folder, 'tokenizer.json'))).rejects.toThrow(/cannot be read/)
  })
})
