import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { build } from 'vite'
import { afterAll } from 'vitest'
import { addon } from '../../lib/tensor/native.js'
import { ADDON, root } from './build.js'

export { buildMachine } from './build.js'

/** What a scenario came to. */
export interface Outcome {
  /** Exit code; 66: the machine found something. Null when it was ended, as after hanging. */
  code: number | null
  /** What it printed, line by line, parsed. */
  lines: Record<string, unknown>[]
  errors: string
}

export type Run = (args: readonly string[], env?: Record<string, string | undefined>) => Promise<Outcome>

/** Bundles a script of this folder. @returns what runs a scenario of it in a process of its own, with a library path if one is given */
export async function scenarios(script = 'script.ts'): Promise<(libraries: string | null) => Run> {
  const folder = mkdtempSync(join(tmpdir(), 'lantern-cuda-'))
  afterAll(() => rmSync(folder, { recursive: true, force: true }))
  await build({
    root,
    configFile: false,
    logLevel: 'error',
    ssr: { noExternal: true }, // the bundle lies outside of the project
    build: {
      ssr: join(root, 'test/cuda', script),
      outDir: folder,
      target: 'es2022',
      minify: false,
      rollupOptions: { output: { entryFileNames: 'script.mjs' } },
    },
  })
  return (libraries) => (args, env) => {
    // Their faults are not those of the run of all tests, and neither are their reports.
    const { LD_LIBRARY_PATH: _, LANTERN_DEVICE: __, LANTERN_SIMT_REPORT: ___, ...inherited } = process.env
    const paths = libraries ? { LD_LIBRARY_PATH: libraries } : {}
    return run([join(folder, 'script.mjs'), ...args], { ...inherited, ...paths, LANTERN_ADDON: ADDON, ...env })
  }
}

function run(args: readonly string[], env: NodeJS.ProcessEnv): Promise<Outcome> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, args, { env, timeout: 300_000 })
    let [output, errors] = ['', '']
    child.stdout.on('data', (data) => {
      output += data
    })
    child.stderr.on('data', (data) => {
      errors += data
    })
    child.on('close', (code) => {
      const lines = output.split('\n').filter(Boolean)
      resolve({ code, lines: lines.map((line) => JSON.parse(line) as Record<string, unknown>), errors })
    })
  })
}

/** Whether the addon holds CUDA kernels at all. */
export const builtWithCuda = (): boolean => addon().cuda().toolkit > 0
