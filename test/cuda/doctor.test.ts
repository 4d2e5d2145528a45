// What `lantern doctor` shows where a GPU can be used, and where it cannot: with what other drivers, devices and settings tell.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { buildBinary, Running } from '../cli/binary.js'
import { ADDON } from './build.js'
import { buildMachine, builtWithCuda } from './machine.js'

const suite = builtWithCuda() ? describe : describe.skip
const folder = mkdtempSync(join(tmpdir(), 'lantern-doctor-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

let main = ''
let machine = ''
beforeAll(async () => {
  main = await buildBinary(folder)
  if (builtWithCuda()) machine = buildMachine()
}, 600_000)

/** The lines of `lantern doctor`, spaces made one. */
async function doctor(libraries: string, env: Record<string, string> = {}, ...flags: string[]): Promise<string[]> {
  const alone = { LD_LIBRARY_PATH: libraries, LANTERN_DEVICE: '', LANTERN_SIMT_REPORT: '', LANTERN_ADDON: ADDON }
  const running = new Running(main, ['doctor', '--quick', ...flags], { ...alone, ...env })
  expect((await running.end()).code, running.errors).toBe(0)
  return running.output.split('\n').map((line) => line.trim().replace(/\s+/g, ' '))
}

suite('lantern doctor', () => {
  test('without a driver: the processor, and no advice where there is no card', async () => {
    const lines = await doctor('')
    expect(lines).toContainEqual(expect.stringMatching(/^CUDA no: there is no NVIDIA driver that loads \(libcuda/))
    expect(lines).toContainEqual(expect.stringMatching(/^device cpu: .* \(there is no GPU to use\)$/))
  })

  test('with GPUs: each of them, the first, and why', async () => {
    const lines = await doctor(machine, { LANTERN_SIMT_DEVICES: '2' })
    expect(lines).toContainEqual(expect.stringMatching(/^CUDA kernels of CUDA \d+\.\d, driver of CUDA \d+\.\d$/))
    for (const n of [0, 1])
      expect(lines).toContainEqual(
        expect.stringMatching(`^\\+ cuda:${n} .*: compute capability 8.0, \\d+ multiprocessors, 8.0 GiB$`),
      )
    expect(lines).toContainEqual(expect.stringMatching(/^device cuda: .* \(the first GPU that can be used, cuda:0\)$/))
  })

  test('LANTERN_DEVICE is told of where it decides', async () => {
    const cpu = await doctor(machine, { LANTERN_DEVICE: 'cpu' })
    expect(cpu).toContainEqual(expect.stringMatching(/^device cpu: .* \(LANTERN_DEVICE is cpu\)$/))
    const none = await doctor('', { LANTERN_DEVICE: 'cuda' })
    expect(none).toContain('device none opens')
    expect(none).toContainEqual(
      expect.stringMatching(/^- there is no device 'cuda' \(LANTERN_DEVICE\): there is no NVIDIA/),
    )
    const wrong = await doctor('', { LANTERN_DEVICE: 'tpu' })
    expect(wrong).toContainEqual(
      expect.stringMatching(/^- there is no device 'tpu' \(LANTERN_DEVICE\); use 'auto', 'cpu'/),
    )
  })

  test('--device is told of where it decides, also against LANTERN_DEVICE', async () => {
    const second = await doctor(machine, { LANTERN_SIMT_DEVICES: '2', LANTERN_DEVICE: 'cpu' }, '--device', 'cuda:1')
    expect(second).toContainEqual(expect.stringMatching(/^device cuda: .* \(--device is cuda:1\)$/))
    const third = await doctor(machine, { LANTERN_SIMT_DEVICES: '2' }, '--device', 'cuda:2')
    expect(third).toContain('device none opens')
    expect(third).toContain("- there is no device 'cuda:2' to use: there are 2 GPUs; 'cuda:0' can be used")
  })

  test.each([
    [
      'an old driver',
      { LANTERN_SIMT_FAULT: 'driver=11080' },
      /too old: it supports CUDA 11\.8, .* need 1\d\.0; update it$/,
    ],
    [
      'a driver without an entry point',
      { LANTERN_SIMT_FAULT: 'hide=cuMemPoolCreate' },
      /has no cuMemPoolCreate; update/,
    ],
    ['an old GPU', { LANTERN_SIMT_CAPABILITY: '75' }, /compute capability 7\.5 is below 8\.0/],
  ])('%s: the processor, and what to do', async (_, env, reason) => {
    const lines = await doctor(machine, env)
    expect(lines).toContainEqual(expect.stringMatching(/^device cpu: .* \(there is no GPU to use\)$/))
    expect(lines.filter((line) => reason.test(line) && !line.startsWith('- no GPU'))).toHaveLength(1)
    expect(lines).toContainEqual(expect.stringMatching(new RegExp(`^- no GPU is used, since .*${reason.source}`)))
  })

  test('a driver, but no GPU: nothing to do about that', async () => {
    const lines = await doctor(machine, { LANTERN_SIMT_DEVICES: '0' })
    expect(lines).toContain('CUDA no: there is no NVIDIA GPU')
    expect(lines.filter((line) => line.startsWith('- no GPU'))).toEqual([])
  })
})
