import { fileURLToPath } from 'node:url'
import { configDefaults, defineConfig, type UserWorkspaceConfig } from 'vitest/config'
import { addon } from './lib/tensor/native.js'
import { MACHINE, REPORTS } from './test/cuda/build.js'

const ALL = 'test/**/*.test.ts'
/** Runs after the tests on the PTX machine, whose reports it reads. */
const COVERAGE = 'test/cuda/coverage.test.ts'

const project = (test: UserWorkspaceConfig['test']): UserWorkspaceConfig => ({
  esbuild: { target: 'es2022' }, // lowers `using`, which Node 20 does not parse
  resolve: { alias: { 'lantern-node': fileURLToPath(new URL('lib/index.ts', import.meta.url)) } }, // in examples and the README
  test: { testTimeout: 60_000, maxWorkers: 2, ...test },
})

const onCpu = project({ name: 'cpu', include: [ALL], exclude: [...configDefaults.exclude, 'test/cuda/**'] })

/** The tests that hold on every device once more, on the PTX machine, whose libcuda.so.1 is the first that is found; and those of CUDA. */
const onMachine = [
  project({
    name: 'cuda',
    include: ['test/{ops,tensor,models,train,cuda}/**/*.test.ts', 'test/generate/engine.test.ts'],
    exclude: [COVERAGE],
    globalSetup: 'test/cuda/setup.ts',
    setupFiles: ['test/cuda/schedule.ts'],
    env: {
      LD_LIBRARY_PATH: [MACHINE, process.env.LD_LIBRARY_PATH].filter(Boolean).join(':'),
      LANTERN_TEST_DEVICE: 'cuda',
      LANTERN_SIMT_REPORT: `${REPORTS}/process`,
    },
    testTimeout: 300_000,
  }),
  project({ name: 'coverage', include: [COVERAGE], sequence: { groupOrder: 1 } }),
]

/** CUDA version that the addon's kernels were built with, 0 for none; nothing when there is no addon, as the tests will tell. */
function toolkit(): number | undefined {
  try {
    return addon().cuda().toolkit
  } catch {}
}

/** cpu and cuda; or, where LANTERN_TEST_DEVICE names one, that device as it is found, alone. */
function projects(): UserWorkspaceConfig[] {
  const device = process.env.LANTERN_TEST_DEVICE
  if (device) return [project({ name: device, include: [ALL], exclude: [...configDefaults.exclude, COVERAGE] })]
  if (toolkit()) return [onCpu, ...onMachine]
  if (toolkit() === 0) console.warn('The CUDA kernels are NOT tested: the addon was built without nvcc.')
  return [onCpu]
}

export default defineConfig({ test: { projects: projects() } })
