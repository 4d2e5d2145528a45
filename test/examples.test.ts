import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { Command } from 'commander'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { distil } from '../examples/distil.js'
import { answer } from '../examples/generate.js'
import { divergenceOf } from '../examples/ops.js'
import { makeData } from '../lib/cli/data.js'
import { distillCommand } from '../lib/cli/distill.js'
import { assess, type DivergenceKind, parseJob, parseProfile } from '../lib/index.js'
import { relativeError, testDevice } from './support.js'
import { temporaryFolder, writeTinyModel, writeTinyTokenizer } from './tiny.js'

const root = fileURLToPath(new URL('..', import.meta.url))
const device = testDevice({ threads: 1 })
const folder = await temporaryFolder()
const path = (name: string) => join(folder, name)

/** The first code block of a language in a Markdown file of the repository. */
async function block(file: string, language: string): Promise<string> {
  const found = new RegExp(`^\`\`\`${language}\n([\\s\\S]*?)^\`\`\``, 'm').exec(
    await readFile(join(root, file), 'utf8'),
  )
  if (!found) throw new Error(`${file} has no block of ${language}`)
  return found[1]!
}

beforeAll(async () => {
  await writeTinyTokenizer(path('tokenizer'))
  await writeTinyModel(device, path('teacher'), { tokenizerFrom: path('tokenizer'), seed: 2, hiddenSize: 48 })
  await writeTinyModel(device, path('student'), { tokenizerFrom: path('tokenizer'), seed: 3 })
  const labels = { numLabels: 3, id2label: ['low', 'medium', 'high'] }
  await writeTinyModel(device, path('classifier'), { tokenizerFrom: path('tokenizer'), config: labels })
})

describe('examples/distil.ts', () => {
  it('is shorter than 60 lines', async () => {
    const lines = (await readFile(join(root, 'examples/distil.ts'), 'utf8')).trimEnd().split('\n')
    expect(lines.length).toBeLessThan(60)
  })

  it('learns, and leaves nothing on the device', async () => {
    await device.synchronize()
    const before = device.memory().live
    const losses = await distil(device, path('teacher'), path('student'), 5)
    expect(losses).toHaveLength(5)
    for (const { ce, kd } of losses) expect(Number.isFinite(ce) && kd > 0).toBe(true)
    expect(losses[4]!.ce).toBeLessThan(losses[0]!.ce - 0.01)
    await device.synchronize()
    expect(device.memory().live).toBe(before)
  })
})

describe('examples/ops.ts', () => {
  it.each([
    ['forwardKL', 1.397104, [-0.68058, -0.006419, 0.704447, -0.017448]],
    ['reverseKL', 3.145998, [-0.762568, -0.117121, 1.198057, -0.318368]],
    ['jensenShannon', 0.359433, [-0.114091, -0.006724, 0.139091, -0.018277]],
    ['totalVariation', 0.704447, [-0.112512, -0.025105, 0.205858, -0.068242]],
  ] as [DivergenceKind, number, number[]][])('%s has the known value and gradient', async (kind, value, gradient) => {
    const found = await divergenceOf(device, kind, [0.5, -1, 2, 0], [3, 0, -2, 1])
    expect(found.value).toBeCloseTo(value, 5)
    expect(relativeError(found.gradient, gradient)).toBeLessThan(1e-5)
  })
})

describe('examples/generate.ts', () => {
  it('answers together as it answers one by one, and hands on every piece', async () => {
    const questions = ['Which skills?', 'What does the job ask for?']
    const pieces = ['', '']
    const onText = (index: number, piece: string) => {
      pieces[index] += piece
    }
    const together = await answer(device, path('student'), questions, { maxTokens: 12, onText })
    expect(pieces).toEqual(together)
    expect(together.every((text) => text.length > 0)).toBe(true)
    for (const [i, question] of questions.entries())
      expect(await answer(device, path('student'), [question], { maxTokens: 12 })).toEqual([together[i]])
  })
})

