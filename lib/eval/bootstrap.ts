import { EvaluationError } from '../errors.js'
import { classificationScores } from './classification.js'

/** A mean and the interval that holds the given share of its bootstrap distribution. */
export interface MeanInterval {
  mean: number
  low: number
  high: number
}

/** How an interval is drawn. */
export interface BootstrapOptions {
  /** Number of resamples, default 1,000. */
  resamples?: number
  /** Share of the distribution inside the interval, default 0.95. */
  confidence?: number
  /** Same values and same seed give the same interval, default 0. */
  seed?: number
}

/** sfc32 (Chris Doty-Humphrey, PractRand), seeded by one 32-bit number; returns uniform 32-bit integers. */
function generator(seed: number): () => number {
  let a = 0x9e3779b9
  let b = 0x243f6a88
  let c = seed >>> 0
  let counter = 1
  const next = (): number => {
    const out = (a + b + counter++) | 0
    a = b ^ (b >>> 9)
    b = (c + (c << 3)) | 0
    c = (((c << 21) | (c >>> 11)) + out) | 0
    return out >>> 0
  }
  for (let i = 0; i < 15; i++) next() // the first outputs still show the seed
  return next
}

/** Quantile with linear interpolation between order statistics, numpy's default. */
function quantile(sorted: Float64Array, q: number): number {
  const at = (sorted.length - 1) * q
  const below = Math.floor(at)
  const low = sorted[below]!
  const high = sorted[Math.min(below + 1, sorted.length - 1)]!
  return low + (high - low) * (at - below)
}

/** Seeded resamples with replacement of the indices below n, and the quantiles of what a statistic makes of them. */
function percentileInterval(
  n: number,
  statistic: (indices: Int32Array) => number,
  { resamples = 1000, confidence = 0.95, seed = 0 }: BootstrapOptions,
): { low: number; high: number } {
  if (n === 0) {
    throw new EvaluationError('EVALUATION_EMPTY', 'bootstrap: there are no values; evaluate at least one sample.')
  }
  if (!Number.isInteger(resamples) || resamples < 1 || !(confidence > 0 && confidence < 1) || !Number.isInteger(seed)) {
    throw new EvaluationError(
      'EVALUATION_OPTIONS',
      `bootstrap: resamples ${resamples}, confidence ${confidence}, seed ${seed}; pass an integer of at least 1, a number between 0 and 1, and an integer.`,
    )
  }
  const random = generator(seed)
  const indices = new Int32Array(n)
  const values = new Float64Array(resamples)
  for (let r = 0; r < resamples; r++) {
    for (let i = 0; i < n; i++) indices[i] = Math.floor((random() / 0x100000000) * n)
    values[r] = statistic(indices)
  }
  values.sort()
  const tail = (1 - confidence) / 2
  return { low: quantile(values, tail), high: quantile(values, 1 - tail) }
}

/**
 * Percentile bootstrap interval of the mean (Efron 1979): resample with replacement, take the mean of each resample,
 * cut the tails.
 * @param values one number per sample, at least one, all finite
 * @throws EvaluationError on no values, a value that is not finite, or options out of range
 */
export function bootstrapMean(values: ArrayLike<number>, options: BootstrapOptions = {}): MeanInterval {
  let total = 0
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!
    if (!Number.isFinite(value)) {
      throw new EvaluationError(
        'EVALUATION_NOT_FINITE',
        `bootstrap: value ${i} is ${value}; find the sample that produced it and leave it out or fix it.`,
      )
    }
    total += value
  }
  const n = values.length
  const meanOf = (indices: Int32Array) => indices.reduce((sum, i) => sum + values[i]!, 0) / n
  return { ...percentileInterval(n, meanOf, options), mean: total / n }
}

/**
 * Percentile bootstrap interval of a classifier's scores: samples are drawn again with their label and prediction.
 * @param labels true class of every sample, 0 to classCount - 1
 * @param score which of the scores
 * @throws EvaluationError as classificationScores does, and on options out of range
 */
export function bootstrapClassification(
  labels: ArrayLike<number>,
  predictions: ArrayLike<number>,
  classCount: number,
  score: 'accuracy' | 'weightedF1',
  options: BootstrapOptions = {},
): MeanInterval {
  const mean = classificationScores(labels, predictions, classCount)[score]
  const again = (indices: Int32Array) =>
    classificationScores(
      indices.map((i) => labels[i]!),
      indices.map((i) => predictions[i]!),
      classCount,
    )[score]
  return { ...percentileInterval(labels.length, again, options), mean }
}
