import { LanternError } from '../errors.js'
import type { Decoder } from '../models/decoder.js'
import type { Attend } from '../models/model.js'
import { pack } from '../models/packed.js'
import { attention } from '../ops/attention.js'
import { cacheWrite, pagedAttention } from '../ops/pagedAttention.js'
import { lastToken } from '../ops/pooling.js'
import { checkSampling, type RowSampling, sample } from '../ops/sampling.js'
import type { Tensor } from '../tensor/tensor.js'
import { BLOCK_SIZE, BlockPool } from './blocks.js'
import { Scheduler, type Sequence } from './scheduler.js'

/** How to choose tokens; see RowSampling. The seed gives a sequence the same draws whatever else is in the batch. */
export type SamplingOptions = Pick<RowSampling, 'temperature' | 'topK' | 'topP' | 'repetitionPenalty' | 'seed'>

/** What to generate. */
export interface GenerateOptions extends SamplingOptions {
  maxTokens: number
  /** Generation ends before one of these ids; default: the model's eosTokenId. */
  stop?: readonly number[]
  signal?: AbortSignal
}

/** One generated token. */
export interface GeneratedToken {
  id: number
  /** Natural logarithm of its probability under the model's own distribution: before penalty, temperature and truncation. */
  logProbability: number
}

/** Size of the engine's cache and batches. */
export interface EngineOptions {
  /** Tokens that the KV cache holds; default 8192. */
  cacheTokens?: number
  /** Sequences decoded together; default 64. */
  maxSequences?: number
  /** Prompt tokens computed in one step; default 4096. */
  maxPrefillTokens?: number
  /** Ids at and above are never sampled: the tokenizer's size where the model's vocabulary is padded. */
  vocabularyLimit?: number
  /** Called after every step, for metrics. */
  onStep?: (step: EngineStep) => void
}

/** What one forward pass of the engine did. */
export interface EngineStep {
  /** Whether it computed prompts; otherwise one token for each running sequence. */
  prefill: boolean
  sequences: number
  /** Tokens that went through the model. */
  tokens: number
}

interface Request extends Sequence {
  readonly options: GenerateOptions
  readonly promptLength: number
  readonly stop: ReadonlySet<number>
  deliver(token: GeneratedToken | null, error?: unknown): void
}

/**
 * Generates for many callers at once: continuous batching over a paged KV cache.
 *
 *     const engine = new Engine(model)
 *     for await (const { id } of engine.generate(promptIds, { maxTokens: 200, signal })) ...
 *     engine.dispose()
 */
export class Engine {
  readonly #model: Decoder
  readonly #scheduler: Scheduler<Request>
  readonly #caches: { k: Tensor; v: Tensor }[]
  readonly #limit: number
  readonly #onStep: (step: EngineStep) => void
  readonly #requests = new Set<Request>()
  #loop: Promise<void> | null = null
  #disposed = false

