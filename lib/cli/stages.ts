import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { Command } from 'commander'
import { z } from 'zod'
import { loadConfig } from '../config/config.js'
import {
  beginStage,
  finishStage,
  planStage,
  type StageInputs,
  type StageResult,
  stageOrder,
  stageProblems,
} from '../distill/stages.js'
import { cachedFolder, parseModelName } from '../hub/cache.js'
import { fileDigest, modelDigest } from '../models/digest.js'
import { parameterCount, readModelConfig } from '../models/families.js'
import { classifierSettings, classifyTrain } from './classifyTrain.js'
import { checkSettings, defineCommand } from './command.js'
import { deviceSetting, withDevice } from './device.js'
import { distill } from './distill.js'
import { interruptible } from './interrupt.js'
import { distillSettings, file, folder, runSettings, trainingSettings } from './settings.js'
import { train } from './train.js'
import { exitCodeOf, type TrainingContext, type TrainingResult } from './training.js'
import { version } from './version.js'

const common = {
  name: z.string().regex(/^\w[\w.-]*$/, 'use letters, digits, dots, dashes and underscores: it names a folder'),
  from: z.string().min(1).describe('model to start from: a folder, or the name of another stage'),
  data: folder('data of this stage; default: that of the file').optional(),
  training: trainingSettings.prefault({}),
}

const stageSchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('sft'), ...common }),
  z.object({
    kind: z.literal('distill'),
    ...common,
    teacher: z.string().min(1),
    distill: distillSettings.prefault({}),
  }),
  z.object({ kind: z.literal('classify'), ...common, ...classifierSettings.shape }),
])

/** Whether a path is that of a model folder, or the name of a pulled model. */
function isModel(pathOrName: string): boolean {
  const pulled = parseModelName(pathOrName)
  return [pathOrName, ...(pulled ? [cachedFolder(pulled)] : [])].some((path) => existsSync(join(path, 'config.json')))
}

const chainSchema = z
  .object({
    data: folder('data of the stages that name none').optional(),
    out: folder('gets a run folder for every stage, by its name'),
    device: deviceSetting,
    anyway: runSettings.shape.anyway,
    printEvery: runSettings.shape.printEvery,
    stages: z.array(stageSchema).min(1),
  })
  .superRefine(({ data, stages }, context) => {
    const problem = (path: readonly (string | number)[], message: string) =>
      context.addIssue({ code: 'custom', path: ['stages', ...path], message })
    for (const { path, message } of stageProblems(stages, isModel)) problem(path, message)
    stages.forEach((stage, i) => {
      if (!(stage.data ?? data)) problem([i, 'data'], 'is missing; name a folder here, or for all stages at the top')
    })
  })

/** A chain of stages as a file, or a program, gives it. */
export type ChainSettings = z.input<typeof chainSchema>
type Chain = z.output<typeof chainSchema>
type Stage = Chain['stages'][number]

const schema = z.object({ config: file('YAML or JSON file of the stages') })

/** A file for `--config`, shown by `--help`. */
export const exampleConfig = `data: data
out: runs/chain
stages:
  - { name: teacher, kind: sft, from: models/7b, training: { epochs: 2 } }
  - { name: middle, kind: distill, from: models/1.5b, teacher: teacher, distill: { divergence: jensenShannon } }
  - { name: small, kind: distill, from: models/0.5b, teacher: middle, training: { epochs: 3, learningRate: 5e-4 } }
  - { name: rater, kind: classify, from: small }
`

/** `lantern stages`: a chain of trainings, each from a model folder or an earlier one. */
export function stagesCommand(program: Command): void {
  defineCommand(program, {
    name: 'stages',
    description: 'run a chain of trainings, each from a model or an earlier stage; what has not changed is skipped',
    schema,
    examples: `Example: lantern stages --config stages.yaml, with stages.yaml:

${exampleConfig.replace(/^/gm, '  ').trimEnd()}

A stage is { name, kind: sft | distill | classify, from, teacher, data, training: {...}, distill: {...} }, with the settings of lantern train,
distill and classify-train. Interrupted, the same command goes on where it was.`,
    run: async (settings) => exitCodeOf(await stages(settings, { print: console.log, signal: interruptible() })),
  })
}

/** A stage as the table at the end shows it. */
export interface StageRow {
  name: string
  /** Folder of its model. */
  model: string
  skipped: boolean
  result: StageResult
}

/** How a chain ended. */
export interface StagesResult {
  end: 'finished' | 'interrupted'
  /** Those that are done, in the order they were run. */
  stages: StageRow[]
}

/**
 * Runs the stages of a file in the order that they need each other. One whose settings, data and models are what they were is skipped, one
 * that was interrupted goes on.
 * @throws ConfigError with every problem of the file; what train, distill and classifyTrain throw
 */
export async function stages(input: z.input<typeof schema>, context: TrainingContext): Promise<StagesResult> {
  return await runChain(await loadConfig(checkSettings('stages', schema, input).config, chainSchema), context)
}

