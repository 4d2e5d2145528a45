import { Tokenizer as HfTokenizer } from '@huggingface/tokenizers'
import { TokenizerError } from '../errors.js'
import { tokenBytes } from './byteLevel.js'
import { type ChatMessage, ChatTemplate } from './chatTemplate.js'
import { readTokenizerFiles, specialTokenContent, type TokenizerFiles, tokenizerHash } from './tokenizerFiles.js'
import { cacheWords } from './wordCache.js'

/** How text becomes ids. */
export interface EncodeOptions {
  /** Let the post-processor add its tokens (bos, eos, [CLS] ...), default true. Qwen's adds none. */
  addSpecialTokens?: boolean
  /**
   * Read special tokens spelled out in the text as such, default true. With false they are plain characters: the choice
   * for text from outside, which must not end its turn and open another. Exact for byte-level vocabularies; others may
   * see a word boundary inside such a token.
   */
  parseSpecialTokens?: boolean
}

/** How ids become text. */
export interface DecodeOptions {
  /** Leave special tokens out, default false. */
  skipSpecialTokens?: boolean
}

/** How a conversation is rendered. */
export interface ChatTemplateOptions {
  /** Append the start of an assistant turn, default false. */
  addGenerationPrompt?: boolean
  /** Further variables of the template, e.g. `enable_thinking`. */
  variables?: Record<string, unknown>
}

/** Rows that a model may have beyond its tokenizer: padding to a round size, not another model's vocabulary. */
const MAX_UNUSED_ROWS = 1024
const MAX_UNUSED_SHARE = 0.05

/** A Hugging Face tokenizer: text to token ids and back, chat template included. Nothing is ever prepended on its own. */
export class Tokenizer {
  /** Smallest vocabulary that holds every id: the largest id plus 1. */
  readonly vocabSize: number
  /** Id that ends a sequence or turn, null when the folder names none. */
  readonly eosTokenId: number | null
  /** Id that pads, null when the folder names none. */
  readonly padTokenId: number | null
  /** Content to id of all special tokens. */
  readonly specialTokens: ReadonlyMap<string, number>
  /** Null when the folder has no chat template. */
  readonly chatTemplate: ChatTemplate | null

  private readonly inner: HfTokenizer
  private readonly specialIds: ReadonlySet<number>
  private readonly addedIds: ReadonlyMap<number, string>
  /** Bytes of every id, where the decoder is byte-level; decoding by bytes is exact and works incrementally. */
  private readonly bytes: (Uint8Array | undefined)[] | null
  private readonly cleanUpSpaces: boolean
  private readonly json: TokenizerFiles['tokenizer']

  /** @throws TokenizerError when the files ask for something that is not supported */
  constructor(files: TokenizerFiles) {
    const { tokenizer, config } = files
    this.json = tokenizer
    try {
      this.inner = new HfTokenizer(tokenizer, config)
      cacheWords(this.inner, tokenizer)
    } catch (cause) {
      throw new TokenizerError(
        'TOKENIZER_FORMAT',
        `tokenizer.json cannot be used (${cause instanceof Error ? cause.message : cause}); use the tokenizer.json of a fast tokenizer.`,
        { cause },
      )
    }
    this.vocabSize = 0
    for (const id of this.inner.get_vocab().values()) this.vocabSize = Math.max(this.vocabSize, id + 1)
    const special = tokenizer.added_tokens.filter((token) => token.special)
    this.specialTokens = new Map(special.map((token) => [token.content, token.id]))
    this.specialIds = new Set(this.specialTokens.values())
    this.addedIds = new Map(tokenizer.added_tokens.map((token) => [token.id, token.content]))
    this.bytes = tokenizer.decoder?.type === 'ByteLevel' ? new Array(this.vocabSize) : null
    this.cleanUpSpaces = config.clean_up_tokenization_spaces === true
    this.eosTokenId = this.configuredId('eos_token', config)
    this.padTokenId = this.configuredId('pad_token', config)
    const variables: Record<string, unknown> = {}
    for (const name of ['bos_token', 'eos_token', 'pad_token', 'unk_token']) {
      const content = specialTokenContent(config[name])
      if (content !== undefined) variables[name] = content
    }
    this.chatTemplate = files.chatTemplate === undefined ? null : new ChatTemplate(files.chatTemplate, variables)
  }

