import { TokenizerError } from '../errors.js'
import { BYTES_BY_CHAR, bytesToToken } from './byteLevel.js'
import { PairQueue } from './pairQueue.js'
import type { AddedToken, TokenizerJson } from './tokenizerFiles.js'

/**
 * How text is cut into words before merging, the Qwen2 rule: contractions, letters with one leading other character,
 * single digits, runs of punctuation, line breaks, spaces. Merges never cross a word.
 */
const CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
const WORDS = '[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+'

/** The same rule for JavaScript, which has no case-insensitive groups before ECMAScript 2025. */
const TRAINING_WORD = new RegExp(`'(?:[sStTmMdD]|[rR][eE]|[vV][eE]|[lL][lL])|${WORDS}`, 'gu')

/** What a vocabulary is trained on, and how large it gets. */
export interface BpeTrainerOptions {
  /** Training text, in documents of any size; read once. */
  texts: Iterable<string>
  /** Ids in all: 256 bytes, merges, special tokens. Fewer result when the text runs out of pairs to merge. */
  vocabSize: number
  /** Special tokens in the order of their ids, which follow all others; default endoftext, im_start, im_end. */
  specialTokens?: readonly string[]
  /** Phrases that are one token each wherever they stand, the longest first: added tokens, but not special ones. Default none. */
  phrases?: readonly string[]
  /** A pair that occurs less often is not merged, default 2. */
  minFrequency?: number
  /**
   * Normalise text before it is cut, default null: any text survives a round trip byte for byte. 'NFC' is what the Qwen
   * family does, and what transformers 5 does to every tokenizer in a folder with model_type qwen2.
   */
  normalizer?: 'NFC' | null
  /** Called now and then with the merges made and wanted. */
  onProgress?: (merges: number, total: number) => void
}

/** The special tokens of the Qwen family that a text conversation needs. */
export const CHAT_SPECIAL_TOKENS = ['<|endoftext|>', '<|im_start|>', '<|im_end|>'] as const

/** Distinct words as runs of symbols in one array, with how often each occurs. */
interface Corpus {
  symbols: Int32Array
  /** [words + 1] where each word begins; merging shortens words in place. */
  starts: Int32Array
  lengths: Int32Array
  counts: Float64Array
}

function checkOptions(vocabSize: number, specialTokens: readonly string[], phrases: readonly string[]): void {
  const added = [...phrases, ...specialTokens]
  const least = 256 + added.length
  if (!Number.isInteger(vocabSize) || vocabSize < least || vocabSize > 1 << 20) {
    throw new TokenizerError(
      'TOKENIZER_TRAIN',
      `trainByteLevelBpe: vocabSize ${vocabSize}; pass an integer from ${least} (256 bytes, phrases and special tokens) to ${1 << 20}.`,
    )
  }
  if (new Set(added).size !== added.length || added.some((token) => token.length < 2)) {
    throw new TokenizerError(
      'TOKENIZER_TRAIN',
      `trainByteLevelBpe: phrases and special tokens ${JSON.stringify(added)}; each must be unique and longer than one character.`,
    )
  }
}

/** Counts the words of all texts; added tokens in them separate words and are not learned from. */
function countWords(texts: Iterable<string>, added: readonly string[], normalizer: 'NFC' | null) {
  const counts = new Map<string, number>()
  const longestFirst = [...added].sort((a, b) => b.length - a.length)
  for (const text of texts) {
    let parts = [normalizer ? text.normalize(normalizer) : text]
    for (const token of longestFirst) parts = parts.flatMap((part) => part.split(token))
    for (const part of parts) {
      for (const word of part.match(TRAINING_WORD) ?? []) counts.set(word, (counts.get(word) ?? 0) + 1)
    }
  }
  return counts
}

function buildCorpus(words: ReadonlyMap<string, number>): Corpus {
  const symbolOfByte = new Int32Array(256)
  for (const [symbol, byte] of BYTES_BY_CHAR.entries()) symbolOfByte[byte] = symbol
  const encoder = new TextEncoder()
  const encoded = [...words.keys()].map((word) => encoder.encode(word))
  const starts = new Int32Array(encoded.length + 1)
  for (const [w, bytes] of encoded.entries()) starts[w + 1] = starts[w]! + bytes.length
  const symbols = new Int32Array(starts[encoded.length]!)
  for (const [w, bytes] of encoded.entries()) {
    for (let i = 0; i < bytes.length; i++) symbols[starts[w]! + i] = symbolOfByte[bytes[i]!]!
  }
  const lengths = Int32Array.from(encoded, (bytes) => bytes.length)
  return { symbols, starts, lengths, counts: Float64Array.from(words.values()) }
}

