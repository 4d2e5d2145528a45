import { createHash } from 'node:crypto'
import type { Model } from '../models/model.js'
import { pack } from '../models/packed.js'
import { TwoTower } from '../models/twoTower.js'
import { copyInto } from '../ops/elementwise.js'
import type { Tensor } from '../tensor/tensor.js'

/** What a classifier is asked about: one sequence of token ids, or for two towers two, the job post's and the profile's. */
export type Question = readonly ArrayLike<number>[]

/** How a model answers many questions in one forward pass. */
export interface Pass {
  /** Tells of one question after the other how many tokens it adds to a pass. */
  meter(): (question: Question) => number
  /** Class logits [questions, numLabels], and the tokens that it took to find them. */
  run(questions: readonly Question[]): Promise<{ logits: Float32Array; tokens: number }>
  /** Gives the memory back. */
  dispose(): void
}

/** The pass of a model; one with two towers keeps the embeddings of `cachedJobs` job posts. */
export const passOf = (model: Model, cachedJobs: number): Pass =>
  model instanceof TwoTower ? new TowerPass(model, cachedJobs) : new PromptPass(model)

const lengths = (sequences: Question): number => sequences.reduce((n, ids) => n + ids.length, 0)

class PromptPass implements Pass {
  constructor(readonly model: Model) {}

  meter() {
    return lengths
  }

  async run(questions: readonly Question[]) {
    const { device } = this.model
    const sequences = questions.flat()
    using logits = device.persistent(() => device.tidy(() => this.model.classify(pack(device, sequences))))
    return { logits: await logits.floats(), tokens: lengths(sequences) }
  }

  dispose(): void {}
}

/** A pass that encodes each job post once: its embedding is kept by the hash of its tokens until others have been asked for more recently. */
class TowerPass implements Pass {
  /** [1, hiddenSize] each, the least recently used first. */
  readonly #kept = new Map<string, Tensor>()

  constructor(
    readonly model: TwoTower,
    readonly capacity: number,
  ) {}

  meter() {
    const known = new Set(this.#kept.keys())
    return ([job, profile]: Question) => {
      const key = keyOf(job!)
      const tokens = profile!.length + (known.has(key) ? 0 : job!.length)
      known.add(key)
      return tokens
    }
  }

  async run(questions: readonly Question[]) {
    const keys = questions.map(([job]) => keyOf(job!))
    const fresh = new Map<string, ArrayLike<number>>()
    for (const [i, key] of keys.entries()) if (!this.#kept.has(key)) fresh.set(key, questions[i]![0]!)
    const sequences = [...fresh.values(), ...questions.map(([, profile]) => profile!)]
    const { device } = this.model
    const { logits, encoded } = device.persistent(() =>
      device.tidy(() => this.#enqueue(sequences, [...fresh.keys()], keys)),
    )
    try {
      const values = await logits.floats()
      this.#keep(keys, new Map([...fresh.keys()].map((key, i) => [key, encoded[i]!])))
      return { logits: values, tokens: lengths(sequences) }
    } catch (error) {
      for (const t of encoded) t.dispose() // of a pass that failed nothing is to be used again
      throw error
    } finally {
      logits.dispose()
    }
  }

  /**
   * @param sequences the job posts that are new, then the profiles
   * @param fresh keys of the new job posts
   * @param keys of the job post of every profile
   */
  #enqueue(sequences: Question, fresh: readonly string[], keys: readonly string[]) {
    const { device } = this.model
    const pooled = this.model.encode(pack(device, sequences))
    const row = () => device.empty([1, pooled.dim(1)], pooled.dtype)
    const encoded = fresh.map((_, i) => copyInto(row(), pooled.rows(i, i + 1)))
    const jobs = new Map([...this.#kept, ...fresh.map((key, i) => [key, encoded[i]!] as const)])
    const u = device.empty([keys.length, pooled.dim(1)], pooled.dtype)
    for (const [i, key] of keys.entries()) copyInto(u.rows(i, i + 1), jobs.get(key)!)
    return { logits: this.model.compare(u, pooled.rows(fresh.length, sequences.length)), encoded }
  }

  #keep(used: readonly string[], fresh: ReadonlyMap<string, Tensor>): void {
    for (const key of new Set(used)) {
      const t = this.#kept.get(key) ?? fresh.get(key)!
      this.#kept.delete(key)
      this.#kept.set(key, t)
    }
    for (const [key, t] of this.#kept) {
      if (this.#kept.size <= this.capacity) return
      this.#kept.delete(key)
      t.dispose()
    }
  }

  dispose(): void {
    for (const t of this.#kept.values()) t.dispose()
    this.#kept.clear()
  }
}

const keyOf = (ids: ArrayLike<number>): string => createHash('sha256').update(Int32Array.from(ids)).digest('base64')
