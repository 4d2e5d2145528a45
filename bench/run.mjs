// npm run bench: compiles the benches with the library they measure into build/bench, and runs them there.
import { spawnSync } from 'node:child_process'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const tsc = createRequire(import.meta.url).resolve('typescript/bin/tsc')

/** Runs Node with arguments; ends this process when it fails. */
function node(args, env = {}) {
  const { status, signal } = spawnSync(process.execPath, args, { stdio: 'inherit', env: { ...process.env, ...env } })
  if (status !== 0) process.exit(signal ? 1 : (status ?? 1))
}

node([tsc, '-p', join(root, 'bench', 'tsconfig.json')])
// --expose-gc: what earlier cases left behind must not count as memory of the next.
node(
  ['--enable-source-maps', '--expose-gc', join(root, 'build', 'bench', 'bench', 'main.js'), ...process.argv.slice(2)],
  { LANTERN_ADDON: process.env.LANTERN_ADDON ?? join(root, 'build', 'Release', 'lantern.node') },
)
