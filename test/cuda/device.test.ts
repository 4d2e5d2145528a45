import { beforeAll, describe, expect, test } from 'vitest'
import { relativeError } from '../support.js'
import { buildMachine, builtWithCuda, type Outcome, type Run, scenarios } from './machine.js'

// Without nvcc at build time there is nothing to open, whatever the driver; `lantern doctor` is tested in test/cli.
const suite = builtWithCuda() ? describe : describe.skip

let withoutDriver: Run
let simulated: Run
beforeAll(async () => {
  if (!builtWithCuda()) return
  const launcher = await scenarios()
  withoutDriver = launcher(null)
  simulated = launcher(buildMachine())
}, 600_000)

/** The line of an outcome that has this name. */
const line = ({ lines, errors }: Outcome, name: string): Record<string, unknown> => {
  const found = lines.find((l) => l.name === name)
  if (!found) throw new Error(`no line ${name} in ${JSON.stringify(lines)}\n${errors}`)
  return found
}
const error = (outcome: Outcome, name: string) =>
  line(outcome, name).error as { type: string; code: string; message: string }

suite('which device is opened', () => {
  test('without a driver auto is the CPU, and cuda says what is missing', async () => {
    const auto = await withoutDriver(['open', 'auto'])
    expect(line(auto, 'open')).toMatchObject({ kind: 'cpu', sum: [1, 2] })
    expect(line(auto, 'cuda')).toMatchObject({ driver: 0, gpus: [] })
    expect(line(auto, 'cuda').reason).toMatch(/no NVIDIA driver.*libcuda\.so\.1/)
    expect(error(await withoutDriver(['open', 'cuda']), 'open')).toMatchObject({
      type: 'DeviceError',
      code: 'ERR_NO_GPU',
      message: expect.stringMatching(/no device 'cuda': there is no NVIDIA driver/),
    })
  })

  test('with one, auto is the GPU, unless LANTERN_DEVICE says otherwise', async () => {
    const gpu = { kind: 'cuda', fastestDtype: 'bfloat16', sum: [1, 2] }
    expect(line(await simulated(['open']), 'open')).toMatchObject(gpu)
    expect(line(await simulated(['open', 'cpu']), 'open')).toMatchObject({ kind: 'cpu' })
    expect(line(await simulated(['open', 'auto'], { LANTERN_DEVICE: 'cpu' }), 'open')).toMatchObject({ kind: 'cpu' })
    expect(line(await simulated(['open', 'cuda'], { LANTERN_DEVICE: 'cpu' }), 'open')).toMatchObject(gpu)
    expect(error(await simulated(['open', 'auto'], { LANTERN_DEVICE: 'tpu' }), 'open').message).toMatch(
      "no device 'tpu' (LANTERN_DEVICE)",
    )
  })

  test('by number', async () => {
    const two = { LANTERN_SIMT_DEVICES: '2' }
    const second = await simulated(['open', 'cuda:1'], two)
    expect(line(second, 'open')).toMatchObject({ kind: 'cuda', sum: [1, 2] })
    expect(line(second, 'cuda').gpus).toHaveLength(2)
    expect(error(await simulated(['open', 'cuda:2'], two), 'open').message).toMatch(
      "no device 'cuda:2' to use: there are 2 GPUs; 'cuda:0' can be used",
    )
  })

  test.each([
    [
      'an old driver',
      { LANTERN_SIMT_FAULT: 'driver=12020' },
      /too old: it supports CUDA 12\.2, the kernels need 1\d\.0; update/,
    ],
    [
      'an entry point that is missing',
      { LANTERN_SIMT_FAULT: 'hide=cuMemPoolCreate' },
      /has no cuMemPoolCreate; update/,
    ],
    ['no device', { LANTERN_SIMT_DEVICES: '0' }, /there is no NVIDIA GPU/],
    ['an old device', { LANTERN_SIMT_CAPABILITY: '75' }, /compute capability 7\.5 is below 8\.0/],
  ])('%s: auto is the CPU, and the reason is told', async (_, env, reason) => {
    const auto = await simulated(['open', 'auto'], env)
    expect(line(auto, 'open')).toMatchObject({ kind: 'cpu', sum: [1, 2] })
    expect(line(auto, 'cuda').reason).toMatch(reason)
    expect(error(await simulated(['open', 'cuda'], env), 'open')).toMatchObject({
      code: 'ERR_NO_GPU',
      message: expect.stringMatching(reason),
    })
  })
})

/** What both devices and both steps of `train` must come to when nothing goes wrong. */
const stepsOf = ({ lines }: Outcome): number[][] =>
  lines.filter((l) => /step/.test(String(l.name))).map((l) => l.values as number[])

suite('a training step', () => {
  let expected: number[]
  beforeAll(async () => {
    const run = await simulated(['train'], { LANTERN_SIMT_CHECKS: 'all' })
    expect(run).toMatchObject({ code: 0 })
    const all = stepsOf(run)
    expect(all).toHaveLength(4)
    expected = all[0]!
    for (const values of all) expect(values).toEqual(expected)
    for (const round of ['first device', 'second device']) expect(line(run, round)).toEqual({ name: round, live: 4 })
  })

  test.each([
    ['random order 1', { LANTERN_SIMT_SEED: '1' }],
    ['random order 2', { LANTERN_SIMT_SEED: '2' }],
    ['eager streams, blocks in reverse', { LANTERN_SIMT_STREAMS: 'eager', LANTERN_SIMT_SCHEDULE: 'reverse' }],
    ['a device without memory pools', { LANTERN_SIMT_FAULT: 'noPools' }],
  ])('has the same bits with %s', async (_, env) => {
    const run = await simulated(['train'], { LANTERN_SIMT_CHECKS: 'all', ...env })
    expect(run.errors).toBe('')
    expect(run.code).toBe(0)
    for (const values of stepsOf(run)) expect(values).toEqual(expected)
  })

  test('is that of the CPU', async () => {
    const cpu = await withoutDriver(['trainOnCpu'])
    expect(relativeError(expected, line(cpu, 'step').values as number[])).toBeLessThan(1e-5)
  })
})

suite('copies', () => {
  test.each([{}, { LANTERN_SIMT_SEED: '5' }, { LANTERN_SIMT_STREAMS: 'eager' }])(
    'of more than the staging holds, both ways %j',
    async (env) => {
      const run = await simulated(['copies', '80'], env)
      expect(run.errors).toBe('')
      expect(line(run, 'copies')).toEqual({ name: 'copies', big: true, small: true })
    },
  )

  test('a data error of a kernel is that of the CPU, comes once, and the device goes on', async () => {
    const run = await simulated(['fault'])
    expect(error(run, 'bad')).toMatchObject({
      type: 'DeviceError',
      code: 'ERR_OUT_OF_RANGE',
      message: 'embedding: id 9 at position 1 is outside [0, 4)',
    })
    expect(line(run, 'worse')).toMatchObject({ sizes: 8 })
    expect(line(run, 'good').values).toEqual(new Array(8).fill(0))
  })

  test.each(['return', 'exit'])('a process that leaves work behind ends (%s)', async (how) => {
    expect(await simulated(['leave', how])).toMatchObject({ code: 0, errors: '' })
  })
})
