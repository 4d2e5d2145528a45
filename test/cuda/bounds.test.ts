// What the CUDA kernels touch, counted by the PTX machine: one row a kernel and shape (bench/cuda has the shapes), held to these limits.
// The counts are exact and repeatable; none of them is a measurement of a GPU.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import type { Row } from '../../bench/cuda/rows.js'
import { builtWithCuda } from './machine.js'

/** Kernels that move data, element-wise or row-wise: how far beyond what the formula must read and write. */
const MOVES = {
  footprint: 1.02, // bytes of all touched sectors / bytes of inputs and outputs, each once
  sectors: 1.05, // sectors that warps touched / the fewest that hold what they asked for
}
/** Kernels that multiply tiles: matrix products, attention, the head. */
const MULTIPLIES = {
  wavefronts: 1.02, // passes over shared memory / those without bank conflicts
  flops: 1.02, // of tensor cores / of the formula, where every tile is full
}

/** What cannot hold, and why. Nothing else is let off. */
const EXCEPTIONS = [
  ['sortIds_count', 'sectors'], // a block's counts lie a digit apart, so that the scan is contiguous
  ['sortIds_move', 'sectors'], // a sort puts neighbours where they belong, not side by side
  ['distillHead_total', 'sectors'], // a token's four results lie together; 32 bytes a token
] as const

const root = fileURLToPath(new URL('../..', import.meta.url))

interface Measured {
  rows: Row[]
  stacks: Record<string, Record<string, number>>
}

function measure(): Measured {
  if (!builtWithCuda()) return { rows: [], stacks: {} }
  const folder = mkdtempSync(join(tmpdir(), 'lantern-bounds-'))
  const file = join(folder, 'bounds.json')
  const groups = ['elementwise', 'rowwise', 'products', 'attention', 'head']
  try {
    const run = spawnSync(process.execPath, [join(root, 'bench/cuda/run.mjs'), ...groups, '--json', file], {
      encoding: 'utf8',
    })
    if (run.status !== 0 && run.status !== 1) throw new Error(run.stdout + run.stderr)
    return JSON.parse(readFileSync(file, 'utf8')) as Measured
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

const { rows, stacks } = measure()
const excepted = (kernel: string, bound: string): boolean =>
  EXCEPTIONS.some(([name, of]) => name === kernel && of === bound)
const named = (of: Row[]): [string, string, Row][] => of.map((row) => [row.kernel, row.shape, row])

describe.skipIf(rows.length === 0)('kernels that move data touch no more than they must', () => {
  test.each(named(rows.filter((row) => row.footprint !== null)))('%s, %s', (kernel, _, row) => {
    expect(row.counts.findings).toEqual([])
    expect(row.footprint, 'bytes left out of the minimum').toBeGreaterThan(0.99)
    expect(row.footprint, 'footprint').toBeLessThanOrEqual(MOVES.footprint)
    if (!excepted(kernel, 'sectors')) expect(row.sectors, 'sectors').toBeLessThanOrEqual(MOVES.sectors)
  })
})

describe.skipIf(rows.length === 0)('kernels that multiply have no bank conflicts and waste no products', () => {
  test.each(named(rows.filter((row) => row.flops !== null)))('%s, %s', (_, shape, row) => {
    expect(row.counts.findings).toEqual([])
    expect(row.wavefronts, 'wavefronts').toBeLessThanOrEqual(MULTIPLIES.wavefronts)
    const full = row.counts.multiplyAdds > 0 && !shape.includes('causal')
    if (full) expect(row.flops, 'FLOP').toBeLessThanOrEqual(MULTIPLIES.flops)
  })
})

describe.skipIf(rows.length === 0)('the table', () => {
  test('has a row for every file of kernels', () => {
    const files = readdirSync(join(root, 'native/kernels')).filter((name) => name.endsWith('.cu'))
    const covered = new Set(rows.map((row) => row.kernel.split('_')[0]))
    expect(files.map((name) => name.slice(0, -3)).filter((stem) => !covered.has(stem))).toEqual([])
  })

  test('every exception is needed', () => {
    for (const [kernel, bound] of EXCEPTIONS)
      expect(rows.find((row) => row.kernel === kernel)?.[bound], kernel).toBeGreaterThan(MOVES[bound])
  })

  test('no entry point of any file spills on any architecture', () => {
    expect(Object.keys(stacks)).toEqual(expect.arrayContaining(rows.map((row) => row.kernel)))
    const spilled = Object.entries(stacks).flatMap(([kernel, of]) => {
      expect(Object.keys(of), kernel).toEqual(['sm_80', 'sm_86', 'sm_89', 'sm_90', 'sm_100', 'sm_120'])
      return Object.entries(of).flatMap(([architecture, bytes]) =>
        bytes > 0 ? [`${kernel} ${architecture}: ${bytes}`] : [],
      )
    })
    expect(spilled).toEqual([])
  })
})
