import { describe, expect, it } from 'vitest'
import { EvaluationError } from '../../lib/errors.js'
import { bootstrapMean } from '../../lib/eval/bootstrap.js'

describe('bootstrapMean', () => {
  const values = Float64Array.from({ length: 400 }, (_, i) => (i * 37) % 400)

  it('approaches the normal interval of the mean', () => {
    const { mean, low, high } = bootstrapMean(values, { resamples: 4000, seed: 11 })
    expect(mean).toBe(199.5)
    const standardError = Math.sqrt((400 ** 2 - 1) / 12 / 400)
    expect((mean - low) / standardError).toBeCloseTo(1.96, 0)
    expect((high - mean) / standardError).toBeCloseTo(1.96, 0)
    expect(Math.abs((high - low) / standardError - 3.92)).toBeLessThan(0.25)
  })

  it('is a function of values and seed', () => {
    expect(bootstrapMean(values, { seed: 4 })).toEqual(bootstrapMean(values, { seed: 4 }))
    expect(bootstrapMean(values, { seed: 4 })).not.toEqual(bootstrapMean(values, { seed: 5 }))
  })

  it('narrows with less confidence and vanishes for equal values', () => {
    const wide = bootstrapMean(values, { confidence: 0.95 })
    const narrow = bootstrapMean(values, { confidence: 0.5 })
    expect(narrow.high - narrow.low).toBeLessThan(wide.high - wide.low)
    expect(bootstrapMean([0.25, 0.25, 0.25])).toEqual({ mean: 0.25, low: 0.25, high: 0.25 })
    expect(bootstrapMean([7])).toEqual({ mean: 7, low: 7, high: 7 })
  })

  it('refuses empty, non-finite and absurd input', () => {
    expect(() => bootstrapMean([])).toThrow(EvaluationError)
    expect(() => bootstrapMean([1, Number.NaN])).toThrow(/value 1 is NaN/)
    expect(() => bootstrapMean([1], { resamples: 0 })).toThrow(/resamples 0/)
    expect(() => bootstrapMean([1], { confidence: 1 })).toThrow(/confidence 1/)
    expect(() => bootstrapMean([1], { seed: 0.5 })).toThrow(/seed 0.5/)
  })
})
