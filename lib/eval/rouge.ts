import { EvaluationError } from '../errors.js'
import { type BootstrapOptions, bootstrapMean, type MeanInterval } from './bootstrap.js'
import { lcsLength, lcsPositions } from './lcs.js'
import { porterStem } from './porter.js'

/**
 * ROUGE (Lin 2004) with the exact rules of google-research `rouge_score`, so that numbers compare with published ones.
 */

/** Precision, recall and their harmonic mean, each 0 to 1. */
export interface RougeScore {
  precision: number
  recall: number
  f1: number
}

/** The four variants that are reported, in this order. */
export const ROUGE_KINDS = ['rouge1', 'rouge2', 'rougeL', 'rougeLsum'] as const
/** Name of a variant. */
export type RougeKind = (typeof ROUGE_KINDS)[number]
/** All variants of one pair of texts. */
export type RougeScores = Record<RougeKind, RougeScore>

/** How texts are cut into words. */
export interface RougeOptions {
  /** Porter-stem words longer than three letters, default false. */
  useStemmer?: boolean
}

/**
 * Words as `rouge_score` sees them: lower case, runs of anything outside [a-z0-9] separate, optionally stemmed.
 * Text in other scripts gives no words at all; that is the definition.
 */
export function tokenizeForRouge(text: string, useStemmer = false): string[] {
  const words = text.toLowerCase().match(/[a-z0-9]+/g) ?? []
  return useStemmer ? words.map((word) => (word.length > 3 ? porterStem(word) : word)) : words
}

function scoreOf(hits: number, predicted: number, target: number): RougeScore {
  const precision = hits / Math.max(predicted, 1)
  const recall = hits / Math.max(target, 1)
  const f1 = precision + recall > 0 ? (2 * precision * recall) / (precision + recall) : 0
  return { precision, recall, f1 }
}

function countNgrams(words: readonly string[], n: number): Map<string, number> {
  const counts = new Map<string, number>()
  for (let i = 0; i + n <= words.length; i++) {
    const ngram = n === 1 ? words[i]! : words.slice(i, i + n).join(' ')
    counts.set(ngram, (counts.get(ngram) ?? 0) + 1)
  }
  return counts
}

/** Clipped n-gram overlap. */
function rougeN(target: readonly string[], prediction: readonly string[], n: number): RougeScore {
  const targetCounts = countNgrams(target, n)
  let hits = 0
  for (const [ngram, count] of countNgrams(prediction, n)) hits += Math.min(count, targetCounts.get(ngram) ?? 0)
  return scoreOf(hits, Math.max(prediction.length - n + 1, 0), Math.max(target.length - n + 1, 0))
}

/** Per reference line the union of its longest common subsequences with every candidate line, counts clipped. */
function rougeLsum(target: readonly string[][], prediction: readonly string[][]): RougeScore {
  const targetWords = target.flat()
  const predictedWords = prediction.flat()
  const targetLeft = countNgrams(targetWords, 1)
  const predictedLeft = countNgrams(predictedWords, 1)
  let hits = 0
  for (const line of target) {
    const union = new Set<number>()
    for (const candidate of prediction) for (const i of lcsPositions(line, candidate)) union.add(i)
    for (const i of [...union].sort((a, b) => a - b)) {
      const word = line[i]!
      const inTarget = targetLeft.get(word) ?? 0
      const inPrediction = predictedLeft.get(word) ?? 0
      if (inTarget === 0 || inPrediction === 0) continue
      targetLeft.set(word, inTarget - 1)
      predictedLeft.set(word, inPrediction - 1)
      hits++
    }
  }
  return scoreOf(hits, predictedWords.length, targetWords.length)
}

/**
 * ROUGE-1, -2, -L and -Lsum of one prediction. Lsum splits at line feeds, nothing else. An empty text scores 0.
 * @param target the reference text
 * @param prediction the generated text
 */
export function rouge(target: string, prediction: string, options: RougeOptions = {}): RougeScores {
  const { useStemmer = false } = options
  const lines = (text: string): string[][] => text.split('\n').map((line) => tokenizeForRouge(line, useStemmer))
  const targetLines = lines(target)
  const predictedLines = lines(prediction)
  const targetWords = targetLines.flat()
  const predictedWords = predictedLines.flat()
  return {
    rouge1: rougeN(targetWords, predictedWords, 1),
    rouge2: rougeN(targetWords, predictedWords, 2),
    rougeL: scoreOf(lcsLength(targetWords, predictedWords), predictedWords.length, targetWords.length),
    rougeLsum: rougeLsum(targetLines, predictedLines),
  }
}

/** Corpus score of one variant: plain means over the samples, and the bootstrap interval of the mean F1. */
export interface CorpusRougeScore extends RougeScore {
  interval: MeanInterval
}

/** Scores of a whole set. */
export interface CorpusRouge {
  /** Number of samples. */
  samples: number
  scores: Record<RougeKind, CorpusRougeScore>
  /** Scores of every sample, in order. */
  perSample: RougeScores[]
}

/**
 * Mean ROUGE over a corpus with seeded bootstrap intervals.
 * @param targets reference texts
 * @param predictions generated texts, one per target
 * @throws EvaluationError when the two differ in length or are empty
 */
export function corpusRouge(
  targets: readonly string[],
  predictions: readonly string[],
  options: RougeOptions & BootstrapOptions = {},
): CorpusRouge {
  if (targets.length !== predictions.length) {
    throw new EvaluationError(
      'EVALUATION_LENGTH',
      `corpusRouge: ${targets.length} targets but ${predictions.length} predictions; pass one prediction per target, in the same order.`,
    )
  }
  if (targets.length === 0) {
    throw new EvaluationError('EVALUATION_EMPTY', 'corpusRouge: there are no samples; evaluate at least one.')
  }
  const perSample = targets.map((target, i) => rouge(target, predictions[i]!, options))
  const summarise = (kind: RougeKind): CorpusRougeScore => {
    const mean = (part: keyof RougeScore): number =>
      perSample.reduce((sum, sample) => sum + sample[kind][part], 0) / perSample.length
    const interval = bootstrapMean(
      perSample.map((sample) => sample[kind].f1),
      options,
    )
    return { precision: mean('precision'), recall: mean('recall'), f1: interval.mean, interval }
  }
  const scores = {
    rouge1: summarise('rouge1'),
    rouge2: summarise('rouge2'),
    rougeL: summarise('rougeL'),
    rougeLsum: summarise('rougeLsum'),
  }
  return { samples: perSample.length, scores, perSample }
}
