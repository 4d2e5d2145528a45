import { argmax } from './calibration.js'

/** A classifier that may abstain: how often it answers, and how well where it does. */
export interface SelectiveScores {
  /** Share of the samples whose largest probability reaches the threshold. */
  coverage: number
  /** On those; null when there are none. */
  accuracy: number | null
}

/**
 * Coverage and accuracy of predictions whose largest probability is at least `threshold`.
 * @param probabilities per sample [classes]
 * @param labels class of every sample
 */
export function selectiveScores(
  probabilities: readonly ArrayLike<number>[],
  labels: ArrayLike<number>,
  threshold: number,
): SelectiveScores {
  let kept = 0
  let right = 0
  for (const [i, row] of probabilities.entries()) {
    const predicted = argmax(row)
    if (row[predicted]! < threshold) continue
    kept++
    if (predicted === labels[i]) right++
  }
  return { coverage: kept / probabilities.length, accuracy: kept === 0 ? null : right / kept }
}
