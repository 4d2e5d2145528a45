import { EvaluationError } from '../errors.js'

/**
 * Corpus negative log-likelihood: the sum of -log p over all valid tokens of the set divided by their number. Never a
 * mean of batch means, which would give tokens of short batches more weight.
 */
export class NllAccumulator {
  private sum = 0
  private compensation = 0
  private count = 0

  /** Valid tokens added so far. */
  get tokens(): number {
    return this.count
  }

  /** Mean -log p per token, in nats. @throws EvaluationError before the first token */
  get nll(): number {
    if (this.count === 0) {
      throw new EvaluationError(
        'EVALUATION_EMPTY',
        'NllAccumulator: no token was added; check that the samples have labels other than -100.',
      )
    }
    return (this.sum + this.compensation) / this.count
  }

  /** exp(nll). @throws EvaluationError before the first token */
  get perplexity(): number {
    return Math.exp(this.nll)
  }

  /**
   * Adds a batch that is already summed.
   * @param sum sum of -log p over the batch's valid tokens, in nats; +Infinity is allowed (a token had probability 0)
   * @param tokens their number; a batch of none adds nothing
   * @throws EvaluationError when the sum is NaN or -Infinity, or the count is no natural number
   */
  add(sum: number, tokens: number): void {
    if (!Number.isInteger(tokens) || tokens < 0) {
      throw new EvaluationError(
        'EVALUATION_COUNT',
        `NllAccumulator.add: token count ${tokens}; pass the number of tokens with a label other than -100.`,
      )
    }
    if (Number.isNaN(sum) || sum === -Infinity || (tokens === 0 && sum !== 0)) {
      throw new EvaluationError(
        'EVALUATION_NOT_FINITE',
        `NllAccumulator.add: sum ${sum} over ${tokens} tokens after ${this.count} good ones; the model's logits are broken, check its weights.`,
      )
    }
    this.accumulate(sum)
    this.count += tokens
  }

  /**
   * Adds -log p of single tokens, skipping those without a label.
   * @param values [tokens] -log p, in nats
   * @param labels [tokens] ignoreIndex where the token does not count; all count when absent
   * @param ignoreIndex default -100
   * @throws EvaluationError on different lengths or a NaN among the valid tokens
   */
  addTokens(values: ArrayLike<number>, labels?: ArrayLike<number>, ignoreIndex = -100): void {
    if (labels && labels.length !== values.length) {
      throw new EvaluationError(
        'EVALUATION_LENGTH',
        `NllAccumulator.addTokens: ${values.length} values but ${labels.length} labels; pass one label per value.`,
      )
    }
    for (let i = 0; i < values.length; i++) if (!labels || labels[i] !== ignoreIndex) this.add(values[i]!, 1)
  }

  /** Neumaier's compensated sum: corpora of 1e9 tokens keep their last digits. */
  private accumulate(value: number): void {
    const next = this.sum + value
    if (Number.isFinite(next)) {
      const larger = Math.abs(this.sum) >= Math.abs(value)
      this.compensation += larger ? this.sum - next + value : value - next + this.sum
    }
    this.sum = next
  }
}
