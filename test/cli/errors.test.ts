import { execFile } from 'node:child_process'
import { cp, mkdir, open, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { Command } from 'commander'
import { beforeAll, describe, expect, it, vi } from 'vitest'
import { classifyTrain, classifyTrainCommand } from '../../lib/cli/classifyTrain.js'
import { dataCommand, makeData } from '../../lib/cli/data.js'
import { demoCommand } from '../../lib/cli/demo.js'
import { distill, distillCommand, exampleConfig } from '../../lib/cli/distill.js'
import { doctor } from '../../lib/cli/doctor.js'
import { evalCommand, evaluate } from '../../lib/cli/eval.js'
import { fitCommand, rateAndExplain } from '../../lib/cli/fit.js'
import { generate, generateCommand } from '../../lib/cli/generate.js'
import { planCommand } from '../../lib/cli/plan.js'
import { pretrain, pretrainCommand } from '../../lib/cli/pretrain.js'
import { pullCommand } from '../../lib/cli/pull.js'
import { serveCommand } from '../../lib/cli/serve.js'
import { type TrainSettings, train, trainCommand } from '../../lib/cli/train.js'
import type { TrainingContext } from '../../lib/cli/training.js'
import {
  ArgumentError,
  ConfigError,
  DatasetError,
  FileError,
  InputError,
  MemoryError,
  OutOfMemoryError,
  TokenizerError,
} from '../../lib/errors.js'
import { Device } from '../../lib/tensor/device.js'
import { Tokenizer } from '../../lib/text/tokenizer.js'
import { DivergedError, type StepReport } from '../../lib/train/trainer.js'
import { testDevice } from '../support.js'
import { temporaryFolder, writeTinyModel, writeTinyTokenizer } from '../tiny.js'

vi.setConfig({ testTimeout: 240_000, hookTimeout: 240_000 }) // real trainings, on a machine that may be busy
const device = testDevice()
const quiet = { device, print: () => {} }
const training = { steps: 4, batchSize: 2, checkpointEvery: 1, evalEvery: 0 }
const root = temporaryFolder()
const at = (...parts: string[]) => join(root, ...parts)

beforeAll(async () => {
  await writeTinyTokenizer(at('tokenizer'))
  await writeTinyModel(device, at('base'), { tokenizerFrom: at('tokenizer') })
  await makeData({ out: at('data'), pairs: 9, seed: 5, validation: 0.2, test: 0.2 }, () => {})
})

const rejection = (promise: Promise<unknown>): Promise<Error & { code?: string }> =>
  promise.then(
    () => Promise.reject(new Error('nothing was thrown')),
    (error) => error,
  )

/** Runs a command line without starting a process. */
function run(...args: string[]): Promise<unknown> {
  const program = new Command('lantern').exitOverride().configureOutput({ writeErr: () => {} })
  for (const add of [trainCommand, distillCommand, classifyTrainCommand]) add(program)
  for (const command of program.commands) command.exitOverride().configureOutput({ writeErr: () => {} })
  return program.parseAsync(['node', 'lantern', ...args])
}

describe('settings', () => {
  const config = async (name: string, text: string) => {
    await writeFile(at(name), text)
    return ['--config', at(name)]
  }

  it.each(['train', 'distill', 'classify-train'])(
    '%s names a misspelt key of its file, and the right one',
    async (command) => {
      const file = await config('misspelt.yaml', 'model: a\ntraining:\n  learnignRate: 1e-3\n  batchSize: many\n')
      const error = await rejection(run(command, ...file))
      expect(error).toBeInstanceOf(ConfigError)
      expect(error.message).toContain(
        'misspelt.yaml:3:3: training.learnignRate: unknown key; did you mean "learningRate"?',
      )
      expect(error.message).toContain('misspelt.yaml:4:14: training.batchSize: must be a number but is the text "many"')
    },
  )

  it('reads the file that the help shows', async () => {
    const file = await config('example.yaml', exampleConfig.replace('model: assets/student', `model: ${at('nowhere')}`))
    const error = await rejection(run('distill', ...file))
    expect(error, error.message).not.toBeInstanceOf(ConfigError)
    expect(error.message).toContain('no such file')
  })

  it('takes class weights as a word or as three numbers', async () => {
    const weights = async (text: string) =>
      (
        await rejection(
          run('classify-train', '--model', at('nowhere'), '--data', 'd', '--out', 'o', '--class-weights', text),
        )
      ).message
    for (const wrong of ['even', '1,2', '1,x,3'])
      expect(await weights(wrong)).toMatch(/must be balanced or a list|entries/)
    for (const right of ['balanced', '1,2,0.5']) expect(await weights(right)).toContain('nowhere')
  })

  it('refuses the distill section where there is no teacher', async () => {
    const file = await config('section.yaml', 'distill: { divergence: forwardKL }\n')
    expect((await rejection(run('train', ...file))).message).toMatch(/section.yaml:1:1: distill: unknown key/)
  })

  it('says which flag gives what neither file nor flags have', async () => {
    const file = await config('partial.json', '{ "model": "a", "out": "b", "training": { "precision": "bfloat16" } }')
    const error = await rejection(run('distill', ...file, '--data', 'd'))
    expect(error.message).toBe(
      'lantern distill: teacher is missing; pass --teacher, or --teacher-signal with a file that lantern teacher-signal wrote',
    )
  })

  it.each([
    [['--batch-size', '1.5'], /'1.5' is invalid. It must be an integer but is 1.5/],
    [['--batch-size', ''], /must be a number/],
    [['--divergence', 'jensenshannon'], /did you mean "jensenShannon"\?/],
    [['--betas', '0.9,1'], /must be less than 1 but is 1/],
    [['--betas', '0.9'], /'0.9' is invalid/],
    [['--learning-rte', '1'], /unknown option '--learning-rte'\s+\(Did you mean --learning-rate\?\)/],
  ])('refuses the flag %s', async (flags, message) => {
    expect((await rejection(run('distill', ...flags))).message).toMatch(message)
  })

  it('checks settings that a program passes', async () => {
    const error = await rejection(train({ model: 'a', data: 'b', out: 'c', training: { patience: -1 } }, quiet))
    expect(error.message).toMatch(/training.patience must be at least 0 but is -1/)
    expect(await rejection(generate({ model: at('base') }, quiet))).toBeInstanceOf(ArgumentError)
    expect(await rejection(evaluate({ data: at('data', 'test.jsonl') }, quiet))).toBeInstanceOf(ArgumentError)
  })

  it('documents every flag with its default', () => {
    const program = new Command('lantern')
    distillCommand(program)
    const help = program.commands[0]!.configureHelp({ helpWidth: 500 }).helpInformation()
    expect(help).toMatch(/--lambda-kd <x> +weight of the divergence \(default: 0.9\)/)
    expect(help).toMatch(/--divergence <name> +divergence from the teacher: forwardKL, .* \(default: jensenShannon\)/)
    for (const add of [
      dataCommand,
      demoCommand,
      evalCommand,
      fitCommand,
      generateCommand,
      planCommand,
      pretrainCommand,
      pullCommand,
      serveCommand,
    ])
      add(program)
    for (const { name, options } of program.commands.map((c) => ({ name: c.name(), options: c.options })))
      for (const { long, description } of options) expect(description, `${name} ${long}`).toMatch(/^\w{2}/)
    expect(program.commands[3]!.helpInformation()).toMatch(/--model <folder> +explainer to score/)
  })
})

describe('data and models that do not fit', () => {
  const settings = (out: string) => ({ model: at('base'), data: at('data'), out: at(out), training })

  it('names the line of a dataset that is broken', async () => {
    await mkdir(at('broken'))
    const lines = (await readFile(at('data', 'train.jsonl'), 'utf8')).split('\n')
    lines[1] = lines[1]!.slice(0, 100)
    await writeFile(at('broken', 'train.jsonl'), lines.join('\n'))
    const error = await rejection(train({ ...settings('x'), data: at('broken') }, quiet))
    expect(error).toBeInstanceOf(DatasetError)
    expect(error.message).toMatch(/broken\/train.jsonl:2: no JSON/)
  })

  it.each(['train', 'distill', 'classify-train', 'pretrain'] as const)(
    '%s refuses what memory does not suffice for, before anything is loaded, unless told to go on',
    async (command) => {
      const start = {
        train,
        distill: (s: TrainSettings, c: TrainingContext) => distill({ ...s, teacher: at('base') }, c),
        'classify-train': classifyTrain,
        pretrain: ({ out, anyway }: TrainSettings, c: TrainingContext) =>
          pretrain({ out, anyway, pairs: 20, tokenizer: at('base') }, c),
      }[command]
      const small = Device.open('cpu', { memoryBudget: 2 ** 20 })
      const lines: string[] = []
      const context = { device: small, print: (line: string) => void lines.push(line) }
      try {
        const error = await rejection(start(settings('x'), context))
        expect(error).toBeInstanceOf(MemoryError)
        expect(error.message).toMatch(/the training needs .* of the 1\.0 MiB of .*activations .*gradients/)
        expect(small.memory()).toMatchObject({ peak: 0, reserved: 0 })
        const overcome = await rejection(start({ ...settings('x'), anyway: true }, context))
        expect(overcome).toBeInstanceOf(OutOfMemoryError)
        expect(lines.at(-1)).toMatch(/it does not fit, and goes on as it was told to/)
      } finally {
        await small.close()
      }
    },
  )

  it('says so when no sample fits', async () => {
    const tight = { ...settings('x'), training: { ...training, maxLength: 10, longSamples: 'skip' as const } }
    const error = await rejection(train(tight, quiet))
    expect(error).toMatchObject({ code: 'ERR_SAMPLE' })
  })

  it('refuses a tokenizer with more tokens than the model', async () => {
    await cp(at('base'), at('mismatched'), { recursive: true })
    await writeTinyTokenizer(at('mismatched'), 1, 640)
    for (const use of [
      () => train({ ...settings('x'), model: at('mismatched') }, quiet),
      () => generate({ model: at('mismatched'), prompt: 'x' }, quiet),
      () => evaluate({ model: at('mismatched'), data: at('data', 'test.jsonl') }, quiet),
    ]) {
      const error = await rejection(use())
      expect(error).toBeInstanceOf(TokenizerError)
      expect(error.message).toMatch(/ids up to 6\d\d but the model has 600 embedding rows/)
    }
  })

  it('refuses a teacher whose tokens are others', async () => {
    await writeTinyTokenizer(at('other-tokenizer'), 2)
    await writeTinyModel(device, at('stranger'), { tokenizerFrom: at('other-tokenizer') })
    const error = await rejection(distill({ ...settings('x'), teacher: at('stranger') }, quiet))
    expect(error).toBeInstanceOf(TokenizerError)
    expect(error.message).toMatch(
      /^token \d+ is "[^ ]+" of the teacher .*stranger but "[^ ]+" of .*base; distil between models that share/,
    )
    const [own, other] = await Promise.all([at('base'), at('stranger')].map((path) => Tokenizer.fromFolder(path)))
    const id = Number(/\d+/.exec(error.message)![0])
    const token = (of: Tokenizer, wanted: number) => [...of.vocabulary()].find(([, i]) => i === wanted)?.[0]
    expect(error.message).toContain(`${JSON.stringify(token(other!, id))} of the teacher`)
    for (let i = 0; i < id; i++) expect(token(own!, i)).toBe(token(other!, i))
    expect(own!.contentHash()).not.toBe(other!.contentHash())
    expect(own!.contentHash()).toBe((await Tokenizer.fromFolder(at('tokenizer'))).contentHash())
  })

  it('refuses to go on with a run under other settings', async () => {
    const first = { ...settings('resumed'), training: { ...training, steps: 1 } }
    await distill({ ...first, teacher: at('base') }, quiet)
    const again = { ...first, teacher: at('base'), resume: true }
    for (const other of [
      { ...again, distill: { divergence: 'forwardKL' as const } },
      { ...again, training: { ...first.training, weightDecay: 0.5 } },
      { ...again, training: { ...first.training, learningRate: 1e-5 } },
    ])
      expect(await rejection(distill(other, quiet))).toMatchObject({ code: 'ERR_RESUME' })
    expect((await distill(again, quiet)).steps).toBe(1)
  })

  it('refuses a classifier where a language model is meant', async () => {
    await classifyTrain({ ...settings('rater'), training: { ...training, steps: 1 } }, quiet)
    const model = at('rater', 'model')
    for (const use of [
      () => train({ ...settings('x'), model }, quiet),
      () => distill({ ...settings('x'), teacher: model }, quiet),
      () => generate({ model, prompt: 'x' }, quiet),
      () => evaluate({ model, data: at('data', 'test.jsonl') }, quiet),
    ])
      expect((await rejection(use())).message).toMatch(
        /rater\/model is a classifier and writes no text; give a language model/,
      )
  })

  it('refuses a language model as classifier and input that cannot be read', async () => {
    const test = at('data', 'test.jsonl')
    expect((await rejection(evaluate({ classifier: at('base'), data: test }, quiet))).message).toMatch(
      /base has no classification head; give a model that lantern classify-train made/,
    )
    const files = { job: at('nowhere'), profile: test, classifier: at('base'), explainer: at('base') }
    expect(await rejection(rateAndExplain(files, quiet))).toBeInstanceOf(InputError)
    expect(await rejection(rateAndExplain({ ...files, job: '-', profile: '-' }, quiet))).toBeInstanceOf(ArgumentError)
  })
})

describe('training that goes wrong', () => {
  it('stops at NaN with the step, the tensor and the last good checkpoint', async () => {
    const controller = new AbortController()
    const listener = {
      onStep: ({ step }: StepReport) => {
        if (step === 2) controller.abort()
      },
    }
    const settings = {
      model: at('base'),
      data: at('data'),
      out: at('nan'),
      training: { ...training, precision: 'float32' as const },
    }
    const { end } = await train(settings, { ...quiet, signal: controller.signal, listener })
    expect(end).toBe('interrupted')
    const file = at('nan', 'checkpoints', 'step-00000002', 'model.safetensors')
    await overwriteFirstValue(file, 'model.layers.1.mlp.up_proj.weight', Number.NaN)
    const error = await rejection(train({ ...settings, resume: true }, quiet))
    expect(error).toBeInstanceOf(DivergedError)
    expect(error).toMatchObject({ code: 'ERR_DIVERGED', step: 3 })
    expect(error.message).toMatch(/^step 3: .*model\.layers\.1\.mlp\.up_proj\.weight/)
    expect(error.message).toMatch(/Last good checkpoint: .*checkpoints\/step-00000002$/)
    expect(await readdir(at('nan', 'checkpoints'))).toEqual(['step-00000001', 'step-00000002'])
  })

  it('loses nothing when the disk is full', async ({ skip }) => {
    const disk = at('disk')
    await mkdir(disk)
    const exec = promisify(execFile)
    const mounted = await exec('mount', ['-t', 'tmpfs', '-o', 'size=1000k', 'tmpfs', disk]).then(
      () => true,
      () => false,
    )
    skip(!mounted, 'no right to mount a small disk')
    try {
      const out = join(disk, 'run')
      const error = await rejection(train({ model: at('base'), data: at('data'), out, training }, quiet))
      expect(error).toBeInstanceOf(FileError)
      expect(error).toMatchObject({ code: 'ERR_DISK_FULL' })
      const kept = await readdir(join(out, 'checkpoints'))
      expect(kept.length).toBeGreaterThan(0)
      expect(
        kept.every((name) => /^step-\d{8}$/.test(name)),
        kept.join(),
      ).toBe(true)
      expect(error.message).toContain(`Last good checkpoint: ${join(out, 'checkpoints', kept.at(-1)!)}`)
      await cp(out, at('rescued'), { recursive: true })
      const resumed = await train(
        { model: at('base'), data: at('data'), out: at('rescued'), training, resume: true },
        quiet,
      )
      expect(resumed.end).toBe('finished')
    } finally {
      await exec('umount', [disk])
    }
  })
})

/** Changes one float32 of a safetensors file in place. */
async function overwriteFirstValue(path: string, name: string, value: number): Promise<void> {
  const handle = await open(path, 'r+')
  try {
    const bytes = await handle.readFile()
    const headerBytes = Number(bytes.readBigUInt64LE(0))
    const header = JSON.parse(bytes.subarray(8, 8 + headerBytes).toString('utf8'))
    expect(header[name].dtype).toBe('F32')
    const data = Buffer.alloc(4)
    data.writeFloatLE(value)
    await handle.write(data, 0, 4, 8 + headerBytes + header[name].data_offsets[0])
  } finally {
    await handle.close()
  }
}

describe('doctor', () => {
  it('tells what was chosen and measured', async () => {
    const lines: string[] = []
    const report = await doctor((line) => lines.push(line))
    expect(report.measured!.matrixPeak.float32).toBeGreaterThan(1e8)
    expect(report.measured!.matrixPeak.bfloat16).toBeGreaterThan(1e8)
    expect(report.measured!.readBandwidth).toBeGreaterThan(1e8)
    expect(report.addon!.instructionSets.map(({ name }) => name)).toContain(report.addon!.instructionSet)
    const text = lines.join('\n')
    for (const word of ['processor', 'instruction set', 'threads', 'huge pages', 'GFLOP/s', 'GB/s', 'CUDA', 'built by'])
      expect(text).toContain(word)
    expect(text).toMatch(/Everything is in order\.$|What to do:\n- /)
  })
})
