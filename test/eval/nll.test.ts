import { describe, expect, it } from 'vitest'
import { EvaluationError } from '../../lib/errors.js'
import { NllAccumulator } from '../../lib/eval/nll.js'

describe('NllAccumulator', () => {
  it('weighs tokens, not batches', () => {
    const corpus = new NllAccumulator()
    corpus.add(10, 1)
    corpus.add(9, 9)
    expect(corpus.tokens).toBe(10)
    expect(corpus.nll).toBe(1.9)
    expect(corpus.perplexity).toBe(Math.exp(1.9))
  })

  it('skips tokens without a label, whatever their value', () => {
    const corpus = new NllAccumulator()
    corpus.addTokens(Float32Array.of(1, Number.NaN, 3), Int32Array.of(5, -100, 7))
    corpus.addTokens([8])
    corpus.add(0, 0)
    expect(corpus.nll).toBe(4)
    expect(corpus.tokens).toBe(3)
  })

  it('keeps small terms beside large ones', () => {
    const corpus = new NllAccumulator()
    corpus.add(1e16, 1)
    for (let i = 0; i < 1000; i++) corpus.add(1, 1)
    expect(corpus.nll).toBe((1e16 + 1000) / 1001)
  })

  it('is infinite when a token had probability 0', () => {
    const corpus = new NllAccumulator()
    corpus.addTokens([1, Infinity, 2])
    expect(corpus.nll).toBe(Infinity)
    expect(corpus.perplexity).toBe(Infinity)
  })

  it('refuses NaN, bad counts and an empty corpus', () => {
    const corpus = new NllAccumulator()
    expect(() => corpus.nll).toThrow(EvaluationError)
    expect(() => corpus.add(Number.NaN, 2)).toThrow(/sum NaN over 2 tokens/)
    expect(() => corpus.add(1, 0)).toThrow(/sum 1 over 0 tokens/)
    expect(() => corpus.add(1, 1.5)).toThrow(/token count 1.5/)
    expect(() => corpus.addTokens([1, 2], [1])).toThrow(/2 values but 1 labels/)
    expect(corpus.tokens).toBe(0)
  })
})
