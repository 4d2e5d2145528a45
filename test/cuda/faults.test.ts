import { beforeAll, describe, expect, test } from 'vitest'
import { buildMachine, builtWithCuda, type Outcome, type Run, scenarios } from './machine.js'

// Every fault meets a step of training: two micro-batches through student and teacher, backward, and AdamW.
const suite = builtWithCuda() ? describe.concurrent : describe.skip

let run: Run
beforeAll(async () => {
  if (!builtWithCuda()) return
  const simulated = (await scenarios('faultScript.ts'))(buildMachine())
  // Leaks, and reads of what was never written because its kernel did not run, are findings; what a step counts is of no interest.
  const env = { LANTERN_SIMT_CHECKS: 'initialised,leaks', LANTERN_SIMT_LOG: 'none', LANTERN_SIMT_REPORT: undefined }
  run = (args, more) => simulated(args, { ...env, ...more })
}, 600_000)

interface Told {
  type: string
  code: string
  message: string
}
interface Fault {
  name: 'open' | 'step'
  n: number
  error: Told
  left?: number
  again?: { same?: boolean; error?: Told }
  cpu?: boolean
}

/** Runs a sweep. @returns its faults: the last step met none and had the values of a device without faults */
async function sweep(...args: string[]): Promise<Fault[]> {
  const { code, lines, errors } = await run(['sweep', ...args])
  expect(code, errors).toBe(0)
  expect(lines[0]!.values).toSatisfy((v: number[]) => v.length > 2000 && v.every(Number.isFinite))
  expect(lines.at(-1)).toMatchObject({ name: 'no fault', same: true, left: 0 })
  const faults = lines.slice(1, -1) as unknown as Fault[]
  for (const { name, n, left, cpu } of faults.filter((f) => f.name === 'step'))
    expect({ name, n, left: left ?? 0, cpu }).toEqual({ name, n, left: 0, cpu: true })
  return faults
}

const LOST = /^cuda:0 \(.+\) failed at .+: CUDA_ERROR_\w+ \(.+\); the device is lost: close it and open another/
const OUT_OF_MEMORY = /out of memory|no memory|no device memory|ran out of memory at \w+: CUDA_ERROR_OUT_OF_MEMORY/
const WHAT_TO_DO = /use a? ?smaller batch/

const expectOutOfMemory = (faults: Fault[]) => {
  for (const { n, error, again } of faults) {
    expect(error, `fault ${n}`).toMatchObject({ type: 'OutOfMemoryError', code: 'ERR_OUT_OF_MEMORY' })
    expect(error.message).toMatch(OUT_OF_MEMORY)
    expect(error.message).toMatch(WHAT_TO_DO)
    expect(again ?? { same: true }, `after fault ${n}`).toEqual({ same: true })
  }
}

const expectLost = (faults: Fault[]) => {
  for (const { n, error, again } of faults) {
    expect(error, `fault ${n}`).toMatchObject({ type: 'DeviceError', code: 'ERR_DEVICE_LOST' })
    expect(error.message).toMatch(LOST)
    expect(again?.error ?? error, `after fault ${n}`).toEqual(error)
    expect(again?.same).toBeUndefined()
  }
}

suite('memory runs out', { timeout: 300_000 }, () => {
  test('at every allocation in turn: the step fails, the device goes on', async () => {
    const faults = await sweep('allocation', '1', '2')
    expect(faults.map(({ n }) => n)).toEqual(faults.map((_, i) => i + 1))
    expect(faults.filter(({ left }) => left === 0).length, 'allocations within the step').toBeGreaterThan(100)
    expect(new Set(faults.map(({ error }) => error.message.split(':')[0]!)), 'tensors and scratch').toContain(
      'gradNorm',
    )
    expectOutOfMemory(faults)
  })

  test('of the host, page-locked: the same', async () => {
    const faults = await sweep('hostAllocation', '1', '1') // to write from: not tried again
    const toRead = await run(['once', 'hostAllocation=2-3'])
    expect(toRead.code).toBe(0)
    faults.push({ ...(toRead.lines[0] as unknown as Fault), n: 2 })
    expect(faults).toHaveLength(2)
    expectOutOfMemory(faults)
    for (const { error } of faults)
      expect(error.message).toContain('at cuMemHostAlloc: CUDA_ERROR_OUT_OF_MEMORY (out of memory)')
  })

  test('once: it is tried again, and nobody hears of it', async () => {
    for (const fault of ['allocation=2', 'allocation=60', 'hostAllocation=2']) {
      const { code, lines } = await run(['once', fault])
      expect(code).toBe(0)
      expect(lines, fault).toEqual([{ name: 'once', same: true }])
    }
  })

  test('for good, and on a device without memory pools', async () => {
    for (const fault of ['allocation=80+', 'noPools,allocation=2+', 'noPools,hostAllocation=1+']) {
      const { code, lines } = await run(['once', fault])
      expect(code).toBe(0)
      expect(lines[0], fault).toMatchObject({ error: { type: 'OutOfMemoryError' } })
    }
  })
})

