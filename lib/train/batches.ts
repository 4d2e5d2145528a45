import { LanternError } from '../errors.js'
import { Random } from '../random.js'

/** A training sample of a language model or of a classifier. */
export interface Sample {
  ids: Int32Array
  /** Shifted: labels[i] is the token to predict at position i, -100 for none. Empty for a classifier. */
  labels: Int32Array
  /** Class of the whole sequence, for a classifier. */
  label?: number
  /** Soft labels of a classifier, which are learnt in place of `label`: [classes], adding up to 1. */
  probabilities?: readonly number[]
  /** Of a pair for two towers: where the tokens of the second text begin in `ids`. */
  split?: number
}

/** The sequences of a sample: one, or the two of a pair. */
export function sequencesOf({ ids, split }: Sample): Int32Array[] {
  return split === undefined ? [ids] : [ids.subarray(0, split), ids.subarray(split)]
}

/** A sample of one sequence, or of the two of a pair, without labels. */
export function joined([first, second]: readonly Int32Array[]): Sample {
  const labels = new Int32Array(0)
  if (!second) return { ids: first!, labels }
  return { ids: Int32Array.of(...first!, ...second), labels, split: first!.length }
}

/** What to do with a sample that is longer than the maximum. */
export type LongSamplePolicy = 'truncate' | 'skip'

/** Samples fit for training, and what was done to get them so. */
export interface Fitted {
  samples: Sample[]
  truncated: number
  skipped: number
}

/** Valid labels of a sample: what a loss is averaged over. A class counts once. */
export function weightOf(sample: Sample): number {
  if (sample.label !== undefined) return 1
  let n = 0
  for (const y of sample.labels) if (y !== -100) n++
  return n
}

/**
 * Applies the length policy, and drops what has nothing to learn from (counted as skipped).
 * @throws LanternError ERR_SAMPLE for an empty sample or when nothing is left
 */
export function fitSamples(samples: readonly Sample[], maxLength: number, policy: LongSamplePolicy): Fitted {
  const out: Fitted = { samples: [], truncated: 0, skipped: 0 }
  samples.forEach((s, i) => {
    if (sequencesOf(s).some((ids) => ids.length === 0))
      throw new LanternError('ERR_SAMPLE', `sample ${i} has no tokens; remove it from the dataset`)
    let sample = s
    const isLong = sequencesOf(s).some((ids) => ids.length > maxLength)
    if (isLong && policy === 'truncate') {
      out.truncated++
      const cut = sequencesOf(s).map((ids) => ids.slice(0, maxLength))
      sample = { ...s, ...joined(cut), labels: s.labels.slice(0, maxLength) }
    }
    if ((isLong && policy === 'skip') || weightOf(sample) === 0) out.skipped++
    else out.samples.push(sample)
  })
  if (out.samples.length === 0)
    throw new LanternError(
      'ERR_SAMPLE',
      `none of ${samples.length} samples is usable within ${maxLength} tokens; raise maxLength or check the labels`,
    )
  return out
}

/**
 * The samples of every optimiser step as a function of the seed alone, so that a resumed run sees what the uninterrupted one would:
 * each epoch is a permutation of its own, steps take `batchSize` samples in order, the last step of an epoch may be smaller.
 */
export class BatchPlan {
  readonly stepsPerEpoch: number
  #epoch = -1
  #order: number[] = []

  constructor(
    readonly count: number,
    readonly batchSize: number,
    readonly seed: number,
  ) {
    if (!Number.isInteger(batchSize) || batchSize < 1)
      throw new LanternError('ERR_BATCH', `batchSize is ${batchSize}; give a number of samples of 1 or more`)
    this.stepsPerEpoch = Math.ceil(count / batchSize)
  }

  /** Indices of the samples of a step. */
  at(step: number): number[] {
    const epoch = Math.floor(step / this.stepsPerEpoch)
    if (epoch !== this.#epoch) {
      this.#order = new Random(`${this.seed}/${epoch}`).shuffle(Array.from({ length: this.count }, (_, i) => i))
      this.#epoch = epoch
    }
    const from = (step % this.stepsPerEpoch) * this.batchSize
    return this.#order.slice(from, from + this.batchSize)
  }
}

/**
 * Splits the samples of a step into micro-batches of at most `maxTokens` tokens (a longer single sample is a micro-batch of its own),
 * whole samples in their order: gradients are accumulated over them.
 */
export function microBatches(samples: readonly Sample[], maxTokens: number): Sample[][] {
  const out: Sample[][] = []
  let tokens = Number.POSITIVE_INFINITY
  for (const s of samples) {
    if (tokens + s.ids.length > maxTokens) {
      out.push([])
      tokens = 0
    }
    out.at(-1)!.push(s)
    tokens += s.ids.length
  }
  return out
}