  /**
   * Loads tokenizer.json and tokenizer_config.json (and chat_template.jinja) of a model folder, or of a pulled model by its name.
   * @throws TokenizerError on a missing or broken file, ChatTemplateError on a template that does not compile; HubError for a model that has
   *   not been pulled
   */
  static async fromFolder(folder: string): Promise<Tokenizer> {
    return new Tokenizer(await readTokenizerFiles(folder))
  }

  /** SHA-256 of what decides the ids of a text: vocabulary, merges, added tokens, normalizer and the rules that cut words. */
  contentHash(): string {
    return tokenizerHash(this.json)
  }

  /** Id of every entry of the vocabulary, added tokens included. */
  vocabulary(): ReadonlyMap<string, number> {
    return this.inner.get_vocab()
  }

  /** Id of a token by its vocabulary entry, or undefined. */
  tokenToId(token: string): number | undefined {
    return this.inner.token_to_id(token)
  }

  /** Whether an id is that of a special token. */
  isSpecial(id: number): boolean {
    return this.specialIds.has(id)
  }

  /**
   * Token ids of a text, [tokens].
   * @throws TokenizerError when the vocabulary has neither a part of the text nor an unknown token (never if byte-level)
   */
  encode(text: string, options: EncodeOptions = {}): Int32Array {
    const { addSpecialTokens = true, parseSpecialTokens = true } = options
    const parts = parseSpecialTokens ? [text] : this.splitInsideSpecialTokens(text)
    if (parts.length === 1) return this.checked(this.inner.encode(text, { add_special_tokens: addSpecialTokens }).ids)
    let tokens = parts.flatMap((part) => this.inner.tokenize(part, { add_special_tokens: false }))
    if (addSpecialTokens) tokens = this.inner.post_processor?.post_process(tokens, null, true).tokens ?? tokens
    return this.checked(tokens.map((token) => this.inner.token_to_id(token)))
  }

  /**
   * Text of token ids. Bytes that are no UTF-8 become U+FFFD.
   * @throws TokenizerError on an id that the vocabulary does not have
   */
  decode(ids: ArrayLike<number>, options: DecodeOptions = {}): string {
    if (this.bytes) {
      const stream = new StreamDecoder(this, options)
      let text = ''
      for (let i = 0; i < ids.length; i++) text += stream.push(ids[i]!)
      return text + stream.flush()
    }
    const kept = Array.from(ids).filter((id) => this.checkId(id) && !(options.skipSpecialTokens && this.isSpecial(id)))
    return kept.length === 0 ? '' : this.inner.decode(kept, { clean_up_tokenization_spaces: this.cleanUpSpaces })
  }

  /** Decoder for one stream of ids. */
  streamDecoder(options: DecodeOptions = {}): StreamDecoder {
    return new StreamDecoder(this, options)
  }

  /**
   * What one id stands for: bytes of a byte-level vocabulary, the text of an added token, or undefined when the
   * tokenizer is not byte-level and only whole sequences decode.
   * @throws TokenizerError on an id that the vocabulary does not have
   */
  piece(id: number): Uint8Array | string | undefined {
    this.checkId(id)
    const added = this.addedIds.get(id)
    if (added !== undefined || !this.bytes) return added
    const known = this.bytes[id]
    if (known) return known
    const token = this.inner.id_to_token(id)!
    const bytes = tokenBytes(token) ?? new TextEncoder().encode(token)
    this.bytes[id] = bytes
    return bytes
  }

  /** True when single ids have bytes of their own and decode without their neighbours. */
  get isByteLevel(): boolean {
    return this.bytes !== null
  }

  /**
   * Checks that a model with this many embedding rows belongs to this tokenizer; returns the rows that no id uses.
   * @throws TokenizerError when ids would not fit, or when far more rows are unused than padding explains
   */
  checkMatches(modelVocabSize: number): number {
    const unused = modelVocabSize - this.vocabSize
    if (unused >= 0 && unused <= Math.max(MAX_UNUSED_ROWS, modelVocabSize * MAX_UNUSED_SHARE)) return unused
    throw new TokenizerError(
      'TOKENIZER_MISMATCH',
      `The tokenizer has ids up to ${this.vocabSize - 1} but the model has ${modelVocabSize} embedding rows${
        unused < 0 ? '' : `, ${unused} of them unused`
      }; use the tokenizer files that came with the model.`,
    )
  }

