// npm run test:cuda [-- vitest arguments]: builds the PTX machine (test/simt) and runs the tests of ops, tensors and models on it, as on a GPU.
// The product has no part in this: the machine's libcuda.so.1 is the first that is found.
import { spawnSync } from 'node:child_process'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)))
const build = path.join(root, 'build', 'simt')

/** Runs a command with our output; ends the process when it fails. */
function run(command, args, env = {}) {
  const { status } = spawnSync(command, args, { cwd: root, stdio: 'inherit', env: { ...process.env, ...env } })
  if (status !== 0) process.exit(status ?? 1)
}

run('cmake', ['-S', 'test/simt', '-B', build, '--log-level=WARNING'])
run('cmake', ['--build', build, '--target', 'cuda', '--parallel', String(os.availableParallelism())])
const given = process.argv.slice(2)
const tests = given.length > 0 ? given : ['test/ops', 'test/tensor', 'test/models', 'test/cuda']
run(process.execPath, ['node_modules/vitest/vitest.mjs', 'run', ...tests], {
  LD_LIBRARY_PATH: [build, process.env.LD_LIBRARY_PATH].filter(Boolean).join(':'),
  LANTERN_TEST_DEVICE: 'cuda',
})
