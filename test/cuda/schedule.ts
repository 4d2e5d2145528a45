// Before the tests of a file on the PTX machine: the order in which it runs what is unordered, another one for every file. It is printed, and
// the same again with the settings printed. LANTERN_TEST_SEED gives all files others.
import { expect } from 'vitest'

const STREAMS = ['late', 'random', 'eager']

/** FNV-1a. */
function hash(text: string): number {
  let h = 0x811c9dc5
  for (const byte of Buffer.from(text)) h = Math.imul(h ^ byte, 0x01000193)
  return h >>> 0
}

if (process.env.LANTERN_SIMT_SEED === undefined && process.env.LANTERN_SIMT_SCHEDULE === undefined) {
  const file = (expect.getState().testPath ?? '').replace(/^.*\/test\//, 'test/')
  const seed = hash(`${process.env.LANTERN_TEST_SEED ?? ''} ${file}`) % 1_000_000
  process.env.LANTERN_SIMT_SEED = String(seed)
  process.env.LANTERN_SIMT_STREAMS ??= STREAMS[seed % STREAMS.length]!
  console.log(`PTX machine: LANTERN_SIMT_SEED=${seed} LANTERN_SIMT_STREAMS=${process.env.LANTERN_SIMT_STREAMS}`)
}
