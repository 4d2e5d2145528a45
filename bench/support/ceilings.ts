import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { FloatDType } from '../../lib/tensor/tensor.js'
import { root } from './root.js'

/**
 * What bounds a case: GFLOP/s of multiply-adds from registers alone, by operand (without bfloat16 instructions it is float32's),
 * or GB/s of reading memory that no cache holds.
 */
export type Ceiling = FloatDType | 'read'

/**
 * Measures a ceiling with a small program, compiled for this processor at first use. Returns why not, where there is no compiler.
 * @param seconds of the measurement
 */
export function measureCeiling(ceiling: Ceiling, threads: number, seconds: number): number | string {
  const program = compiled()
  if (typeof program !== 'string') return program.problem
  const run = spawnSync(program, [ceiling, String(threads), String(seconds)], { encoding: 'utf8' })
  if (run.status === 0) return Number(run.stdout)
  return `the program that measures the machine's ceilings failed: ${run.stderr || (run.error?.message ?? run.signal)}`
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