suite('the driver fails', { timeout: 300_000 }, () => {
  test('a launch is refused: told by the next wait, nothing is computed from what is missing, the device goes on', async () => {
    const faults = await sweep('launch', '7', '1')
    expect(faults.length).toBeGreaterThan(20)
    for (const { n, error, again } of faults) {
      expect(error, `launch ${n}`).toMatchObject({ type: 'DeviceError', code: 'ERR_DEVICE' })
      expect(error.message).toMatch(
        /^cuda:0 \(.+\) failed at cuLaunchKernel of \w+_\w+: CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES \(.+\); the device goes on$/,
      )
      expect(again ?? { same: true }, `after launch ${n}`).toEqual({ same: true })
    }
  })

  test('a kernel fails: the device is lost and says so, the process and the CPU go on, another is opened', async () => {
    const faults = await sweep('execution', '9', '1')
    expect(faults.length).toBeGreaterThan(20)
    expectLost(faults)
  })

  test('the device is lost at any call', async () => {
    const faults = await sweep('lose', '17', '1')
    expect(faults.length).toBeGreaterThan(60)
    expectLost(faults.filter(({ name }) => name === 'step'))
    for (const { error } of faults.filter(({ name }) => name === 'open'))
      expect(error.message).toMatch(/^cuda:0 \(.+\) failed at cu\w+: CUDA_ERROR_UNKNOWN \(unknown error\)/)
  })

  test('reads under way when the device is lost and closed: every one ends', async () => {
    const { code, lines } = await run(['settle', ...Array.from({ length: 30 }, (_, i) => String(40 + 2 * i))])
    expect(code).toBe(0)
    const lost = (lines as { errors: Told[]; right: boolean; settled: number }[]).filter(
      ({ errors }) => errors.length > 0,
    )
    expect(lost.length).toBeGreaterThan(10)
    for (const { settled, right, errors } of lost) {
      expect({ settled, right }).toEqual({ settled: 8, right: true })
      for (const { message } of errors) expect(message).toMatch(LOST)
    }
  })

  test('a kernel fails in generation: every text ends with the error, and so does the next', async () => {
    const { code, lines } = await run(['generate', '60', '75', '90', '105'])
    expect(code).toBe(0)
    expect(lines).toHaveLength(4)
    for (const line of lines as { errors: Told[]; after: { error: Told }; cpu: number }[]) {
      expect(line.cpu).toBe(7)
      for (const { code, message } of [...line.errors, line.after.error]) {
        expect(code).toBe('ERR_DEVICE_LOST')
        expect(message).toMatch(LOST)
      }
    }
  })
})

suite('a driver without', () => {
  test.each([
    'cuInit',
    'cuGetErrorName',
    'cuStreamCreate',
    'cuMemAllocFromPoolAsync',
    'cuModuleLoadData',
    'cuLaunchKernel',
  ])('%s: it is named, and the CPU is there', async (entry) => {
    const outcome: Outcome = await run(['once', `hide=${entry}`])
    expect(outcome.code).toBe(0)
    expect(outcome.lines[0]).toMatchObject({ error: { type: 'DeviceError', code: 'ERR_NO_GPU' } })
    expect((outcome.lines[0]!.error as Told).message).toMatch(
      new RegExp(`the NVIDIA driver \\(CUDA 1\\d\\.\\d\\) has no ${entry}; update it`),
    )
  })
})
