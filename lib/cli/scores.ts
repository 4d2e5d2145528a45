import type { MeanInterval } from '../eval/bootstrap.js'
import { ROUGE_KINDS } from '../eval/rouge.js'
import type { ClassifierScores, ExplainerScores } from './eval.js'

const NAMES = { rouge1: 'ROUGE-1', rouge2: 'ROUGE-2', rougeL: 'ROUGE-L', rougeLsum: 'ROUGE-Lsum' } as const

const percent = (share: number): string => `${(100 * share).toFixed(1).padStart(5)} %`

const within = ({ mean, low, high }: MeanInterval): string =>
  `${percent(mean)}   95 % interval ${percent(low)} to ${percent(high)}`

const row = (name: string, value: string): string => `${name.padEnd(18)} ${value}`

/** The scores of an explainer as aligned lines. */
export function explainerLines(scores: ExplainerScores): string[] {
  const { samples, leftOut, loss, perplexity, tokens, rouge, explanation, tokensPerSecond } = scores
  return [
    row('explanations', `${samples}${leftOut > 0 ? `; ${leftOut} left out, longer than the model's positions` : ''}`),
    row('loss', `${loss.toFixed(4)} over ${tokens} tokens (perplexity ${perplexity.toFixed(2)})`),
    ...ROUGE_KINDS.map((kind) => row(NAMES[kind], within(rouge[kind].interval))),
    row('right verdicts', percent(explanation.statusAccuracy)),
    row('right evidence', percent(explanation.evidenceAccuracy)),
    row('requirements named', percent(explanation.coverage)),
    row('right level', percent(explanation.levelRight)),
    row('speed', `${Math.round(tokensPerSecond)} tokens/s`),
  ]
}

/** Expected calibration error with and without a temperature. */
export const eceText = (temperature: number, { raw, calibrated }: { raw: number; calibrated: number }): string =>
  `ECE ${calibrated.toFixed(4)} at temperature ${temperature.toFixed(3)} (${raw.toFixed(4)} without)`

/** The scores of a classifier as aligned lines, the confusion matrix last. */
export function classificationLines(scores: ClassifierScores, classes: readonly string[]): string[] {
  const { samples, intervals, confusion, temperature, ece, kept } = scores
  const { threshold, coverage } = kept
  return [
    row('ratings', String(samples)),
    row('accuracy', within(intervals.accuracy)),
    row('weighted F1', within(intervals.weightedF1)),
    row('calibration', eceText(temperature, ece)),
    ...(threshold > 0
      ? [
          row(
            'kept',
            `${percent(coverage)}   at ${threshold} or above, accuracy ${kept.accuracy === null ? 'none' : percent(kept.accuracy)}`,
          ),
        ]
      : []),
    row('rated as', classes.map((name) => name.padStart(8)).join('')),
    ...confusion.map((counts, i) => row(`  truly ${classes[i]}`, counts.map((n) => String(n).padStart(8)).join(''))),
  ]
}