  /**
   * Renders a conversation with the folder's chat template. The text is for display and for `encode`; text from outside
   * goes through `encodeChat`, which keeps special tokens spelled out in it from taking effect.
   * @throws ChatTemplateError when there is no template or it refuses the messages
   */
  applyChatTemplate(messages: readonly ChatMessage[], options: ChatTemplateOptions = {}): string {
    return ChatTemplate.require(this.chatTemplate).render(messages, options.addGenerationPrompt, options.variables)
  }

  private configuredId(name: string, config: Record<string, unknown>): number | null {
    const content = specialTokenContent(config[name])
    if (content === undefined) return null
    const id = this.inner.token_to_id(content)
    if (id !== undefined) return id
    throw new TokenizerError(
      'TOKENIZER_FORMAT',
      `tokenizer_config.json: ${name} is ${JSON.stringify(content)}, which tokenizer.json does not have; take both files from the same model.`,
    )
  }

  /** A vocabulary without an unknown token and without all bytes yields holes; better an error than a wrong id. */
  private checked(ids: (number | undefined)[]): Int32Array {
    const hole = ids.indexOf(undefined)
    if (hole < 0) return Int32Array.from(ids as number[])
    throw new TokenizerError(
      'TOKENIZER_UNKNOWN',
      `Token ${hole} of the text is not in the vocabulary and the tokenizer has no unknown token; use a byte-level tokenizer.`,
    )
  }

  private checkId(id: number): true {
    if (Number.isInteger(id) && id >= 0 && this.inner.id_to_token(id) !== undefined) return true
    throw new TokenizerError(
      'TOKENIZER_ID',
      `Token id ${id} is not in the vocabulary of ${this.vocabSize}; mask logits beyond the tokenizer's vocabSize when sampling.`,
    )
  }

  /** Cuts a text after the first character of every special token spelled out in it, so that no part holds one. */
  splitInsideSpecialTokens(text: string): string[] {
    const cuts = new Set<number>()
    for (const content of this.specialTokens.keys()) {
      for (let at = text.indexOf(content); at >= 0; at = text.indexOf(content, at + 1)) {
        cuts.add(at + (text.codePointAt(at)! > 0xffff ? 2 : 1))
      }
    }
    const bounds = [0, ...[...cuts].sort((a, b) => a - b), text.length]
    return bounds.slice(1).map((end, i) => text.slice(bounds[i], end))
  }
}

/**
 * Turns a stream of token ids into text as it grows. A character whose bytes are spread over tokens comes out whole with
 * the last of them; the concatenation of all outputs, `flush` included, equals `Tokenizer.decode`.
 */
export class StreamDecoder {
  private readonly utf8 = new TextDecoder('utf-8', { ignoreBOM: true })
  /** For tokenizers that decode only whole sequences: the last ids whose text is out, as context, and those after. */
  private context: number[] = []
  private pending: number[] = []

  constructor(
    private readonly tokenizer: Tokenizer,
    private readonly options: DecodeOptions = {},
  ) {}

  /** Text that this id completes, often empty. @throws TokenizerError on an id that the vocabulary does not have */
  push(id: number): string {
    const piece = this.tokenizer.piece(id)
    if (this.options.skipSpecialTokens && this.tokenizer.isSpecial(id)) return ''
    if (!this.tokenizer.isByteLevel) return this.pushWhole(id)
    if (piece instanceof Uint8Array) return this.utf8.decode(piece, { stream: true })
    return this.utf8.decode() + piece // an added token ends the run of bytes before it
  }

  /** What is left at the end of the stream: U+FFFD for a character that never completed. */
  flush(): string {
    if (this.tokenizer.isByteLevel) return this.utf8.decode()
    const rest = this.pendingText()
    this.context = []
    this.pending = []
    return rest
  }

  /** Emits what the pending ids add to their context, unless its end may still become another character. */
  private pushWhole(id: number): string {
    this.pending.push(id)
    const fresh = this.pendingText()
    if (fresh === '' || fresh.endsWith('\ufffd')) return ''
    this.context = this.pending
    this.pending = []
    return fresh
  }

  private pendingText(): string {
    const before = this.tokenizer.decode(this.context)
    return this.tokenizer.decode([...this.context, ...this.pending]).slice(before.length)
  }
}
