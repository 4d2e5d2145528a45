import { cp, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { beforeAll, describe, expect, it, vi } from 'vitest'
import { classifyTrain } from '../../lib/cli/classifyTrain.js'
import { makeData } from '../../lib/cli/data.js'
import { train } from '../../lib/cli/train.js'
import { testDevice } from '../support.js'
import { temporaryFolder, writeTinyModel, writeTinyTokenizer } from '../tiny.js'
import { buildBinary, Running } from './binary.js'

vi.setConfig({ testTimeout: 240_000, hookTimeout: 240_000 }) // real trainings, on a machine that may be busy
const device = testDevice()
const training = { steps: 12, batchSize: 2, learningRate: 3e-3, evalEvery: 5, checkpointEvery: 4 }
const root = temporaryFolder()
let main: string
const at = (...parts: string[]) => join(root, ...parts)
const quiet = { device, print: () => {} }

beforeAll(async () => {
  main = await buildBinary(at('package'))
  await writeTinyTokenizer(at('tokenizer'))
  await writeTinyModel(device, at('base'), { tokenizerFrom: at('tokenizer') })
  await makeData({ out: at('data'), pairs: 12, seed: 5, validation: 0.2, test: 0.2 }, () => {})
  await train({ model: at('base'), data: at('data'), out: at('whole'), training }, quiet)
  await writeFile(
    at('run.yaml'),
    `model: ${at('base')}\ndata: ${at('data')}\nout: elsewhere\ntraining: ${JSON.stringify({ ...training, steps: 3 })}\n`,
  )
})

/** The flags override the file's out and steps. */
const trainArguments = (out: string) => ['train', '--config', at('run.yaml'), '--out', at(out), '--steps', '12']

async function expectSameAsWhole(out: string): Promise<void> {
  for (const name of ['model/model.safetensors', 'metrics.jsonl', 'checkpoints/step-00000012/optimiser.safetensors'])
    expect((await readFile(at(out, name))).equals(await readFile(at('whole', name))), name).toBe(true)
}

describe('a training that is ended from outside', () => {
  it('goes on after kill -9 and ends with the same bits', async () => {
    const running = new Running(main, trainArguments('killed'))
    await running.until(/^ *5\/12 /m) // one step after a checkpoint: its metrics have to go
    running.kill('SIGKILL')
    expect(await running.end()).toEqual({ code: null, signal: 'SIGKILL' })
    expect(await readdir(at('killed', 'checkpoints'))).toContain('step-00000004')
    expect(await readdir(at('killed', 'checkpoints'))).not.toContain('step-00000012')

    const refused = new Running(main, trainArguments('killed'))
    expect((await refused.end()).code).toBe(1)
    expect(refused.errors).toMatch(/holds a run already.*--resume/)

    const resumed = new Running(main, [...trainArguments('killed'), '--resume'])
    expect((await resumed.end()).code, resumed.errors).toBe(0)
    expect(resumed.output).not.toMatch(/^ *[1-4]\/12 /m)
    expect(resumed.output).toMatch(/finished after 12 steps/)
    await expectSameAsWhole('killed')
  })

  it('saves a checkpoint at Ctrl-C, leaves with 130 and goes on', async () => {
    const running = new Running(main, trainArguments('interrupted'))
    await running.until(/^ *2\/12 /m)
    running.kill('SIGINT')
    expect(await running.end()).toEqual({ code: 130, signal: null })
    expect(running.errors).toMatch(/SIGINT: saving and leaving after this step/)
    const step = Number(/interrupted after step (\d+): saved in .*--resume/.exec(running.output)?.[1])
    expect(await readdir(at('interrupted', 'checkpoints'))).toContain(`step-${String(step).padStart(8, '0')}`)
    const resumed = await train(
      { model: at('base'), data: at('data'), out: at('interrupted'), resume: true, training },
      quiet,
    )
    expect(resumed.end).toBe('finished')
    for (const name of ['model/model.safetensors', 'metrics.jsonl'])
      expect((await readFile(at('interrupted', name))).equals(await readFile(at('whole', name))), name).toBe(true)
  })
})

describe('lantern fit and lantern serve', () => {
  beforeAll(async () => {
    const settings = { steps: 2, batchSize: 2 }
    await classifyTrain({ model: at('base'), data: at('data'), out: at('rater'), training: settings }, quiet)
    await writeFile(
      at('post.txt'),
      'Data Engineer\n\nRequirements:\n- 3 years of Python\n- SQL\n\nNice to have:\n- Docker\n',
    )
    await writeFile(at('profile.txt'), 'Ada Example\nData Engineer\n\nSkills: Python, SQL\n')
  })
  const models = () => ['--classifier', at('rater', 'model'), '--explainer', at('whole', 'model'), '--max-tokens', '16']

  it('rates and explains a pair of files', async () => {
    const running = new Running(main, ['fit', '--job', at('post.txt'), '--profile', at('profile.txt'), ...models()])
    expect((await running.end()).code, running.errors).toBe(0)
    const rated = /^Rated (low|medium|high) \(low ([\d.]+) %, medium ([\d.]+) %, high ([\d.]+) %\)\n\n[\s\S]+\n$/.exec(
      running.output,
    )
    expect(rated, running.output).not.toBeNull()
    expect(rated!.slice(2, 5).reduce((sum, share) => sum + Number(share), 0)).toBeCloseTo(100, 0)
  })

  it('answers over HTTP and stops at SIGTERM', async () => {
    const running = new Running(main, ['serve', '--port', '0', ...models()])
    await running.until(/listening at http:\S+/)
    const address = /listening at (\S+)/.exec(running.output)![1]
    const [job, profile] = [await readFile(at('post.txt'), 'utf8'), await readFile(at('profile.txt'), 'utf8')]
    const body = JSON.stringify({ job, profile })
    const response = await fetch(`${address}/v1/fit`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body,
    })
    expect(response.status).toBe(200)
    expect(await response.json()).toMatchObject({ level: expect.stringMatching(/^(low|medium|high)$/) })
    running.kill('SIGTERM')
    expect(await running.end()).toEqual({ code: 0, signal: null })
    expect(running.output).toMatch(/stopped\n$/)
  })
})

