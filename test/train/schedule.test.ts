import { expect, test } from 'vitest'
import { learningRate, type ScheduleOptions } from '../../lib/train/schedule.js'

const schedule = { learningRate: 2, warmupSteps: 4, totalSteps: 12, decay: 'linear' } as const
const rates = (options: ScheduleOptions) =>
  Array.from({ length: options.totalSteps + 1 }, (_, step) => learningRate(step, options))

test('the warm-up rises to the rate in equal steps', () => {
  expect(rates(schedule).slice(0, 4)).toEqual([0.5, 1, 1.5, 2])
  expect(learningRate(0, { ...schedule, warmupSteps: 0 })).toBe(2)
})

test('linear, cosine and constant go where their formulas say', () => {
  expect(rates(schedule).slice(4)).toEqual([2, 1.75, 1.5, 1.25, 1, 0.75, 0.5, 0.25, 0])
  const cosine = rates({ ...schedule, decay: 'cosine' }).slice(4)
  cosine.forEach((rate, i) => {
    expect(rate).toBeCloseTo(1 + Math.cos((Math.PI * i) / 8), 12)
  })
  expect(new Set(rates({ ...schedule, decay: 'constant' }).slice(3))).toEqual(new Set([2]))
})

test('the floor is where linear and cosine end', () => {
  for (const decay of ['linear', 'cosine'] as const) {
    const floored = rates({ ...schedule, decay, floor: 0.1 })
    expect(floored.at(-1)).toBeCloseTo(0.2, 12)
    expect(floored[4]).toBe(2)
  }
})

test('a schedule that cannot be is refused', () => {
  expect(() => learningRate(0, { ...schedule, learningRate: 0 })).toThrow('learningRate must be above 0')
  expect(() => learningRate(0, { ...schedule, totalSteps: 0 })).toThrow('totalSteps 1 or more')
})
