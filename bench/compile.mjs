// Compiles the benches with the library they measure into build/bench, and runs them there.
import { spawnSync } from 'node:child_process'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const bench = dirname(fileURLToPath(import.meta.url))
/** The folder of the repository. */
export const root = dirname(bench)

/** Runs a command, with our output if nothing else is said; ends the process when it fails. */
export function run(command, args, env = {}, stdio = 'inherit') {
  const { status, signal, error } = spawnSync(command, args, { stdio, env: { ...process.env, ...env } })
  if (error) console.error(error.message)
  if (status !== 0) process.exit(signal ? 1 : (status ?? 1))
}

/** Compiles, and runs a file of bench/ (`main.js`, `cuda/main.js`) with this process's arguments. */
export function runBench(file, flags = [], env = {}) {
  const tsc = createRequire(import.meta.url).resolve('typescript/bin/tsc')
  run(process.execPath, [tsc, '-p', join(bench, 'tsconfig.json')])
  const addon = process.env.LANTERN_ADDON ?? join(root, 'build', 'Release', 'lantern.node')
  const main = join(root, 'build', 'bench', 'bench', ...file.split('/'))
  run(process.execPath, ['--enable-source-maps', ...flags, main, ...process.argv.slice(2)], {
    LANTERN_ADDON: addon,
    ...env,
  })
}
