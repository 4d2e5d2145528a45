import { expect, test } from 'vitest'
import { BLOCK_SIZE, BlockPool } from '../../lib/generate/blocks.js'

test('a table grows by whole blocks, none of them held twice', () => {
  const pool = new BlockPool(6)
  const [a, b]: [number[], number[]] = [[], []]
  expect(pool.grow(a, 1)).toBe(true)
  expect(pool.grow(a, BLOCK_SIZE)).toBe(true)
  expect(a).toHaveLength(1)
  expect(pool.grow(a, BLOCK_SIZE + 1)).toBe(true)
  expect(pool.grow(b, 4 * BLOCK_SIZE)).toBe(true)
  expect([...a, ...b].sort()).toEqual([0, 1, 2, 3, 4, 5])
  expect(pool.free).toBe(0)
})

test('growth beyond the pool takes nothing', () => {
  const pool = new BlockPool(2)
  const table: number[] = []
  expect(pool.grow(table, 2 * BLOCK_SIZE + 1)).toBe(false)
  expect(table).toEqual([])
  expect(pool.free).toBe(2)
})

test('released blocks are free again, once', () => {
  const pool = new BlockPool(3)
  const table: number[] = []
  pool.grow(table, 3 * BLOCK_SIZE)
  pool.release(table)
  pool.release(table)
  expect(table).toEqual([])
  expect(pool.free).toBe(3)
})

test('a pool of nothing is refused', () => {
  for (const total of [0, -1, 1.5, Number.NaN])
    expect(() => new BlockPool(total)).toThrow(/holds nothing; give it room/)
})
