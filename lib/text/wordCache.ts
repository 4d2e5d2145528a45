import type { Tokenizer as HfTokenizer } from '@huggingface/tokenizers'
import type { TokenizerJson } from './tokenizerFiles.js'

const MAX_WORDS = 1 << 16
/** Longer words do not come again. */
const MAX_WORD_LENGTH = 64

/** A stage of the tokenizers package: calling it calls `_call`. */
interface Stage<In, Out> {
  _call(input: In): Out
}

interface Stages {
  pre_tokenizer: (Stage<string | string[], string[]> & { tokenizers?: Stage<string | string[], string[]>[] }) | null
  model: Stage<string[], string[]> | null
}

interface PreTokenizerJson {
  type?: string
  pretokenizers?: { type?: string; use_regex?: boolean; add_prefix_space?: boolean }[]
}

/** True for the pre-tokenizer of the Qwen, Llama 3 and GPT-4 families: cut by a pattern, then write bytes as characters. */
function cutsThenMapsBytes(json: PreTokenizerJson | null | undefined): boolean {
  const [cut, map, ...more] = json?.pretokenizers ?? []
  return (
    json?.type === 'Sequence' &&
    cut?.type === 'Split' &&
    map?.type === 'ByteLevel' &&
    map.use_regex === false &&
    map.add_prefix_space !== true &&
    more.length === 0
  )
}

/**
 * Remembers the tokens of whole words, ahead of the byte mapping and the merges, where most of the time goes: text is
 * mostly words that were seen before. The tokens stay the same. Does nothing for other kinds of pre-tokenizers.
 */
export function cacheWords(tokenizer: HfTokenizer, json: TokenizerJson): void {
  const { pre_tokenizer: preTokenizer, model } = tokenizer as unknown as Stages
  const [cut, mapBytes] = preTokenizer?.tokenizers ?? []
  if (!preTokenizer || !model || !cut || !mapBytes || !cutsThenMapsBytes(json.pre_tokenizer as PreTokenizerJson)) return

  const encode = model._call.bind(model)
  const words = new Map<string, string[]>()
  const tokensOf = (word: string): string[] => {
    const known = words.get(word)
    if (known) return known
    const tokens = encode(mapBytes._call(word))
    if (word.length > MAX_WORD_LENGTH) return tokens
    if (words.size === MAX_WORDS) words.clear()
    words.set(word, tokens)
    return tokens
  }
  preTokenizer._call = (text) => cut._call(text)
  model._call = (cutWords) => {
    const tokens: string[] = []
    for (const word of cutWords) for (const token of tokensOf(word)) tokens.push(token)
    return tokens
  }
}
