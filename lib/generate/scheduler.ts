import type { BlockPool } from './blocks.js'

/** What the scheduler knows of a sequence. */
export interface Sequence {
  /** Prompt and generated tokens. */
  readonly ids: number[]
  /** Tokens whose keys and values are in the cache. */
  cached: number
  readonly blocks: number[]
}

/**
 * Continuous batching with a paged cache: every step is either a prefill of waiting sequences (first come, first served, up to
 * `maxPrefillTokens`) or one decode token for each running one. When the cache is full the youngest running sequence gives its blocks
 * back and waits again; its context is computed anew later. A sequence joins and leaves between any two steps.
 */
export class Scheduler<S extends Sequence> {
  readonly #waiting: S[] = []
  readonly #running: S[] = []

  constructor(
    readonly pool: BlockPool,
    readonly maxPrefillTokens: number,
    readonly maxSequences: number,
  ) {}

  get idle(): boolean {
    return this.#waiting.length === 0 && this.#running.length === 0
  }

  get waiting(): number {
    return this.#waiting.length
  }

  get running(): number {
    return this.#running.length
  }

  add(sequence: S): void {
    this.#waiting.push(sequence)
  }

  /** Takes a sequence out, wherever it is, and frees its blocks. */
  remove(sequence: S): void {
    for (const queue of [this.#waiting, this.#running]) {
      const at = queue.indexOf(sequence)
      if (at >= 0) queue.splice(at, 1)
    }
    this.pool.release(sequence.blocks)
    sequence.cached = 0
  }

  /** The sequences of the next step; room for their new tokens is reserved. */
  next(): { prefill: boolean; sequences: S[] } {
    const prefill = this.#admit()
    return prefill.length > 0 ? { prefill: true, sequences: prefill } : { prefill: false, sequences: this.#grow() }
  }

  #admit(): S[] {
    const admitted: S[] = []
    let tokens = 0
    while (this.#waiting.length > 0 && this.#running.length < this.maxSequences) {
      const s = this.#waiting[0]!
      if (admitted.length > 0 && tokens + s.ids.length > this.maxPrefillTokens) break
      if (!this.pool.grow(s.blocks, s.ids.length)) break
      tokens += s.ids.length
      admitted.push(this.#waiting.shift()!)
      this.#running.push(s)
    }
    return admitted
  }

  #grow(): S[] {
    for (let i = 0; i < this.#running.length; i++) {
      const s = this.#running[i]!
      while (!this.pool.grow(s.blocks, s.ids.length)) {
        const youngest = this.#running.pop()!
        this.pool.release(youngest.blocks)
        youngest.cached = 0
        this.#waiting.unshift(youngest)
        if (youngest === s) break
      }
    }
    return [...this.#running]
  }
}
