import { expect, test } from 'vitest'
import { BLOCK_SIZE, BlockPool } from '../../lib/generate/blocks.js'
import { Scheduler, type Sequence } from '../../lib/generate/scheduler.js'

const sequence = (tokens: number): Sequence => ({ ids: new Array<number>(tokens).fill(1), cached: 0, blocks: [] })

/** What the engine does after a step. */
function advance(sequences: Sequence[]): void {
  for (const s of sequences) {
    s.cached = s.ids.length
    s.ids.push(1)
  }
}

test('waiting sequences are prefilled in order, up to the token limit, before anything is decoded', () => {
  const scheduler = new Scheduler(new BlockPool(100), 40, 8)
  const [a, b, c] = [sequence(30), sequence(20), sequence(10)]
  for (const s of [a, b, c]) scheduler.add(s)
  const first = scheduler.next()
  expect(first).toEqual({ prefill: true, sequences: [a] })
  advance(first.sequences)
  const second = scheduler.next()
  expect(second).toEqual({ prefill: true, sequences: [b, c] })
  advance(second.sequences)
  expect(scheduler.next()).toEqual({ prefill: false, sequences: [a, b, c] })
})

test('a prompt longer than the token limit goes alone', () => {
  const scheduler = new Scheduler(new BlockPool(100), 40, 8)
  const [a, b] = [sequence(90), sequence(5)]
  scheduler.add(a)
  scheduler.add(b)
  expect(scheduler.next().sequences).toEqual([a])
})

test('no more sequences run than told; the next joins when one leaves', () => {
  const scheduler = new Scheduler(new BlockPool(100), 400, 2)
  const [a, b, c] = [sequence(3), sequence(3), sequence(3)]
  for (const s of [a, b, c]) scheduler.add(s)
  advance(scheduler.next().sequences)
  expect([scheduler.running, scheduler.waiting]).toEqual([2, 1])
  scheduler.remove(a)
  expect(scheduler.next()).toEqual({ prefill: true, sequences: [c] })
})

test('when the cache is full the youngest waits, and comes back before newer ones', () => {
  const pool = new BlockPool(4)
  const scheduler = new Scheduler(pool, 400, 8)
  const [old, young, newest] = [sequence(2 * BLOCK_SIZE), sequence(2 * BLOCK_SIZE), sequence(1)]
  scheduler.add(old)
  scheduler.add(young)
  advance(scheduler.next().sequences)
  scheduler.add(newest)
  expect(scheduler.next()).toEqual({ prefill: false, sequences: [old] })
  expect(young).toMatchObject({ cached: 0, blocks: [] })
  expect([scheduler.running, scheduler.waiting, pool.free]).toEqual([1, 2, 1])
  scheduler.remove(old)
  expect(scheduler.next()).toEqual({ prefill: true, sequences: [young, newest] })
})

test('removing frees the blocks, wherever the sequence is', () => {
  const pool = new BlockPool(4)
  const scheduler = new Scheduler(pool, 400, 1)
  const [running, waiting] = [sequence(20), sequence(20)]
  scheduler.add(running)
  scheduler.add(waiting)
  scheduler.next()
  scheduler.remove(waiting)
  expect(pool.free).toBe(2)
  scheduler.remove(running)
  scheduler.remove(running)
  expect([pool.free, scheduler.idle]).toEqual([4, true])
})
