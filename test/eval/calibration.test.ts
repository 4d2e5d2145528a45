import { describe, expect, it } from 'vitest'
import { expectedCalibrationError, fitTemperature, softmax } from '../../lib/eval/calibration.js'

describe('softmax', () => {
  it('divides logits by the temperature', () => {
    const first = (t: number) => softmax([Math.log(1), Math.log(4)], t)[0]
    expect(first(1)).toBeCloseTo(1 / 5, 12)
    expect(first(2)).toBeCloseTo(1 / 3, 12)
    expect(first(0.5)).toBeCloseTo(1 / 17, 12)
    expect([...softmax([1e4, -1e4, 0])]).toEqual([1, 0, 0])
  })
})

describe('fitTemperature', () => {
  /** Logits with a log-odds of `odds` for class 0, of which `right` in `of` samples are right. */
  const samples = (odds: number, right: number, of: number) => ({
    logits: Array.from({ length: of }, () => [odds, 0]),
    labels: Array.from({ length: of }, (_, i) => (i < right ? 0 : 1)),
  })

  it('is what makes the confidence the accuracy: 3 of 4 right at log-odds z is T = z / ln 3', () => {
    for (const z of [0.5, 1, 4, 40]) {
      const { logits, labels } = samples(z, 3, 4)
      const t = fitTemperature(logits, labels)
      expect(t).toBeCloseTo(z / Math.log(3), 9)
      expect(softmax(logits[0]!, t)[0]).toBeCloseTo(0.75, 9)
    }
  })

  it('minimises the negative log-likelihood', () => {
    const logits = [
      [2, 1, -1],
      [0.5, 3, 0],
      [-1, 0, 1.5],
      [4, 0, 1],
      [1, 1.2, 0.3],
    ]
    const labels = [0, 1, 2, 2, 0]
    const nll = (t: number) => logits.reduce((n, row, i) => n - Math.log(softmax(row, t)[labels[i]!]!), 0)
    const t = fitTemperature(logits, labels)
    for (const other of [0.9, 0.999, 1.001, 1.1]) expect(nll(t * other)).toBeGreaterThan(nll(t))
  })

  it('stays within its bounds where the labels are all right, or no better than chance', () => {
    expect(fitTemperature([[1, 0]], [0])).toBe(0.01)
    expect(fitTemperature([[1, 0]], [1])).toBe(100)
  })

  it('names what is wrong with its input', () => {
    expect(() => fitTemperature([], [])).toThrow('there are no samples')
    expect(() => fitTemperature([[1, 0]], [0, 1])).toThrow('1 samples but 2 labels')
    expect(() => fitTemperature([[1, 0]], [2])).toThrow('labels[0] is 2')
  })
})

describe('expectedCalibrationError', () => {
  it('is the weighted gap of the bins, by hand', () => {
    // Bin (0.6, 0.667]: 0.61 right and 0.65 wrong, |1/2 - 0.63| = 0.13. Bin (0.867, 0.933]: 0.9 right, 0.1. Two of three, one of three.
    const probabilities = [
      [0.61, 0.39],
      [0.35, 0.65],
      [0.1, 0.9],
    ]
    expect(expectedCalibrationError(probabilities, [0, 0, 1])).toBeCloseTo((2 * 0.13 + 0.1) / 3, 12)
  })

  it('puts the upper edge of a bin into it, and apart what is above', () => {
    // 0.6 = 9/15 is in bin 9, 0.601 in bin 10: gaps 0.4 and -0.601 do not cancel.
    expect(
      expectedCalibrationError(
        [
          [0.6, 0.4],
          [0.601, 0.399],
        ],
        [0, 1],
      ),
    ).toBeCloseTo((0.4 + 0.601) / 2, 12)
  })

  it('is 0 where right is as often as said, 1 where the certain are wrong', () => {
    const quarter = Array.from({ length: 4 }, () => [0.75, 0.25])
    expect(expectedCalibrationError(quarter, [0, 0, 0, 1])).toBe(0)
    expect(expectedCalibrationError([[1, 0]], [1])).toBe(1)
  })
})
