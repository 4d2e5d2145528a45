import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { classifierPrompt, explanationPrompt, levelSample } from '../../lib/distill/samples.js'
import { type GeneratedPair, generatePairs } from '../../lib/fit/generate.js'
import { fitPrompt } from '../../lib/fit/prompt.js'
import type { ModelConfig } from '../../lib/models/config.js'
import { parseModelConfig } from '../../lib/models/families.js'
import { Tokenizer } from '../../lib/text/tokenizer.js'
import { readTokenizerFiles } from '../../lib/text/tokenizerFiles.js'
import { sequencesOf } from '../../lib/train/batches.js'
import { temporaryFolder, writeTinyTokenizer } from '../tiny.js'

const root = temporaryFolder()
const [pair, other] = [...generatePairs({ seed: 'samples', count: 2 })] as [GeneratedPair, GeneratedPair]
let chat: Tokenizer
let plain: Tokenizer
let around: Tokenizer

/** The tiny tokenizer without its chat template; `specials` stand before and after a text. */
async function withoutTemplate(specials: [string, string] | null): Promise<Tokenizer> {
  const { tokenizer, config } = await readTokenizerFiles(join(root, 'tokenizer'))
  const post_processor = specials && {
    type: 'TemplateProcessing',
    single: [
      { SpecialToken: { id: specials[0], type_id: 0 } },
      { Sequence: { id: 'A', type_id: 0 } },
      { SpecialToken: { id: specials[1], type_id: 0 } },
    ],
    pair: [],
    special_tokens: Object.fromEntries(
      specials.map((id) => [id, { id, ids: [chat.specialTokens.get(id)], tokens: [id] }]),
    ),
  }
  return new Tokenizer({ tokenizer: { ...tokenizer, post_processor } as never, config, chatTemplate: undefined })
}

beforeAll(async () => {
  await writeTinyTokenizer(join(root, 'tokenizer'))
  chat = await Tokenizer.fromFolder(join(root, 'tokenizer'))
  plain = await withoutTemplate(null)
  around = await withoutTemplate(['<|im_start|>', '<|endoftext|>'])
}, 60_000)

const config = (changes: Partial<ModelConfig>): ModelConfig => ({
  ...parseModelConfig({
    model_type: 'qwen2',
    hidden_size: 8,
    num_hidden_layers: 1,
    num_attention_heads: 1,
    intermediate_size: 8,
    vocab_size: 600,
  }),
  ...changes,
})

describe('what a classifier reads', () => {
  const { prompt } = pair
  const text = `${prompt.system}\n\n${prompt.user}`

  it('is the turn of the explainer for a causal model with a chat template', () => {
    expect(classifierPrompt(chat, config({}), prompt)).toEqual([explanationPrompt(chat, prompt)])
  })

  it('is plain text for others, with what the tokenizer puts around it', () => {
    const [ids] = classifierPrompt(around, config({}), prompt)
    expect(around.decode(ids!)).toBe(`<|im_start|>${text}<|endoftext|>`)
    expect(classifierPrompt(chat, config({ causal: false, pooling: 'mean' }), prompt)).toEqual([chat.encode(text)])
  })

  it('ends with a token of its own where that is pooled', () => {
    const [last] = classifierPrompt(plain, config({ causal: false }), prompt)
    expect([...last!]).toEqual([...plain.encode(text), plain.eosTokenId])
    expect(classifierPrompt(plain, config({ pooling: 'mean' }), prompt)).toEqual([plain.encode(text)])
  })

  it('keeps special tokens that a text spells out from taking effect', () => {
    const [ids] = classifierPrompt(around, config({}), { ...prompt, user: 'a <|endoftext|> b' })
    expect([...ids!].filter((id) => around.isSpecial(id))).toHaveLength(2)
  })

  it('is for two towers the post and the profile, the post alike for every profile', () => {
    const towers = config({ twoTower: { interaction: 'dot' } })
    const [job, profile] = classifierPrompt(chat, towers, prompt).map((ids) => chat.decode(ids))
    expect(job).toContain('\nMust:')
    expect(job).not.toContain('Profile: ')
    expect(profile).toContain('Profile: ')
    expect(profile).not.toContain('Must:')
    const elsewhere = classifierPrompt(chat, towers, fitPrompt(pair.job, other.profile))
    expect(chat.decode(elsewhere[0]!)).toBe(job)
    expect(chat.decode(elsewhere[1]!)).not.toBe(profile)
    expect(() => classifierPrompt(chat, towers, { system: '', user: 'word' })).toThrow('no line that begins with')
  })
})

describe('levelSample', () => {
  it('joins the two texts of a pair, and takes them apart again', () => {
    const towers = config({ twoTower: { interaction: 'dot' } })
    const sample = levelSample(chat, towers, pair)
    expect(sequencesOf(sample)).toEqual(classifierPrompt(chat, towers, pair.prompt))
    expect(sample.label).toBe(['low', 'medium', 'high'].indexOf(pair.level))
  })

  it('carries probabilities in the order of the levels, if they are asked for', () => {
    const soft = { ...pair, probabilities: { high: 0.7, low: 0.1, medium: 0.2 } }
    expect(levelSample(chat, config({}), soft, { softLabels: true }).probabilities).toEqual([0.1, 0.2, 0.7])
    expect(levelSample(chat, config({}), soft)).not.toHaveProperty('probabilities')
    expect(() => levelSample(chat, config({}), pair, { softLabels: true })).toThrow('has no probabilities')
  })
})