/** Replaces every a, b of one word by c, left to right, and keeps the pair counts true. */
function mergeWord(corpus: Corpus, word: number, a: number, b: number, c: number, pairs: PairQueue): void {
  const { symbols } = corpus
  const start = corpus.starts[word]!
  const length = corpus.lengths[word]!
  const count = corpus.counts[word]!
  let read = start
  const end = start + length
  while (read + 1 < end && !(symbols[read] === a && symbols[read + 1] === b)) read++
  if (read + 1 >= end) return // an earlier merge took this occurrence

  for (let i = start; i + 1 < end; i++) pairs.add(symbols[i]!, symbols[i + 1]!, -count)
  let write = read
  while (read < end) {
    if (read + 1 < end && symbols[read] === a && symbols[read + 1] === b) {
      symbols[write++] = c
      read += 2
    } else {
      symbols[write++] = symbols[read++]!
    }
  }
  corpus.lengths[word] = write - start
  for (let i = start; i + 1 < write; i++) {
    const left = symbols[i]!
    const right = symbols[i + 1]!
    pairs.add(left, right, count)
    if (left === c || right === c) pairs.occursIn(left, right, word)
  }
}

/** The merge loop: the most frequent pair becomes a symbol until the vocabulary is full. */
function learnMerges(
  corpus: Corpus,
  options: { symbols: number; minFrequency: number; onProgress: (n: number) => void },
) {
  const pairs = new PairQueue(options.symbols)
  for (let word = 0; word < corpus.counts.length; word++) {
    const start = corpus.starts[word]!
    const last = start + corpus.lengths[word]! - 1
    for (let i = start; i < last; i++) {
      pairs.add(corpus.symbols[i]!, corpus.symbols[i + 1]!, corpus.counts[word]!)
      pairs.occursIn(corpus.symbols[i]!, corpus.symbols[i + 1]!, word)
    }
  }
  pairs.refresh()

  const tokens = BYTES_BY_CHAR.map((byte) => bytesToToken([byte]))
  const ids = new Map(tokens.map((token, id) => [token, id]))
  const merges: string[] = []
  while (tokens.length < options.symbols) {
    const best = pairs.pop()
    if (best === undefined || best.count < options.minFrequency) break
    const token = tokens[best.left]! + tokens[best.right]!
    // "a" + "bc" after "ab" + "c" gives a token that exists: a second merge into the same id
    const id = ids.get(token) ?? tokens.push(token) - 1
    ids.set(token, id)
    merges.push(`${tokens[best.left]} ${tokens[best.right]}`)
    for (const word of best.words) mergeWord(corpus, word, best.left, best.right, id, pairs)
    pairs.refresh()
    if (merges.length % 64 === 0) options.onProgress(merges.length)
  }
  options.onProgress(merges.length)
  return { ids, merges }
}

/**
 * Learns a byte-level BPE vocabulary (Sennrich et al. 2016; bytes as in GPT-2) and returns the content of a
 * tokenizer.json that the Hugging Face libraries load. The result depends on the text alone: equally frequent pairs merge
 * in the order of their ids.
 * @throws TokenizerError when vocabSize or the special tokens are impossible
 */
export function trainByteLevelBpe(options: BpeTrainerOptions): TokenizerJson {
  const {
    texts,
    vocabSize,
    specialTokens = CHAT_SPECIAL_TOKENS,
    phrases = [],
    minFrequency = 2,
    normalizer = null,
    onProgress,
  } = options
  checkOptions(vocabSize, specialTokens, phrases)
  const added = [...phrases, ...specialTokens]
  const symbols = vocabSize - added.length
  const { ids, merges } = learnMerges(buildCorpus(countWords(texts, added, normalizer)), {
    symbols,
    minFrequency: Math.max(minFrequency, 1),
    onProgress: (done) => onProgress?.(done, symbols - 256),
  })
  const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false }
  const addedTokens: AddedToken[] = added.map((content, i) => ({
    id: ids.size + i,
    content,
    ...flags,
    special: i >= phrases.length,
  }))
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: false, use_regex: false }
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: addedTokens,
    normalizer: normalizer && { type: normalizer },
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [
        { type: 'Split', pattern: { Regex: `${CONTRACTIONS}|${WORDS}` }, behavior: 'Isolated', invert: false },
        byteLevel,
      ],
    },
    post_processor: byteLevel,
    decoder: byteLevel,
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab: Object.fromEntries(ids),
      merges,
    },
  }
}
