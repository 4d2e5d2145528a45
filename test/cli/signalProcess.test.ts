import { existsSync } from 'node:fs'
import { readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { beforeAll, describe, expect, it, vi } from 'vitest'
import { makeData } from '../../lib/cli/data.js'
import { stages } from '../../lib/cli/stages.js'
import { makeTeacherSignal } from '../../lib/cli/teacherSignal.js'
import { testDevice } from '../support.js'
import { temporaryFolder } from '../tiny.js'
import { buildBinary, Running } from './binary.js'

vi.setConfig({ testTimeout: 240_000, hookTimeout: 240_000 }) // real models, on a machine that may be busy
const device = testDevice()
const root = temporaryFolder()
const at = (...parts: string[]) => join(root, ...parts)
const asset = (name: string) => fileURLToPath(new URL(`../../assets/${name}`, import.meta.url))
const quiet = { device, print: () => {} }
let main: string

beforeAll(async () => {
  main = await buildBinary(at('package'))
  await makeData({ out: at('data'), pairs: 160, seed: 5, validation: 0.1, test: 0.1 }, () => {})
})

describe('lantern teacher-signal', () => {
  const settings = { teacher: asset('teacher'), data: at('data'), topK: 32 }
  const command = (out: string) => [
    ...['teacher-signal', '--teacher', settings.teacher, '--data', settings.data],
    ...['--top-k', '32', '--device', device.kind, '--out', out],
  ]

  it('goes on after kill -9 in the middle and ends with the same bytes', async () => {
    await makeTeacherSignal({ ...settings, out: at('whole.signal') }, quiet)
    const whole = await readFile(at('whole.signal'))
    const out = at('killed.signal')
    const running = new Running(main, command(out))
    await running.until(/^ *1024\//m)
    running.kill('SIGKILL')
    expect(await running.end()).toEqual({ code: null, signal: 'SIGKILL' })
    expect(existsSync(out)).toBe(false)
    const written = (await stat(`${out}.partial`)).size
    expect(written).toBeGreaterThan(4096)
    expect(written).toBeLessThan(whole.length)

    const again = new Running(main, command(out))
    expect((await again.end()).code, again.errors).toBe(0)
    expect(again.output).not.toMatch(/^ *1024\//m)
    expect((await readFile(out)).equals(whole)).toBe(true)
    expect(existsSync(`${out}.partial`)).toBe(false)
  })
})

describe('a chain of a teacher, its signal, a student and a classifier', () => {
  const training = '{ steps: 3, batchSize: 4, evalEvery: 0 }'
  const chain = (out: string) => `data: ${at('data')}
out: ${at(out)}
device: ${device.kind}
stages:
  - { name: teacher, kind: sft, from: ${asset('teacher')}, training: ${training} }
  - { name: said, kind: signal, teacher: teacher, topK: 32, student: ${asset('student')}, measured: 4 }
  - { name: small, kind: distill, from: ${asset('student')}, teacherSignal: said, training: ${training} }
  - { name: rater, kind: classify, from: small, training: ${training} }
`
  const artefacts = [
    ...['teacher/model/model.safetensors', 'said/teacher.signal'],
    ...['small/model/model.safetensors', 'rater/model/model.safetensors'],
  ]

  it('is interrupted by Ctrl-C in the middle of the signal, goes on there, and ends with the same bytes', async () => {
    await writeFile(at('whole.yaml'), chain('whole'))
    await writeFile(at('chain.yaml'), chain('chain'))
    expect((await stages({ config: at('whole.yaml') }, quiet)).end).toBe('finished')

    const running = new Running(main, ['stages', '--config', at('chain.yaml')])
    await running.until(/^ *1024\//m)
    running.kill('SIGINT')
    expect(await running.end(), running.output).toEqual({ code: 130, signal: null })
    expect(running.output).toMatch(/interrupted; still to do: said, small, rater\. The same command goes on/)
    expect(existsSync(at('chain', 'said', 'teacher.signal'))).toBe(false)
    expect(existsSync(at('chain', 'small'))).toBe(false)

    const again = new Running(main, ['stages', '--config', at('chain.yaml')])
    expect((await again.end()).code, again.errors).toBe(0)
    expect(again.output).toMatch(/^\[1\/4\] teacher \(sft\): skipped, nothing it is made from has changed/m)
    expect(again.output).toMatch(/^\[2\/4\] said \(signal\): goes on where it was interrupted/m)
    expect(again.output).not.toMatch(/^ *1024\//m)
    expect(again.output).toMatch(/^said +signal +run +\S+said\/teacher.signal +[\d,]+ x top 32 tokens +- +[\d.]+$/m)
    for (const name of artefacts)
      expect((await readFile(at('chain', name))).equals(await readFile(at('whole', name))), name).toBe(true)
  })

  it('skips what has not changed; another k makes the signal and what learns from it anew, and nothing else', async () => {
    const run = async () => {
      const { stages: rows } = await stages({ config: at('chain.yaml') }, quiet)
      return rows.filter(({ skipped }) => !skipped).map(({ name }) => name)
    }
    expect(await run()).toEqual([])
    await writeFile(at('chain.yaml'), chain('chain').replace('topK: 32', 'topK: 8'))
    expect(await run()).toEqual(['said', 'small', 'rater'])
    await writeFile(
      at('chain.yaml'),
      chain('chain').replace('topK: 32', 'topK: 8').replace('measured: 4', 'measured: 2'),
    )
    expect(await run()).toEqual(['said']) // measured anew: the file itself is the same
    await writeFile(at('chain', 'said', 'teacher.signal'), 'lost')
    expect(await run()).toEqual(['said'])
    expect(await run()).toEqual([])
  })
})
