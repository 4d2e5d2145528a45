import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { FloatDType } from '../../lib/tensor/tensor.js'
import { root } from './root.js'

/** What the processor can do at most with the given threads. */
export interface Ceilings {
  /** GFLOP/s of multiply-adds from registers alone, by operand. Where there are no bfloat16 instructions, it is float32's. */
  peak: Record<FloatDType, number>
  /** GB/s of reading memory that no cache holds. */
  read: number
}

/**
 * Measures the ceilings with a small program, compiled for this processor at first use. Returns why not, where there is no compiler.
 * @param seconds of each measurement
 */
export function measureCeilings(threads: number, seconds: number): Ceilings | string {
  const program = compiled()
  if (typeof program !== 'string') return program.problem
  const run = spawnSync(program, [String(threads), String(seconds)], { encoding: 'utf8' })
  if (run.status !== 0)
    return `the program that measures the machine's ceilings failed: ${run.stderr || (run.error?.message ?? run.signal)}`
  const { float32, bfloat16, read } = JSON.parse(run.stdout) as Record<string, number>
  return { peak: { float32: float32!, bfloat16: bfloat16! }, read: read! }
}

function compiled(): string | { problem: string } {
  const source = join(root, 'bench', 'support', 'ceilings.cc')
  const folder = join(root, 'build', 'bench')
  const program = join(folder, 'ceilings')
  if (existsSync(program) && statSync(program).mtimeMs > statSync(source).mtimeMs) return program
  mkdirSync(folder, { recursive: true })
  const compiler = process.env.CXX ?? 'c++'
  const flags = ['-O3', '-march=native', '-std=c++20', '-pthread']
  const { status, stderr, error } = spawnSync(compiler, [...flags, source, '-o', program], { encoding: 'utf8' })
  if (status === 0) return program
  const why = error?.message ?? stderr.split('\n')[0]
  return {
    problem: `shares of the machine's ceilings are left out: ${compiler} fails (${why}); set CXX to a C++ compiler`,
  }
}

/** The higher of two measurements, each by each: a ceiling is what the machine does undisturbed. */
export function higher(a: Ceilings, b: Ceilings): Ceilings {
  return {
    peak: {
      float32: Math.max(a.peak.float32, b.peak.float32),
      bfloat16: Math.max(a.peak.bfloat16, b.peak.bfloat16),
    },
    read: Math.max(a.read, b.read),
  }
}