  constructor(model: Decoder, options: EngineOptions = {}) {
    this.#model = model
    const { kvHeads, headDim, layers, vocabSize } = model.config
    const pool = new BlockPool(BlockPool.needed(options.cacheTokens ?? 8192))
    this.#scheduler = new Scheduler(pool, options.maxPrefillTokens ?? 4096, options.maxSequences ?? 64)
    this.#limit = Math.min(options.vocabularyLimit ?? vocabSize, vocabSize)
    this.#onStep = options.onStep ?? (() => {})
    const shape = [pool.total, BLOCK_SIZE, kvHeads, headDim]
    this.#caches = model.device.persistent(() =>
      Array.from({ length: layers }, () => ({
        k: model.device.zeros(shape, model.dtype),
        v: model.device.zeros(shape, model.dtype),
      })),
    )
  }

  /** Sequences waiting for their prefill, and being decoded. */
  get load(): { waiting: number; running: number } {
    return { waiting: this.#scheduler.waiting, running: this.#scheduler.running }
  }

  /** Tokens that the KV cache has room for, and those in blocks that no sequence holds. */
  get cache(): { tokens: number; free: number } {
    const { total, free } = this.#scheduler.pool
    return { tokens: total * BLOCK_SIZE, free: free * BLOCK_SIZE }
  }

  /**
   * Continues a prompt, token by token. Leaving the loop, or aborting the signal, ends the sequence and frees its cache.
   * @throws LanternError, at once: ERR_PROMPT for a prompt that is empty, does not fit cache or positions, or holds ids that the model does
   *   not have; ERR_ARGUMENT for a setting out of range; ERR_CLOSED after dispose(). While iterating: the signal's reason, ERR_CLOSED, or
   *   what failed on the device
   */
  generate(prompt: ArrayLike<number>, options: GenerateOptions): AsyncGenerator<GeneratedToken> {
    this.#check(prompt, options)
    return this.#generate(prompt, options)
  }

  async *#generate(prompt: ArrayLike<number>, options: GenerateOptions): AsyncGenerator<GeneratedToken> {
    options.signal?.throwIfAborted()
    this.#assertOpen()
    const { eosTokenId } = this.#model.config
    const stop = options.stop ?? (eosTokenId === null ? [] : [eosTokenId].flat())
    const arrived: (GeneratedToken | null)[] = []
    let failure: unknown
    let wake = () => {}
    const request: Request = {
      ids: Array.from(prompt),
      cached: 0,
      blocks: [],
      options,
      promptLength: prompt.length,
      stop: new Set(stop),
      deliver: (token, error) => {
        failure ??= error
        arrived.push(token)
        wake()
      },
    }
    const abort = () => this.#finish(request, options.signal?.reason)
    options.signal?.addEventListener('abort', abort, { once: true })
    this.#requests.add(request)
    this.#scheduler.add(request)
    this.#loop ??= this.#run()
    try {
      for (;;) {
        while (arrived.length === 0)
          await new Promise<void>((resolve) => {
            wake = resolve
          })
        const token = arrived.shift()!
        if (token === null) {
          if (failure !== undefined) throw failure
          return
        }
        yield token
      }
    } finally {
      options.signal?.removeEventListener('abort', abort)
      this.#finish(request)
    }
  }

  #check(prompt: ArrayLike<number>, options: GenerateOptions): void {
    this.#assertOpen()
    checkSampling(options, 'the request')
    const { maxTokens } = options
    const { maxPositionEmbeddings, vocabSize } = this.#model.config
    const room = Math.min(maxPositionEmbeddings, this.#scheduler.pool.total * BLOCK_SIZE)
    if (prompt.length === 0) throw new LanternError('ERR_PROMPT', 'the prompt has no tokens; give at least one')
    if (!Number.isInteger(maxTokens) || maxTokens < 1)
      throw new LanternError('ERR_PROMPT', `maxTokens is ${maxTokens}; give a number of tokens of 1 or more`)
    if (prompt.length + maxTokens > room)
      throw new LanternError(
        'ERR_PROMPT',
        `${prompt.length} prompt tokens and ${maxTokens} new ones do not fit ${room} (positions and KV cache); shorten the prompt, lower maxTokens or raise cacheTokens`,
      )
    for (let i = 0; i < prompt.length; i++) {
      const id = prompt[i]!
      if (!Number.isInteger(id) || id < 0 || id >= vocabSize)
        throw new LanternError(
          'ERR_PROMPT',
          `token ${i} of the prompt is ${id}, but the model has the ids 0 to ${vocabSize - 1}; encode the prompt with the tokenizer of the model`,
        )
    }
  }

  #assertOpen(): void {
    if (this.#disposed) throw closed()
  }

  async #run(): Promise<void> {
    await Promise.resolve() // requests of the same turn of the event loop share the first prefill
    while (!this.#scheduler.idle && !this.#disposed) {
      const { prefill, sequences } = this.#scheduler.next()
      if (sequences.length === 0) continue
      try {
        await this.#step(prefill, sequences)
      } catch (error) {
        for (const s of sequences) this.#finish(s, error)
      }
    }
    this.#loop = null
  }

  async #step(prefill: boolean, sequences: Request[]): Promise<void> {
    const tokens = sequences.reduce((n, s) => n + s.ids.length - s.cached, 0)
    const [ids, logProbabilities] = await this.#drawn(this.#enqueue(prefill, sequences))
    this.#onStep({ prefill, sequences: sequences.length, tokens })
    for (const [i, s] of sequences.entries()) {
      if (s.blocks.length === 0) continue // left meanwhile
      s.cached = s.ids.length
      const id = ids[i]!
      if (s.stop.has(id)) {
        this.#finish(s)
        continue
      }
      s.ids.push(id)
      s.deliver({ id, logProbability: logProbabilities[i]! })
      if (s.ids.length - s.promptLength >= s.options.maxTokens) this.#finish(s)
    }
  }

  async #drawn(drawn: { ids: Tensor; logProbabilities: Tensor }): Promise<[Int32Array, Float32Array]> {
    try {
      return await Promise.all([drawn.ids.ints(), drawn.logProbabilities.floats()])
    } finally {
      drawn.ids.dispose()
      drawn.logProbabilities.dispose()
    }
  }

  /** Forward pass over the new tokens of all sequences, and a token for each. Synchronous: nothing else can open a scope in between. */
  #enqueue(prefill: boolean, sequences: Request[]): { ids: Tensor; logProbabilities: Tensor } {
    const { device, config } = this.#model
    using scope = device.scope()
    const fresh = sequences.map((s) => s.ids.slice(s.cached))
    const batch = pack(device, fresh, {
      offsets: sequences.map((s) => s.cached),
      contexts: sequences.map((s) => s.promptLength + s.options.maxTokens),
    })
    const slots = Int32Array.from(sequences.flatMap((s, i) => fresh[i]!.map((_, k) => this.#slot(s, s.cached + k))))
    const slotMapping = device.tensor(slots)
    const maxBlocks = Math.max(...sequences.map((s) => s.blocks.length))
    const tables = new Int32Array(sequences.length * maxBlocks)
    for (const [i, s] of sequences.entries()) tables.set(s.blocks, i * maxBlocks)
    const blockTables = device.tensor(tables, [sequences.length, maxBlocks])
    const contextLens = device.tensor(Int32Array.from(sequences, (s) => s.ids.length))
    const { heads, kvHeads, headDim } = config
    const attend: Attend = (layer, q, k, v) => {
      const { k: kCache, v: vCache } = this.#caches[layer]!
      cacheWrite({ k, v, kCache, vCache, slotMapping })
      const window = config.slidingWindow?.[layer] ?? null
      if (prefill)
        return attention({
          q,
          k,
          v,
          cuSeqlens: batch.cuSeqlens,
          maxSeqlen: batch.maxSeqlen,
          heads,
          kvHeads,
          headDim,
          causal: true,
          window,
        })
      return pagedAttention({ q, kCache, vCache, blockTables, contextLens, heads, kvHeads, headDim, window })
    }
    const hidden = this.#model.forward(batch, attend)
    const logits = this.#model.logits(prefill ? lastToken(hidden, batch.cuSeqlens) : hidden)
    const drawn = sample(logits, {
      rows: sequences.map((s) => ({ ...s.options, previous: s.ids, step: s.ids.length - s.promptLength })),
      vocabularyLimit: this.#limit,
    })
    return { ids: scope.keep(drawn.ids), logProbabilities: scope.keep(drawn.logProbabilities) }
  }

  #slot(s: Request, position: number): number {
    return s.blocks[Math.floor(position / BLOCK_SIZE)]! * BLOCK_SIZE + (position % BLOCK_SIZE)
  }

  #finish(s: Request, error?: unknown): void {
    this.#requests.delete(s)
    this.#scheduler.remove(s)
    s.deliver(null, error)
  }

  /** Ends all sequences with ERR_CLOSED and gives the cache back. */
  dispose(): void {
    this.#disposed = true
    for (const s of [...this.#requests]) this.#finish(s, closed())
    for (const { k, v } of this.#caches) {
      k.dispose()
      v.dispose()
    }
  }

  /** As `dispose`, for `using`. */
  [Symbol.dispose](): void {
    this.dispose()
  }
}

const closed = () => new LanternError('ERR_CLOSED', 'the engine was disposed of; make another one for its model')