describe('examples/job.json and profile.json', () => {
  it('are a post of 300 to 700 words and a profile that fits it in part', async () => {
    const job = parseJob(await readFile(join(root, 'examples/job.json'), 'utf8'))
    const now = new Date('2025-06-30')
    const profile = parseProfile(await readFile(join(root, 'examples/profile.json'), 'utf8'), { now })
    const words = job.text.split(/\s+/).length
    expect(words).toBeGreaterThanOrEqual(300)
    expect(words).toBeLessThanOrEqual(700)
    const { level, findings } = assess(job, profile)
    expect(level).toBe('medium')
    expect(new Set(findings.map(({ status }) => status))).toEqual(new Set(['met', 'partly', 'notMet']))
    expect(findings.filter(({ requirement }) => requirement.type === 'other').length).toBeLessThan(2)
  })
})

describe('README.md', () => {
  it('has an example of at most 15 lines that runs', async () => {
    const code = await block('README.md', 'ts')
    expect(code.trimEnd().split('\n').length).toBeLessThanOrEqual(15)
    const tiny = code
      .replace('runs/demo/js/model', path('student'))
      .replace('runs/demo/classifier/model', path('classifier'))
    expect(tiny.split(folder)).toHaveLength(3)
    const lines = await run(tiny)
    expect(lines[0]).toMatch(/^(low|medium|high) \{\s+low: [\d.]+,\s+medium: [\d.]+,\s+high: [\d.]+\s+\}$/)
  })

  it('names files and commands that exist', async () => {
    const text = await readFile(join(root, 'README.md'), 'utf8')
    const { scripts } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as { scripts: object }
    const named = [...text.matchAll(/npm run ([\w:]+)/g)].map((m) => m[1]!)
    expect(named.filter((name) => !(name in scripts))).toEqual([])
    expect(text).toMatch(/<!-- bench:start -->[\s\S]*<!-- bench:end -->/)
    for (const [, link] of text.matchAll(/\]\((?!https?:)([^)#]+)\)/g)) {
      await expect(readFile(join(root, link!)), link).resolves.toBeDefined()
    }
  })
})

describe('docs/training.md', () => {
  it('has a configuration file that distils', async () => {
    const config = path('distill.yaml')
    await writeFile(config, await block('docs/training.md', 'yaml'))
    await makeData({ out: path('data'), pairs: 9, seed: 4 }, () => {})
    const printed = vi.spyOn(console, 'log').mockImplementation(() => {})
    const program = new Command().exitOverride()
    distillCommand(program)
    const folders = [
      '--model',
      path('student'),
      '--teacher',
      path('teacher'),
      '--data',
      path('data'),
      '--out',
      path('run'),
    ]
    await program.parseAsync(['distill', '--config', config, ...folders, '--steps', '1', '--batch-size', '2'], {
      from: 'user',
    })
    printed.mockRestore()
    const model = JSON.parse(await readFile(join(path('run'), 'model/made-with.json'), 'utf8'))
    expect(model.settings.distill.divergence).toBe('jensenShannon')
    expect(model.steps).toBe(1)
  })
})

/** Runs TypeScript in the repository's folder, so that its relative paths hold; resolves to what it printed. */
async function run(code: string): Promise<string[]> {
  const { format } = await import('node:util')
  await mkdir(join(root, 'build'), { recursive: true })
  const directory = await mkdtemp(join(root, 'build/readme-'))
  afterAll(() => rm(directory, { recursive: true, force: true }))
  const file = join(directory, 'example.ts')
  await writeFile(file, code)
  const lines: string[] = []
  const log = vi.spyOn(console, 'log').mockImplementation((...values) => void lines.push(format(...values)))
  const write = vi.spyOn(process.stdout, 'write').mockImplementation(() => true)
  try {
    await import(/* @vite-ignore */ pathToFileURL(file).href)
  } finally {
    log.mockRestore()
    write.mockRestore()
  }
  return lines
}
