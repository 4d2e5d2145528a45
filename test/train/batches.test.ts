import { describe, expect, test } from 'vitest'
import { BatchPlan, fitSamples, microBatches, type Sample, weightOf } from '../../lib/train/batches.js'

/** A sample of `length` tokens whose last `labels` ones have labels. */
const sample = (length: number, labels = length): Sample => ({
  ids: Int32Array.from({ length }, (_, i) => i),
  labels: Int32Array.from({ length }, (_, i) => (i < length - labels ? -100 : i)),
})

describe('samples that are too long', () => {
  const samples = [sample(4), sample(9), sample(9, 2)]

  test('are cut, and left out when nothing to learn is left', () => {
    const { samples: fitted, truncated, skipped } = fitSamples(samples, 6, 'truncate')
    expect(fitted.map((s) => [s.ids.length, s.labels.length])).toEqual([
      [4, 4],
      [6, 6],
    ])
    expect({ truncated, skipped }).toEqual({ truncated: 2, skipped: 1 })
  })

  test('are left out, counted', () => {
    const { samples: fitted, truncated, skipped } = fitSamples(samples, 6, 'skip')
    expect(fitted).toEqual([samples[0]])
    expect({ truncated, skipped }).toEqual({ truncated: 0, skipped: 2 })
  })

  test('an empty sample, and a set of which nothing is left, are errors', () => {
    expect(() => fitSamples([{ ...sample(3), split: 3, label: 0 }], 6, 'skip')).toThrow('sample 0 has no tokens')
    expect(() => fitSamples([sample(3), sample(0)], 6, 'skip')).toThrow('sample 1 has no tokens')
    expect(() => fitSamples([sample(9)], 6, 'skip')).toThrow('none of 1 samples is usable within 6 tokens')
  })
})

test('weights are valid labels; a class counts once', () => {
  expect(weightOf(sample(7, 3))).toBe(3)
  expect(weightOf({ ...sample(7, 0), label: 2 })).toBe(1)
})

describe('BatchPlan', () => {
  test('every epoch takes every sample once, in an order of its own', () => {
    const plan = new BatchPlan(10, 4, 7)
    expect(plan.stepsPerEpoch).toBe(3)
    const epoch = (n: number) => [0, 1, 2].flatMap((i) => plan.at(3 * n + i))
    for (const n of [0, 1, 2]) expect([...epoch(n)].sort((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    expect(epoch(1)).not.toEqual(epoch(0))
  })

  test('a step depends on the seed and its number alone', () => {
    expect(new BatchPlan(10, 4, 7).at(5)).toEqual([3, 4, 5].map((s) => new BatchPlan(10, 4, 7).at(s))[2])
    expect(new BatchPlan(100, 4, 8).at(5)).not.toEqual(new BatchPlan(100, 4, 7).at(5))
  })

  test('a batch of nothing is refused', () => {
    expect(() => new BatchPlan(10, 0, 7)).toThrow('batchSize is 0')
  })
})

test('micro-batches keep the order, hold whole samples and stay below the limit where one sample allows', () => {
  const samples = [3, 4, 9, 1, 5].map((n) => sample(n))
  const lengths = microBatches(samples, 7).map((micro) => micro.map((s) => s.ids.length))
  expect(lengths).toEqual([[3, 4], [9], [1, 5]])
  expect(microBatches(samples, 7).flat()).toEqual(samples)
})
