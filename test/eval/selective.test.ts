import { expect, it } from 'vitest'
import { selectiveScores } from '../../lib/eval/selective.js'

it('counts what is at the threshold or above, and how much of it is right', () => {
  const probabilities = [
    [0.9, 0.1],
    [0.6, 0.4],
    [0.3, 0.7],
    [0.5, 0.5],
  ]
  const labels = [0, 1, 1, 1]
  expect(selectiveScores(probabilities, labels, 0)).toEqual({ coverage: 1, accuracy: 0.5 })
  expect(selectiveScores(probabilities, labels, 0.6)).toEqual({ coverage: 0.75, accuracy: 2 / 3 })
  expect(selectiveScores(probabilities, labels, 0.65)).toEqual({ coverage: 0.5, accuracy: 1 })
  expect(selectiveScores(probabilities, labels, 0.95)).toEqual({ coverage: 0, accuracy: null })
})
