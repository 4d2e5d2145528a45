import type { Command } from 'commander'
import { z } from 'zod'
import { loadConfig } from '../config/config.js'
import {
  artefactDigest,
  artefactOf,
  beginStage,
  finishStage,
  planStage,
  type StageResult,
} from '../distill/stageRecord.js'
import { type StageKind, stageOrder } from '../distill/stages.js'
import { textTable } from '../eval/report.js'
import { parameterCount } from '../models/families.js'
import { readFolderConfig } from '../models/folder.js'
import { type Chain, type ChainSettings, chainSchema, dataOf, folderOf, inputsOf, pathOf, type Stage } from './chain.js'
import { classifyTrain } from './classifyTrain.js'
import { checkSettings, defineCommand } from './command.js'
import { withDevice } from './device.js'
import { distill } from './distill.js'
import { interruptible } from './interrupt.js'
import { file } from './settings.js'
import { makeTeacherSignal } from './teacherSignal.js'
import { train } from './train.js'
import { exitCodeOf, type TrainingContext } from './training.js'

const schema = z.object({ config: file('YAML or JSON file of the stages') })

/** A file for `--config`, shown by `--help`. */
export const exampleConfig = `data: data
out: runs/chain
stages:
  - { name: teacher, kind: sft, from: models/7b, training: { epochs: 2 } }
  - { name: middle, kind: distill, from: models/1.5b, teacher: teacher, distill: { divergence: jensenShannon } }
  - { name: said, kind: signal, teacher: middle, topK: 64, student: models/0.5b }
  - { name: small, kind: distill, from: models/0.5b, teacherSignal: said, training: { epochs: 3, learningRate: 5e-4 } }
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

A stage trains a model, { name, kind: sft | distill | classify, from, teacher, teacherSignal, data, training: {...}, distill: {...} } with the
settings of lantern train, distill and classify-train, or writes what a teacher says, { name, kind: signal, teacher, student, data, topK, ... } with
those of lantern teacher-signal. Each makes OUT/NAME/model or OUT/NAME/teacher.signal. Interrupted, the same command goes on where it was.`,
    run: async (settings) => exitCodeOf(await stages(settings, { print: console.log, signal: interruptible() })),
  })
}

/** A stage as the table at the end shows it. */
export interface StageRow {
  name: string
  kind: StageKind
  /** The model folder, or the file of the signal, that it makes. */
  made: string
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
  const order = stageOrder(chain.stages)
  const end = await withDevice(chain, context, async (device) => {
    for (const [i, stage] of order.entries()) {
      const place = `[${i + 1}/${order.length}] ${stage.name} (${stage.kind})`
      const row = context.signal?.aborted ? null : await runStage(chain, stage, place, { ...context, device })
      if (!row) return 'interrupted'
      rows.push(row)
    }
    return 'finished'
  })
  for (const line of table(rows)) context.print(line)
  const left = order.slice(rows.length).map(({ name }) => name)
  if (left.length > 0)
    context.print(`interrupted; still to do: ${left.join(', ')}. The same command goes on in the middle of ${left[0]}`)
  return { end, stages: rows }
}

/** Runs or skips one; null when it was interrupted. */
async function runStage(chain: Chain, stage: Stage, place: string, context: TrainingContext): Promise<StageRow | null> {
  const { name, kind } = stage
  const { print } = context
  const out = folderOf(chain, stage)
  const made = artefactOf(out, kind)
  const inputs = await inputsOf(chain, stage)
  const plan = await planStage(out, kind, inputs)
  if (plan.action === 'skip') {
    print(`${place}: skipped, nothing it is made from has changed; ${made} is kept`)
    return { name, kind, made, skipped: true, result: plan.result }
  }
  print(`${place}: ${plan.action === 'resume' ? 'goes on where it was interrupted' : `runs ${plan.because}`}`)
  if (plan.action === 'run') await beginStage(out, inputs)
  const goOn = 'the same command goes on from there'
  const resume = plan.action === 'resume'
  const work =
    kind === 'signal' ? writeSignal(chain, stage, context) : trainStage(chain, stage, resume, { ...context, goOn })
  const done = await work
  if (!done) return null
  const result = { digest: await artefactDigest(made, kind), ...done }
  await finishStage(out, inputs, result)
  return { name, kind, made, skipped: false, result }
}

type Done = Omit<StageResult, 'digest'>

/** Writes what a teacher says; null when it was interrupted. */
async function writeSignal(
  chain: Chain,
  stage: Extract<Stage, { kind: 'signal' }>,
  context: TrainingContext,
): Promise<Done | null> {
  const { name: _name, kind, student, ...settings } = stage
  const started = performance.now()
  const written = await makeTeacherSignal(
    {
      ...settings,
      data: dataOf(chain, stage),
      teacher: pathOf(chain, stage.teacher),
      ...(student !== undefined && { student: pathOf(chain, student) }),
      out: artefactOf(folderOf(chain, stage), kind),
    },
    context,
  )
  if (!written) return null
  const { tokens, topK } = written.header
  return { tokens, topK, seconds: (performance.now() - started) / 1000 }
}

/** Trains a model; null when it was interrupted. */
async function trainStage(
  chain: Chain,
  stage: Exclude<Stage, { kind: 'signal' }>,
  resume: boolean,
  context: TrainingContext,
): Promise<Done | null> {
  const { name: _name, kind: _kind, from, ...settings } = stage
  const { anyway, printEvery } = chain
  const run = {
    ...settings,
    model: pathOf(chain, from),
    data: dataOf(chain, stage),
    out: folderOf(chain, stage),
    resume,
    anyway,
    printEvery,
  }
  const { end, model, best, steps, seconds } = await {
    sft: () => train(run, context),
    classify: () => classifyTrain(run, context),
    distill: () => distill({ ...run, ...teachersOf(chain, stage) }, context),
  }[stage.kind]()
  if (end === 'interrupted') return null
  const parameters = parameterCount(await readFolderConfig(model))
  return { parameters, bestLoss: best?.loss ?? null, steps, seconds }
}

/** What a student learns from, as paths. */
function teachersOf(chain: Chain, stage: Stage): { teacher?: string; teacherSignal?: string } {
  if (stage.kind !== 'distill') return {}
  const { teacher, teacherSignal } = stage
  return {
    ...(teacher !== undefined && { teacher: pathOf(chain, teacher) }),
    ...(teacherSignal !== undefined && { teacherSignal: pathOf(chain, teacherSignal) }),
  }
}

function table(rows: readonly StageRow[]): string[] {
  if (rows.length === 0) return []
  const number = (n: number) => n.toLocaleString('en')
  const cells = rows.map(({ name, kind, made, skipped, result: { parameters, tokens, topK, bestLoss, seconds } }) => [
    name,
    kind,
    skipped ? 'skipped' : 'run',
    made,
    parameters === undefined ? `${number(tokens!)} x top ${topK} tokens` : `${number(parameters)} parameters`,
    bestLoss?.toFixed(4) ?? '-',
    seconds.toFixed(1),
  ])
  const columns = ['stage', 'kind', 'now', 'made', 'size', 'best loss', 'seconds']
  return textTable({ names: 4, columns, rows: cells }).split('\n')
}
