import { describe, expect, test } from 'vitest'
import { MemoryError } from '../../lib/errors.js'
import { fitsIn, type Place, type PlanRequest, stepOf } from '../../lib/plan/changes.js'
import { largestMicroBatch, preflight, validationMicroBatch } from '../../lib/plan/preflight.js'
import { resolveConfig } from '../../lib/plan/published.js'
import { microBatches, type Sample } from '../../lib/train/batches.js'
import { uniform } from '../support.js'

const place = (memory: number): Place => ({ name: 'a device', memory, device: { kind: 'cuda', multiprocessors: 128 } })

const request: PlanRequest = {
  student: await resolveConfig('Qwen2.5-0.5B'),
  teacher: null,
  precision: 'bfloat16',
  recompute: false,
  length: 1024,
  batch: 16,
  microBatch: 16,
}
const needed = stepOf(request, place(0)).memory.needed

test('the largest micro-batch is no smaller than any that an order of the samples gives, and may be one', () => {
  const random = uniform(3)
  for (const [batchSize, microBatchTokens] of [
    [4, 1000],
    [16, 300],
    [3, 50],
    [50, 10_000],
  ] as const) {
    const samples: Sample[] = Array.from({ length: 40 }, () => {
      const ids = new Int32Array(20 + Math.floor(100 * random()))
      return { ids, labels: ids }
    })
    const lengths = samples.map((s) => s.ids.length)
    const { microBatch, length } = largestMicroBatch({ lengths, batchSize, microBatchTokens })
    let most = 0
    for (let order = 0; order < 200; order++) {
      const shuffled = samples.map((s) => ({ s, key: random() })).sort((a, b) => a.key - b.key)
      const step = shuffled.slice(0, batchSize).map(({ s }) => s)
      for (const micro of microBatches(step, microBatchTokens))
        most = Math.max(
          most,
          micro.reduce((n, s) => n + s.ids.length, 0),
        )
    }
    expect(microBatch * length).toBeGreaterThanOrEqual(most)
    expect(microBatch * length).toBeLessThan(2 * most)
  }
})

test('the largest micro-batch of validation is that of its own order', () => {
  const samples = [100, 900, 300, 300, 300, 2000, 10].map((n): Sample => {
    const ids = new Int32Array(n)
    return { ids, labels: ids }
  })
  expect(validationMicroBatch(samples, 1000)).toEqual({ sequences: 1, length: 2000 })
  expect(validationMicroBatch(samples.slice(2, 5), 1000)).toEqual({ sequences: 3, length: 300 })
  expect(validationMicroBatch(samples.slice(1, 4), 650)).toEqual({ sequences: 1, length: 900 })
  expect(validationMicroBatch([], 1000)).toBeNull()
})

describe('preflight', () => {
  test('tells in a line what a training needs', async () => {
    expect(await preflight(request, place(needed))).toMatch(
      /^needs [\d.]+ GiB of the [\d.]+ GiB of a device: activations/,
    )
  })

  test('refuses what does not fit by a byte, with all parts and a change that makes it fit', async () => {
    const error = await preflight(request, place(needed - 1)).then(
      () => expect.unreachable(),
      (e: unknown) => e as MemoryError,
    )
    expect(error).toBeInstanceOf(MemoryError)
    expect(error).toMatchObject({ code: 'ERR_MEMORY', needed, available: needed - 1 })
    for (const { name } of stepOf(request, place(0)).memory.parts) expect(error.message).toContain(name)
    const tokens = Number(/--micro-batch-tokens (\d+) would make it/.exec(error.message)?.[1])
    expect(fitsIn({ ...request, microBatch: tokens / request.length }, place(needed - 1))).toBe(true)
  })

  test('names recomputation where one sequence alone is too much', async () => {
    const one = { ...request, microBatch: 1, batch: 1, length: 8192 }
    const without = stepOf(one, place(0)).memory.needed
    await expect(preflight(one, place(without - 1))).rejects.toThrow('--recompute would make it')
  })

  test('plans validation, where the peak may lie, and names smaller micro-batches for it', async () => {
    const small = { ...request, batch: 2, microBatch: 2 }
    const withIt = { ...small, validation: { sequences: 256, length: 1024 } }
    const memory = stepOf(withIt, place(0)).memory.needed
    expect(memory).toBeGreaterThan(stepOf(small, place(0)).memory.needed)
    expect(await preflight(withIt, place(memory))).toContain(' of a device while it validates: ')
    await expect(preflight(withIt, place(memory - 1))).rejects.toThrow(
      /It does not fit: --micro-batch-tokens 2048 would/,
    )
    expect(stepOf({ ...small, validation: { sequences: 2, length: 1024 } }, place(0)).memory.peak).toBe('training')
  })

  test('says so where no change of the batch helps, and goes on if told to', async () => {
    await expect(preflight(request, place(2 ** 20))).rejects.toThrow('take smaller models')
    expect(await preflight(request, place(2 ** 20), true)).toMatch(/does not fit, and goes on as it was told to$/)
  })
})
