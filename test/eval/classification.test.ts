import { describe, expect, it } from 'vitest'
import { EvaluationError } from '../../lib/errors.js'
import { classificationScores } from '../../lib/eval/classification.js'

describe('classificationScores', () => {
  it('gives the scikit-learn values', () => {
    const scores = classificationScores([0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 2, 2], 3)
    expect(scores.accuracy).toBeCloseTo(0.66667, 5)
    expect(scores.weightedF1).toBeCloseTo(0.67778, 5)
    expect(scores.macroF1).toBeCloseTo((0.8 + 0.5 + 2 / 3) / 3, 12)
    expect(scores.confusion).toEqual([
      [2, 1, 0],
      [0, 1, 1],
      [0, 0, 1],
    ])
    expect(scores.classes[0]).toEqual({ precision: 1, recall: 2 / 3, f1: 0.8, support: 3 })
  })

  it('is 0 where F1 is undefined and leaves classes that never occur out of the macro mean', () => {
    const scores = classificationScores(Int32Array.of(0, 0), Int32Array.of(1, 1), 4)
    expect(scores.weightedF1).toBe(0)
    expect(scores.classes[3]).toEqual({ precision: 0, recall: 0, f1: 0, support: 0 })
    expect(classificationScores([0, 1], [0, 1], 9).macroF1).toBe(1)
  })

  it('refuses what it cannot score', () => {
    expect(() => classificationScores([], [], 3)).toThrow(EvaluationError)
    expect(() => classificationScores([0], [0, 1], 3)).toThrow(/1 labels but 2 predictions/)
    expect(() => classificationScores([0, 3], [0, 0], 3)).toThrow(/labels\[1\] is 3/)
    expect(() => classificationScores([0], [0.5], 3)).toThrow(/predictions\[0\] is 0.5/)
  })
})
