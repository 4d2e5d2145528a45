import { LanternError } from '../errors.js'
import { pack } from '../models/packed.js'
import type { Attend, Qwen2 } from '../models/qwen2.js'
import { attention } from '../ops/attention.js'
import { cacheWrite, pagedAttention } from '../ops/pagedAttention.js'
import { lastToken } from '../ops/pooling.js'
import { sample } from '../ops/sampling.js'
import type { Tensor } from '../tensor/tensor.js'
import { BLOCK_SIZE, BlockPool } from './blocks.js'
import { Scheduler, type Sequence } from './scheduler.js'

/** How to choose tokens. */
export interface SamplingOptions {
  /** 0 (the default): always the most likely token. */
  temperature?: number
  /** Keep the k most likely tokens; 0: all. */
  topK?: number
  /** Keep the most likely tokens that together have this probability; 1: all. */
  topP?: number
  /** Logits of tokens already seen are divided by it when positive, multiplied when negative; 1: off. */
  repetitionPenalty?: number
  /** Seeds this sequence's choices: the same whatever else is in the batch. */
  seed?: number
}

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
  /** Natural-log probability under the distribution it was drawn from. */
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
  readonly #model: Qwen2
  readonly #scheduler: Scheduler<Request>
  readonly #caches: { k: Tensor; v: Tensor }[]
  readonly #limit: number
  #loop: Promise<void> | null = null
  #disposed = false

  constructor(model: Qwen2, options: EngineOptions = {}) {
    this.#model = model
    const { kvHeads, headDim, layers, vocabSize } = model.config
    const pool = new BlockPool(BlockPool.needed(options.cacheTokens ?? 8192))
    this.#scheduler = new Scheduler(pool, options.maxPrefillTokens ?? 4096, options.maxSequences ?? 64)
    this.#limit = Math.min(options.vocabularyLimit ?? vocabSize, vocabSize)
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

  /**
   * Continues a prompt, token by token. Leaving the loop, or aborting the signal, ends the sequence and frees its cache.
   * @throws LanternError ERR_PROMPT for an empty prompt or one that does not fit cache or positions
   */
  async *generate(prompt: ArrayLike<number>, options: GenerateOptions): AsyncGenerator<GeneratedToken> {
    this.#check(prompt, options)
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
    const abort = () => {
      this.#scheduler.remove(request)
      request.deliver(null, options.signal?.reason)
    }
    options.signal?.throwIfAborted()
    options.signal?.addEventListener('abort', abort, { once: true })
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
      this.#scheduler.remove(request)
    }
  }

  #check(prompt: ArrayLike<number>, { maxTokens }: GenerateOptions): void {
    const { maxPositionEmbeddings } = this.#model.config
    const room = Math.min(maxPositionEmbeddings, this.#scheduler.pool.total * BLOCK_SIZE)
    if (prompt.length === 0) throw new LanternError('ERR_PROMPT', 'the prompt has no tokens; give at least one')
    if (!Number.isInteger(maxTokens) || maxTokens < 1)
      throw new LanternError('ERR_PROMPT', `maxTokens is ${maxTokens}; give a number of tokens of 1 or more`)
    if (prompt.length + maxTokens > room)
      throw new LanternError(
        'ERR_PROMPT',
        `${prompt.length} prompt tokens and ${maxTokens} new ones do not fit ${room} (positions and KV cache); shorten the prompt, lower maxTokens or raise cacheTokens`,
      )
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
    const tokens = this.#enqueue(prefill, sequences)
    const [ids, logProbabilities] = await Promise.all([tokens.ids.ints(), tokens.logProbabilities.floats()])
    tokens.ids.dispose()
    tokens.logProbabilities.dispose()
    sequences.forEach((s, i) => {
      if (s.blocks.length === 0) return // left meanwhile
      s.cached = s.ids.length
      const id = ids[i]!
      if (s.stop.has(id)) return this.#finish(s)
      s.ids.push(id)
      s.deliver({ id, logProbability: logProbabilities[i]! })
      if (s.ids.length - s.promptLength >= s.options.maxTokens) this.#finish(s)
    })
  }

  /** Forward pass over the new tokens of all sequences, and a token for each. Synchronous: nothing else can open a scope in between. */
  #enqueue(prefill: boolean, sequences: Request[]): { ids: Tensor; logProbabilities: Tensor } {
    const { device, config } = this.#model
    using scope = device.scope()
    const fresh = sequences.map((s) => s.ids.slice(s.cached))
    const batch = pack(
      device,
      fresh,
      sequences.map((s) => s.cached),
    )
    const slots = Int32Array.from(sequences.flatMap((s, i) => fresh[i]!.map((_, k) => this.#slot(s, s.cached + k))))
    const slotMapping = device.tensor(slots)
    const maxBlocks = Math.max(...sequences.map((s) => s.blocks.length))
    const tables = new Int32Array(sequences.length * maxBlocks)
    sequences.forEach((s, i) => tables.set(s.blocks, i * maxBlocks))
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
    this.#scheduler.remove(s)
    s.deliver(null, error)
  }

  /** Ends all sequences and gives the cache back. */
  dispose(): void {
    this.#disposed = true
    for (const { k, v } of this.#caches) {
      k.dispose()
      v.dispose()
    }
  }

  [Symbol.dispose](): void {
    this.dispose()
  }
}
