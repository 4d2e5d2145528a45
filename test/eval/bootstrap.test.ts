import { describe, expect, it } from 'vitest'
import { EvaluationError } from '../../lib/errors.js'
import { bootstrapClassification, bootstrapMean } from '../../lib/eval/bootstrap.js'

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

describe('bootstrapClassification', () => {
  const labels = Array.from({ length: 300 }, (_, i) => i % 3)
  const predictions = labels.map((label, i) => (i % 5 === 0 ? (label + 1) % 3 : label))

  it('is the interval of the mean for the accuracy', () => {
    const right = labels.map((label, i) => Number(label === predictions[i]))
    const accuracy = bootstrapClassification(labels, predictions, 3, 'accuracy', { seed: 3 })
    const { mean, low, high } = bootstrapMean(right, { seed: 3 })
    expect(accuracy.mean).toBeCloseTo(mean, 12)
    expect(accuracy.low).toBeCloseTo(low, 12)
    expect(accuracy.high).toBeCloseTo(high, 12)
  })

  it('draws label and prediction together', () => {
    const f1 = bootstrapClassification(labels, predictions, 3, 'weightedF1')
    expect(f1.mean).toBeCloseTo(0.8, 2)
    expect(f1.low).toBeGreaterThan(0.74) // 1.96 standard errors of 0.8 over 300 are 0.045
    expect(f1.high).toBeLessThan(0.86)
    expect(bootstrapClassification(labels, labels, 3, 'weightedF1')).toEqual({ mean: 1, low: 1, high: 1 })
  })
})
