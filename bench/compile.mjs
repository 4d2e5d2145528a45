// Compiles the benches with the library they measure into build/bench, and runs them there.
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { run } from '../scripts/run.mjs'

const bench = dirname(fileURLToPath(import.meta.url))
/** The folder of the repository. */
export const root = dirname(bench)

/** Compiles, and runs a file of bench/ (`main.js`, `cuda/main.js`) with this process's arguments. */
export function runBench(file, flags = [], env = {}) {
  const tsc = createRequire(import.meta.url).resolve('typescript/bin/tsc')
  run(process.execPath, [tsc, '-p', join(bench, 'tsconfig.json')])
  const addon = process.env.LANTERN_ADDON ?? join(root, 'build', 'Release', 'lantern.node')
  const main = join(root, 'build', 'bench', 'bench', ...file.split('/'))
  run(process.execPath, ['--enable-source-maps', ...flags, main, ...process.argv.slice(2)], {
    env: { LANTERN_ADDON: addon, ...env },
  })
}
