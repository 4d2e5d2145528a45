// npm run test:gpu where there is no GPU: it says so, and never takes the PTX machine for one.
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { ADDON, MACHINE, root } from './build.js'
import { builtWithCuda } from './machine.js'

function gpuScript(args: string[], libraries: string | undefined) {
  const { LANTERN_TEST_DEVICE: _, LD_LIBRARY_PATH: __, LANTERN_SIMT_REPORT: ___, ...inherited } = process.env
  const env = { ...inherited, LANTERN_ADDON: ADDON, ...(libraries ? { LD_LIBRARY_PATH: libraries } : {}) }
  const run = spawnSync(process.execPath, [join(root, 'scripts/gpu.mjs'), ...args], { encoding: 'utf8', env })
  return { code: run.status, out: run.stdout, errors: run.stderr }
}

test.skipIf(!builtWithCuda())('the PTX machine is refused by its name', () => {
  const { code, out, errors } = gpuScript([], MACHINE)
  expect(code).toBe(2)
  expect(errors).toMatch(/^test:gpu: Simulated A100 \(PTX machine\) is no GPU/)
  expect(out).toBe('')
})

test.skipIf(!builtWithCuda())('a driver that is too old is named', () => {
  const before = process.env.LANTERN_SIMT_FAULT
  process.env.LANTERN_SIMT_FAULT = 'driver=11020'
  try {
    const { code, errors } = gpuScript([], MACHINE)
    expect(code).toBe(2)
    expect(errors).toMatch(/^test:gpu: no GPU to test on: .*driver 11\.2, toolkit/)
  } finally {
    if (before === undefined) delete process.env.LANTERN_SIMT_FAULT
    else process.env.LANTERN_SIMT_FAULT = before
  }
})

test.skipIf(!builtWithCuda())('a rehearsal runs the tests, and its digest says what it is', () => {
  const { code, out } = gpuScript(['--rehearse', 'test/ops/rope.test.ts', 'test/ops/determinism.test.ts'], MACHINE)
  expect(code).toBe(0)
  expect(out).toContain('rehearsal on the PTX machine: this is not a GPU')
  expect(out).not.toContain('LANTERN on a GPU')
  expect(out).toMatch(/^tests {8}\d\d passed, 0 failed, 0 skipped/m)
  expect(out).toMatch(/^bits {9}linear bfloat16 +[0-9a-f]{12}$/m)
})