describe('the program', () => {
  it('takes the file of lantern stages for a chain, not for the settings of the command', async () => {
    await writeFile(
      at('chain.yaml'),
      `data: ${at('data')}\nout: ${at('chain')}\nstages:\n  - { name: first, kind: sft, from: ${at('base')}, training: { steps: 1 } }\n`,
    )
    const running = new Running(main, ['stages', '--config', at('chain.yaml')])
    expect((await running.end()).code, running.errors).toBe(0)
    expect(running.output).toMatch(/^first /m)
    expect(await readdir(at('chain', 'first', 'model'))).toContain('made-with.json')
  })

  it('suggests the command that was meant', async () => {
    const running = new Running(main, ['distil'])
    expect((await running.end()).code).toBe(1)
    expect(running.errors).toMatch(/unknown command 'distil'\s+\(Did you mean distill\?\)/)
  })

  it('diagnoses an addon that does not load, and says what to do', async () => {
    const running = new Running(main, ['doctor'], { LANTERN_ADDON: at('no.node') })
    expect((await running.end()).code).toBe(1)
    expect(running.output).toMatch(/addon +does not load\n[\s\S]*What to do:\n- .*no\.node.*npm run install\n$/)
    const installed = at('app', 'node_modules', 'lantern-node')
    await cp(at('package'), installed, { recursive: true })
    const dependency = new Running(join(installed, 'dist/cli/main.js'), ['doctor'], { LANTERN_ADDON: at('no.node') })
    await dependency.end()
    expect(dependency.output).toMatch(/no\.node.*npm rebuild lantern-node\n$/)
  })

  it('reports an error in one message, and where it came from only when asked', async () => {
    const args = ['generate', '--model', at('nowhere'), '--prompt', 'x']
    const plain = new Running(main, args)
    expect((await plain.end()).code).toBe(1)
    expect(plain.errors).toMatch(/^TokenizerError: .*nowhere.*no such file[^\n]*\n$/)
    const debug = new Running(main, args, { LANTERN_DEBUG: '1' })
    await debug.end()
    expect(debug.errors).toMatch(/\n {4}at /)
  })
})
