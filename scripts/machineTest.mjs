// npm run test:machine [-- part of a test's name]: builds the PTX machine's own tests (test/simt/tests), which check what checks the CUDA kernels,
// and runs them. Those of compiled kernels and of the driver need an nvcc.
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { runNativeTests } from './nativeTests.mjs'
import { cmakeBuild } from './run.mjs'

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)))
const build = path.join(root, 'build', 'simt')

cmakeBuild(path.join(root, 'test', 'simt'), build, 'machineTest')
process.exit(
  runNativeTests(path.join(build, 'machineTest'), process.argv.slice(2, 3), path.join(build, 'machineTest.json')),
)
