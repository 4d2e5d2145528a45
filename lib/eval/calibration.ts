import { EvaluationError } from '../errors.js'

/** Bins of the expected calibration error, as in the paper. */
const BINS = 15

/** Temperatures that are looked for: beyond them a classifier knows nothing, or is never wrong. */
const COLDEST = 0.01
const HOTTEST = 100

/**
 * Probabilities of the classes: softmax(logits / temperature).
 * @param logits [classes]
 * @param temperature above 1 flattens, below 1 sharpens; the most probable class stays the same
 */
export function softmax(logits: ArrayLike<number>, temperature = 1): Float64Array {
  const scaled = Float64Array.from(logits, (x) => x / temperature)
  const highest = scaled.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY)
  const powers = scaled.map((x) => Math.exp(x - highest))
  const sum = powers.reduce((a, b) => a + b, 0)
  return powers.map((p) => p / sum)
}

/**
 * Temperature scaling (Guo et al. 2017, "On Calibration of Modern Neural Networks", arXiv 1706.04599): the temperature that minimises the mean
 * negative log-likelihood of held-out labels, between 0.01 and 100. The loss is convex in 1 / temperature, so its slope is bisected: the mean over
 * the samples of what the probabilities expect of the logits less the logit of the label.
 * @param logits per sample [classes], not scaled
 * @param labels class of every sample
 * @throws EvaluationError when there are no samples, or not one label a sample, or a label that is no class
 */
export function fitTemperature(logits: readonly ArrayLike<number>[], labels: ArrayLike<number>): number {
  check('fitTemperature', logits, labels)
  const slope = (inverse: number): number =>
    logits.reduce((sum, row, i) => {
      const expected = softmax(row, 1 / inverse).reduce((n, p, c) => n + p * row[c]!, 0)
      return sum + expected - row[labels[i]!]!
    }, 0)
  let [low, high] = [1 / HOTTEST, 1 / COLDEST]
  if (slope(low) >= 0) return HOTTEST
  if (slope(high) <= 0) return COLDEST
  for (let i = 0; i < 60; i++) {
    const middle = Math.sqrt(low * high)
    if (slope(middle) < 0) low = middle
    else high = middle
  }
  return 1 / Math.sqrt(low * high)
}

/**
 * Expected calibration error (Guo et al. 2017, equation 3): predictions in 15 bins of equal width by the probability of the predicted class, bin m
 * over ((m - 1) / 15, m / 15]; the mean over the samples of how far a bin's accuracy is from its mean probability.
 * @param probabilities per sample [classes]
 * @param labels class of every sample
 * @returns 0 (probabilities are what they say) to 1
 * @throws EvaluationError as `fitTemperature`
 */
export function expectedCalibrationError(
  probabilities: readonly ArrayLike<number>[],
  labels: ArrayLike<number>,
): number {
  check('expectedCalibrationError', probabilities, labels)
  const gaps = new Float64Array(BINS)
  for (const [i, row] of probabilities.entries()) {
    const predicted = argmax(row)
    const confidence = row[predicted]!
    const bin = Math.min(BINS, Math.max(1, Math.ceil(confidence * BINS))) - 1
    gaps[bin]! += Number(predicted === labels[i]) - confidence
  }
  return gaps.reduce((sum, gap) => sum + Math.abs(gap), 0) / probabilities.length
}

/** Index of the largest, the first of equal ones. */
export function argmax(values: ArrayLike<number>): number {
  let best = 0
  for (let i = 1; i < values.length; i++) if (values[i]! > values[best]!) best = i
  return best
}

function check(name: string, rows: readonly ArrayLike<number>[], labels: ArrayLike<number>): void {
  if (rows.length === 0)
    throw new EvaluationError('EVALUATION_EMPTY', `${name}: there are no samples; give at least one.`)
  if (rows.length !== labels.length)
    throw new EvaluationError(
      'EVALUATION_LENGTH',
      `${name}: ${rows.length} samples but ${labels.length} labels; pass one label per sample.`,
    )
  for (const [i, row] of rows.entries())
    if (!(Number.isInteger(labels[i]) && labels[i]! >= 0 && labels[i]! < row.length))
      throw new EvaluationError(
        'EVALUATION_CLASS',
        `${name}: labels[${i}] is ${labels[i]}; pass integers from 0 to ${row.length - 1}.`,
      )
}
