import { setTimeout as sleep } from 'node:timers/promises'
import { ArgumentError, LanternError } from '../errors.js'
import { softmax } from '../eval/calibration.js'
import type { Model } from '../models/model.js'
import { type Pass, passOf, type Question } from './pass.js'

/** Size of the classifier's batches. */
export interface ClassifierOptions {
  /** Tokens of one forward pass, unless a single prompt is longer; default 4096. */
  maxBatchTokens?: number
  /** Milliseconds that an idle classifier waits for company of a first prompt; default 2. */
  batchWindow?: number
  /** Job posts whose embeddings a model with two towers keeps, so that a post that meets many profiles is encoded once; default 1024. */
  cachedJobs?: number
  /** Called after every forward pass, for metrics: what was answered, and the tokens that were computed. */
  onBatch?: (batch: { sequences: number; tokens: number }) => void
}

/** A prompt and the promise of its answer. */
class Job {
  resolve: (probabilities: Float64Array) => void = () => {}
  reject: (error: unknown) => void = () => {}
  readonly result = new Promise<Float64Array>((resolve, reject) => {
    this.resolve = resolve
    this.reject = reject
  })

  constructor(readonly question: Question) {}
}

/**
 * A sequence classifier for many callers at once: prompts that arrive within a few milliseconds of each other, or while a batch is
 * running, share one forward pass over their packed tokens.
 */
export class Classifier {
  readonly #model: Model
  readonly #options: Required<ClassifierOptions>
  readonly #pass: Pass
  readonly #queue = new Set<Job>()
  #running = 0
  #loop: Promise<void> | null = null
  #closed = false

  constructor(model: Model, options: ClassifierOptions = {}) {
    this.#model = model
    this.#options = { maxBatchTokens: 4096, batchWindow: 2, cachedJobs: 1024, onBatch: () => {}, ...options }
    this.#pass = passOf(model, this.#options.cachedJobs)
  }

  /** Prompts waiting for their batch, and those in the batch that is running. */
  get load(): { waiting: number; running: number } {
    return { waiting: this.#queue.size, running: this.#running }
  }

  /**
   * Probabilities of the labels for a prompt, by index. An aborted prompt leaves the queue; one that is running finishes unheard.
   * @param question token ids: one sequence, or for a model with two towers the job post's and the profile's
   * @throws ArgumentError for another number of sequences; LanternError ERR_PROMPT for a prompt that is empty or longer than the model's positions, ERR_CLOSED; the signal's reason
   */
  async classify(question: Question, signal?: AbortSignal): Promise<Float64Array> {
    const count = this.#model.config.twoTower ? 2 : 1
    if (question.length !== count)
      throw new ArgumentError(`classify: there are ${question.length} sequences; give ${count} to this classifier`)
    for (const ids of question) this.#check(ids)
    signal?.throwIfAborted()
    const job = new Job(question)
    const abort = () => {
      this.#queue.delete(job)
      job.reject(signal?.reason)
    }
    signal?.addEventListener('abort', abort, { once: true })
    this.#queue.add(job)
    this.#loop ??= this.#run()
    try {
      return await job.result
    } finally {
      signal?.removeEventListener('abort', abort)
    }
  }

  /** Rejects what is waiting, with ERR_CLOSED, and waits for the batch that is running. */
  async close(): Promise<void> {
    this.#closed = true
    for (const job of this.#queue) job.reject(closed())
    this.#queue.clear()
    await this.#loop
    this.#pass.dispose()
  }

  #check(ids: ArrayLike<number>): void {
    if (this.#closed) throw closed()
    const { maxPositionEmbeddings } = this.#model.config
    if (ids.length === 0) throw new LanternError('ERR_PROMPT', 'the prompt has no tokens; give at least one')
    if (ids.length > maxPositionEmbeddings)
      throw new LanternError(
        'ERR_PROMPT',
        `the prompt has ${ids.length} tokens, the classifier takes ${maxPositionEmbeddings}; shorten the job post or the profile`,
      )
  }

  async #run(): Promise<void> {
    await sleep(this.#options.batchWindow)
    while (this.#queue.size > 0) {
      const batch = this.#take()
      this.#running = batch.length
      try {
        const rows = await this.#forward(batch)
        for (const [i, job] of batch.entries()) job.resolve(rows[i]!)
      } catch (error) {
        for (const job of batch) job.reject(error)
      }
      this.#running = 0
    }
    this.#loop = null
  }

  /** The oldest prompts that fit one pass. */
  #take(): Job[] {
    const batch: Job[] = []
    let tokens = 0
    const meter = this.#pass.meter()
    for (const job of this.#queue) {
      tokens += meter(job.question)
      if (batch.length > 0 && tokens > this.#options.maxBatchTokens) break
      batch.push(job)
    }
    for (const job of batch) this.#queue.delete(job)
    return batch
  }

  async #forward(jobs: readonly Job[]): Promise<Float64Array[]> {
    const { logits, tokens } = await this.#pass.run(jobs.map((job) => job.question))
    this.#options.onBatch({ sequences: jobs.length, tokens })
    const { numLabels, classifierTemperature } = this.#model.config
    const row = (i: number) => logits.subarray(i * numLabels!, (i + 1) * numLabels!)
    return jobs.map((_, i) => softmax(row(i), classifierTemperature))
  }
}

const closed = () => new LanternError('ERR_CLOSED', 'the classifier was closed; open the service again')
