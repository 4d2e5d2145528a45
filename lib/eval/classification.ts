import { EvaluationError } from '../errors.js'

/** Scores of one class; 0 where undefined, as scikit-learn with `zero_division=0`. */
export interface ClassScore {
  precision: number
  recall: number
  f1: number
  /** Samples that truly are of this class. */
  support: number
}

/** Scores of a classifier over a set. */
export interface ClassificationScores {
  samples: number
  accuracy: number
  /** Mean of the classes' F1 weighted by true support. */
  weightedF1: number
  /** Plain mean of F1 over the classes that occur in the labels or the predictions. */
  macroF1: number
  /** One entry per class. */
  classes: ClassScore[]
  /** [classCount][classCount], `confusion[label][predicted]` counts samples. */
  confusion: number[][]
}

function checkClasses(name: string, values: ArrayLike<number>, classCount: number): void {
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!
    if (Number.isInteger(value) && value >= 0 && value < classCount) continue
    throw new EvaluationError(
      'EVALUATION_CLASS',
      `classificationScores: ${name}[${i}] is ${value}; pass integers from 0 to ${classCount - 1}, or a larger classCount.`,
    )
  }
}

/**
 * Accuracy, weighted and macro F1 and the confusion matrix, as scikit-learn computes them.
 * F1_c = 2 tp / (2 tp + fp + fn).
 * @param labels true class of every sample, 0 to classCount - 1
 * @param predictions predicted class of every sample
 * @throws EvaluationError on different lengths, no samples, or a class out of range
 */
export function classificationScores(
  labels: ArrayLike<number>,
  predictions: ArrayLike<number>,
  classCount: number,
): ClassificationScores {
  const samples = labels.length
  if (samples !== predictions.length) {
    throw new EvaluationError(
      'EVALUATION_LENGTH',
      `classificationScores: ${samples} labels but ${predictions.length} predictions; pass one prediction per label.`,
    )
  }
  if (samples === 0) {
    throw new EvaluationError('EVALUATION_EMPTY', 'classificationScores: there are no samples; evaluate at least one.')
  }
  checkClasses('labels', labels, classCount)
  checkClasses('predictions', predictions, classCount)

  const confusion = Array.from({ length: classCount }, () => new Array<number>(classCount).fill(0))
  for (let i = 0; i < samples; i++) confusion[labels[i]!]![predictions[i]!]!++

  const classes: ClassScore[] = []
  let correct = 0
  let weighted = 0
  let f1Sum = 0
  let occurring = 0
  for (let c = 0; c < classCount; c++) {
    const truePositive = confusion[c]![c]!
    const support = confusion[c]!.reduce((sum, count) => sum + count, 0)
    const predicted = confusion.reduce((sum, row) => sum + row[c]!, 0)
    const f1 = support + predicted > 0 ? (2 * truePositive) / (support + predicted) : 0 // 2tp + fp + fn = both sums
    classes.push({ precision: truePositive / (predicted || 1), recall: truePositive / (support || 1), f1, support })
    correct += truePositive
    weighted += f1 * support
    f1Sum += f1
    if (support + predicted > 0) occurring++
  }
  return {
    samples,
    accuracy: correct / samples,
    weightedF1: weighted / samples,
    macroF1: f1Sum / occurring,
    classes,
    confusion,
  }
}