/** The same of a chain that a program puts together. @throws ConfigError with every problem of it */
export async function stagesOf(chain: ChainSettings, context: TrainingContext): Promise<StagesResult> {
  return await runChain(checkSettings('stages', chainSchema, chain), context)
}

async function runChain(chain: Chain, context: TrainingContext): Promise<StagesResult> {
  const rows: StageRow[] = []
  const end = await withDevice(chain, context, async (device) => {
    const order = stageOrder(chain.stages)
    for (const [i, stage] of order.entries()) {
      const heading = `▸ stage ${i + 1} of ${order.length}, ${stage.name}`
      const own = { ...context, device, goOn: 'the same command goes on' }
      const row = context.signal?.aborted ? null : await runStage(chain, stage, heading, own)
      if (!row) return 'interrupted'
      rows.push(row)
    }
    return 'finished'
  })
  if (rows.length > 0) for (const line of ['', ...table(rows)]) context.print(line)
  const left = chain.stages.length - rows.length
  if (left > 0)
    context.print(`interrupted with ${left} of ${chain.stages.length} stages to go; the same command goes on`)
  return { end, stages: rows }
}

/** Runs or skips one; null when it was interrupted. */
async function runStage(
  chain: Chain,
  stage: Stage,
  heading: string,
  context: TrainingContext,
): Promise<StageRow | null> {
  const { name, kind } = stage
  const { print } = context
  const out = join(chain.out, name)
  const model = join(out, 'model')
  const inputs = await inputsOf(chain, stage)
  const plan = await planStage(out, inputs)
  if (plan.action === 'skip') {
    print(`${heading}: nothing has changed, ${model} is kept`)
    return { name, model, skipped: true, result: plan.result }
  }
  print(`\n${heading} (${kind}): ${plan.action === 'resume' ? 'goes on where it was interrupted' : plan.because}`)
  if (plan.action === 'run') await beginStage(out, inputs)
  const { end, best, steps, seconds } = await trainStage(chain, stage, plan.action === 'resume', context)
  if (end === 'interrupted') return null
  const result = {
    digest: await modelDigest(model),
    parameters: parameterCount(await readModelConfig(join(model, 'config.json'))),
    bestLoss: best?.loss ?? null,
    steps,
    seconds,
  }
  await finishStage(out, inputs, result)
  return { name, model, skipped: false, result }
}

function trainStage(chain: Chain, stage: Stage, resume: boolean, context: TrainingContext): Promise<TrainingResult> {
  const { name, kind: _kind, from, ...settings } = stage
  const run = {
    ...settings,
    model: modelOf(chain, from),
    data: dataOf(chain, stage),
    out: join(chain.out, name),
    resume,
    anyway: chain.anyway,
    printEvery: chain.printEvery,
  }
  if (stage.kind === 'sft') return train(run, context)
  if (stage.kind === 'classify') return classifyTrain(run, context)
  return distill({ ...run, teacher: modelOf(chain, stage.teacher) }, context)
}

/** The folder that a reference stands for: a stage's model before a folder of that name. */
const modelOf = ({ out, stages }: Chain, reference: string): string =>
  stages.some(({ name }) => name === reference) ? join(out, reference, 'model') : reference

const dataOf = ({ data }: Chain, stage: Stage): string => (stage.data ?? data)!

async function inputsOf(chain: Chain, stage: Stage): Promise<StageInputs> {
  const { name: _name, from, data: _data, ...settings } = stage
  const { teacher, ...rest } = 'teacher' in settings ? settings : { teacher: undefined, ...settings }
  const folder = dataOf(chain, stage)
  const files = ['train.jsonl', 'validation.jsonl'].filter((name) => existsSync(join(folder, name)))
  const inputs: Record<string, string> = {
    version,
    settings: createHash('sha256').update(JSON.stringify(rest)).digest('hex'),
    from: await modelDigest(modelOf(chain, from)),
  }
  if (teacher !== undefined) inputs.teacher = await modelDigest(modelOf(chain, teacher))
  for (const name of files) inputs[name] = await fileDigest(join(folder, name))
  return inputs
}

function table(rows: readonly StageRow[]): string[] {
  const cells = rows.map(({ name, model, skipped, result }) => [
    name,
    model,
    result.parameters.toLocaleString('en'),
    result.bestLoss?.toFixed(4) ?? '-',
    result.seconds.toFixed(1),
    skipped ? 'skipped' : 'run',
  ])
  const all = [['stage', 'model', 'parameters', 'best loss', 'seconds', ''], ...cells]
  const widths = all[0]!.map((_, column) => Math.max(...all.map((row) => row[column]!.length)))
  const numeric = (column: number) => column >= 2 && column <= 4
  return all.map((row) =>
    row
      .map((cell, i) => (numeric(i) ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!)))
      .join('  ')
      .trimEnd(),
  )
}
