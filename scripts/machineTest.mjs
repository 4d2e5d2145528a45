// npm run test:machine [-- part of a test's name]: builds the PTX machine's own tests (test/simt/tests), which check what checks the CUDA kernels,
// and runs them. Those of compiled kernels and of the driver need an nvcc.
import { spawnSync } from 'node:child_process'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { runNativeTests } from './nativeTests.mjs'

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)))
const build = path.join(root, 'build', 'simt')

for (const args of [
  ['-S', path.join(root, 'test/simt'), '-B', build, '--log-level=WARNING'],
  ['--build', build, '--target', 'machineTest', '--parallel', String(os.availableParallelism())],
]) {
  const { status } = spawnSync('cmake', args, { stdio: 'inherit' })
  if (status !== 0) process.exit(status ?? 1)
}
process.exit(
  runNativeTests(path.join(build, 'machineTest'), process.argv.slice(2, 3), path.join(build, 'machineTest.json')),
)
