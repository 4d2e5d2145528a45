import { existsSync } from 'node:fs'
import { readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { beforeAll, describe, expect, it, vi } from 'vitest'
import { makeData } from '../../lib/cli/data.js'
import { exampleConfig, stages } from '../../lib/cli/stages.js'
import { ConfigError } from '../../lib/errors.js'
import type { StepReport } from '../../lib/train/trainer.js'
import { testDevice } from '../support.js'
import { temporaryFolder, writeTinyModel, writeTinyTokenizer } from '../tiny.js'

vi.setConfig({ testTimeout: 240_000, hookTimeout: 240_000 }) // real trainings, on a machine that may be busy
const device = testDevice()
const root = temporaryFolder()
const at = (...parts: string[]) => join(root, ...parts)
const lines: string[] = []
const context = { device, print: (line: string) => void lines.push(line) }
const config = at('stages.yaml')
const run = (extra: object = {}) => stages({ config }, { ...context, ...extra })
const ran = ({ stages }: { stages: { name: string; skipped: boolean }[] }) =>
  stages.filter(({ skipped }) => !skipped).map(({ name }) => name)

/** The chain of the tests, its small stage first in the file though last in the run. */
const chain = (middleRate = 3e-3) => `data: ${at('data')}
out: ${at('chain')}
stages:
  - { name: small, kind: distill, from: ${at('small')}, teacher: middle, training: &short { steps: 3, batchSize: 4, checkpointEvery: 1 } }
  - { name: large, kind: sft, from: ${at('base')}, training: *short }
  - name: middle
    kind: distill
    from: ${at('small')}
    teacher: large
    distill: { divergence: forwardKL }
    training: { steps: 3, batchSize: 4, checkpointEvery: 1, learningRate: ${middleRate} }
  - { name: rater, kind: classify, from: small, training: *short }
`

beforeAll(async () => {
  await writeTinyTokenizer(at('tokenizer'))
  await writeTinyModel(device, at('base'), { tokenizerFrom: at('tokenizer') })
  await writeTinyModel(device, at('small'), { tokenizerFrom: at('tokenizer'), seed: 2, hiddenSize: 16 })
  await makeData({ out: at('data'), pairs: 12, seed: 5, validation: 0.2, test: 0.2 }, () => {})
  await writeFile(config, chain())
})

describe('a chain of stages', () => {
  it('is interrupted cleanly and goes on in the middle of a stage', async () => {
    const controller = new AbortController()
    let steps = 0
    const listener = { onStep: (_: StepReport) => (++steps === 5 ? controller.abort() : undefined) } // step 2 of the second stage
    const first = await run({ signal: controller.signal, listener })
    expect(first).toMatchObject({ end: 'interrupted', stages: [{ name: 'large', skipped: false }] })
    expect(lines.at(-1)).toBe('interrupted with 3 of 4 stages to go; the same command goes on')
    lines.length = 0
    const seen: number[] = []
    const rest = await run({ listener: { onStep: ({ step }: StepReport) => void seen.push(step) } })
    expect(rest.end).toBe('finished')
    expect(ran(rest)).toEqual(['middle', 'small', 'rater'])
    expect(seen).toEqual([3, 1, 2, 3, 1, 2, 3])
    expect(lines).toContain('\n▸ stage 2 of 4, middle (distill): goes on where it was interrupted')
    const table = lines.slice(-5)
    expect(table[0]).toMatch(/^stage +model +parameters +best loss +seconds$/)
    const { parameters, bestLoss } = rest.stages[1]!.result
    expect(table[2]).toBe(
      `middle  ${at('chain/middle/model')}  ${String(parameters.toLocaleString('en')).padStart(10)}  ${bestLoss!.toFixed(4).padStart(9)}  ${rest.stages[1]!.result.seconds.toFixed(1).padStart(7)}  run`,
    )
    expect(table[1]).toMatch(/^large .* skipped$/)
  })

  it('ends with the bits of a chain that was never interrupted', async () => {
    await writeFile(at('whole.yaml'), chain().replace(at('chain'), at('whole')))
    expect(ran(await stages({ config: at('whole.yaml') }, context))).toEqual(['large', 'middle', 'small', 'rater'])
    for (const name of ['large', 'middle', 'small', 'rater']) {
      const [a, b] = ['chain', 'whole'].map((out) => readFile(at(out, name, 'model', 'model.safetensors')))
      expect((await a)!.equals((await b)!), name).toBe(true)
    }
  })

  it('skips everything when nothing has changed', async () => {
    expect(ran(await run())).toEqual([])
  })

  it('runs a stage whose settings changed, and what is made from it', async () => {
    await writeFile(config, chain(1e-3))
    lines.length = 0
    expect(ran(await run())).toEqual(['middle', 'small', 'rater'])
    expect(lines).toContain('\n▸ stage 2 of 4, middle (distill): changed since it was run: settings')
    expect(lines).toContain('\n▸ stage 3 of 4, small (distill): changed since it was run: teacher')
    expect(lines).toContain('\n▸ stage 4 of 4, rater (classify): changed since it was run: from')
    expect(ran(await run())).toEqual([])
  })

  it('runs a stage whose model is gone, and no other when it comes out the same', async () => {
    await rm(at('chain', 'middle', 'model'), { recursive: true })
    expect(ran(await run())).toEqual(['middle'])
  })

  it('runs everything that reads data which changed', async () => {
    const file = at('data', 'train.jsonl')
    const text = await readFile(file, 'utf8')
    await writeFile(file, text.slice(text.indexOf('\n') + 1))
    lines.length = 0
    expect(ran(await run())).toEqual(['large', 'middle', 'small', 'rater'])
    expect(lines).toContain('\n▸ stage 1 of 4, large (sft): changed since it was run: train.jsonl')
  })

  it('leaves a run alone that no stage has made', async () => {
    await rm(at('chain', 'large', 'stage.json'))
    await expect(run()).rejects.toMatchObject({ code: 'ERR_RUN_EXISTS' })
    expect(existsSync(at('chain', 'large', 'checkpoints'))).toBe(true)
    await expect(run()).rejects.toMatchObject({ code: 'ERR_RUN_EXISTS' })
  })
})

describe('a file of stages that cannot be run', () => {
  const problems = async (text: string) => {
    await writeFile(at('wrong.yaml'), text)
    const error: unknown = await stages({ config: at('wrong.yaml') }, context).catch((e) => e)
    expect(error).toBeInstanceOf(ConfigError)
    return (error as ConfigError).message.replaceAll(at('wrong.yaml'), 'wrong.yaml')
  }

  it('is refused with line, path and what to do', async () => {
    const before = `  - { name: a, kind: distill, from: ${at('small')}, teacher: `
    expect(await problems(`out: o\ndata: d\nstages:\n${before}b }\n  - { name: b, kind: sft, from: a }\n`)).toBe(
      `wrong.yaml:4:${before.length + 1}: stages[0].teacher: leads round in a circle, a <- b <- a; let one of them start from a model folder`,
    )
    expect(await problems(`out: o\nstages:\n  - { name: a, kind: sft, from: ${at('small')} }\n`)).toMatch(
      /^wrong.yaml:3:5: stages\[0\].data: is missing; name a folder here, or for all stages at the top$/,
    )
    expect(await problems('out: o\ndata: d\nstages:\n  - { name: a, kind: sft, from: nowhere }\n')).toMatch(
      /^wrong.yaml:4:33: stages\[0\].from: "nowhere" is neither a stage nor a model folder/,
    )
  })

  it('is refused for keys and kinds that do not exist', async () => {
    const base = `out: o\ndata: d\nstages:\n  - { name: a, from: ${at('small')}, `
    expect(await problems(`${base}kind: sft, teacher: b }\n`)).toMatch(/stages\[0\].teacher: unknown key/)
    expect(await problems(`${base}kind: dstill }\n`)).toMatch(/stages\[0\].kind: must be one of sft, distill, classify/)
  })

  it('is understood as the help shows it', async () => {
    const text = exampleConfig.replaceAll(/models\/[\d.]+b/g, at('small'))
    await writeFile(
      at('example.yaml'),
      text.replace('runs/chain', at('example')).replace('data: data', `data: ${at('nowhere')}`),
    )
    const error: unknown = await stages({ config: at('example.yaml') }, context).catch((e) => e)
    expect(error).not.toBeInstanceOf(ConfigError)
    expect(error).toMatchObject({ code: 'ERR_DATASET' })
  })
})
