import { spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'vite'
import { afterAll } from 'vitest'
import { addon } from '../../lib/tensor/native.js'

const root = fileURLToPath(new URL('../..', import.meta.url))

/** Folder of the PTX machine's libcuda.so.1, built if need be. */
export function buildMachine(): string {
  const folder = join(root, 'build/simt')
  for (const args of [
    ['-S', 'test/simt', '-B', folder, '--log-level=WARNING'],
    ['--build', folder, '--target', 'cuda', '--parallel', '2'],
  ]) {
    const { status, stdout, stderr } = spawnSync('cmake', args, { cwd: root, encoding: 'utf8' })
    if (status !== 0) throw new Error(`cmake ${args.join(' ')}\n${stdout}\n${stderr}`)
  }
  return folder
}

/** What a scenario of script.ts came to. */
export interface Outcome {
  /** Exit code; 66: the machine found something. Null when it was ended, as after hanging. */
  code: number | null
  /** What it printed, line by line, parsed. */
  lines: Record<string, unknown>[]
  errors: string
}

export type Run = (args: readonly string[], env?: Record<string, string | undefined>) => Promise<Outcome>

/** Bundles script.ts. @returns what runs a scenario in a process of its own, with a library path if one is given */
export async function scenarios(): Promise<(libraries: string | null) => Run> {
  const folder = mkdtempSync(join(tmpdir(), 'lantern-cuda-'))
  afterAll(() => rmSync(folder, { recursive: true, force: true }))
  await build({
    root,
    configFile: false,
    logLevel: 'error',
    build: {
      ssr: join(root, 'test/cuda/script.ts'),
      outDir: folder,
      target: 'es2022',
      minify: false,
      rollupOptions: { output: { entryFileNames: 'script.mjs' } },
    },
  })
  const file = process.env.LANTERN_ADDON ?? join(root, 'build/Release/lantern.node')
  return (libraries) => (args, env) => {
    const { LD_LIBRARY_PATH: _, LANTERN_DEVICE: __, ...inherited } = process.env
    const paths = libraries ? { LD_LIBRARY_PATH: libraries } : {}
    return run([join(folder, 'script.mjs'), ...args], { ...inherited, ...paths, LANTERN_ADDON: file, ...env })
  }
}

function run(args: readonly string[], env: NodeJS.ProcessEnv): Promise<Outcome> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, args, { env, timeout: 120_000 })
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
