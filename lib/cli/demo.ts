import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Command } from 'commander'
import { z } from 'zod'
import type { Curve } from '../eval/plot.js'
import { type Report, renderReport, textTable } from '../eval/report.js'
import { writeFileAtomic } from '../files.js'
import type { DivergenceKind } from '../ops/divergence.js'
import { Device } from '../tensor/device.js'
import type { TrainListener } from '../train/trainer.js'
import { classifyTrain } from './classifyTrain.js'
import { checkSettings, defineCommand } from './command.js'
import { makeData } from './data.js'
import { type CommandContext, deviceSetting, withDevice } from './device.js'
import { distill } from './distill.js'
import { type ExplainerScores, evaluate } from './eval.js'
import { type ExplainedFit, rateAndExplain } from './fit.js'
import { interruptible } from './interrupt.js'
import { packageFile } from './packageFile.js'
import { folder } from './settings.js'
import { EXPLAINER_COLUMNS, EXPLAINER_NOTE, explainerFields } from './table/explainers.js'
import { train } from './train.js'
import type { TrainingContext, TrainingResult } from './training.js'
import { version } from './version.js'

const schema = z.object({
  out: folder('gets data, models and report.html; what an earlier demo left there is replaced').default('runs/demo'),
  pairs: z.int().min(60).default(2400).describe('generated pairs of post and profile'),
  seed: z.int().default(1).describe('seed of data, order and new weights'),
  teacherSteps: z.int().min(1).default(240).describe('optimiser steps of the teacher'),
  studentSteps: z.int().min(1).default(120).describe('optimiser steps of each student'),
  classifierSteps: z.int().min(1).default(200).describe('optimiser steps of the classifier'),
  scored: z.int().min(1).default(30).describe('held-out pairs that every model explains'),
  device: deviceSetting,
})

/** Settings of `lantern demo`. */
export type DemoSettings = z.input<typeof schema>

/** `lantern demo`: everything the package does, small, in minutes. */
export function demoCommand(program: Command): void {
  defineCommand(program, {
    name: 'demo',
    description:
      'data, teacher, students distilled with four divergences, classifier, scores, report and one fit: all in a few minutes',
    schema,
    examples: 'Example: lantern demo --out runs/demo',
    run: async (settings) => {
      await demo(settings, { print: console.log, signal: interruptible() })
      return 0
    },
  })
}

/** The students of the paper's table 1: cross entropy alone, and each divergence beside it. */
const STUDENTS: readonly { name: string; divergence: DivergenceKind | null }[] = [
  { name: 'SFT', divergence: null },
  { name: 'JS', divergence: 'jensenShannon' },
  { name: 'FKL', divergence: 'forwardKL' },
  { name: 'TVD', divergence: 'totalVariation' },
  { name: 'SKL', divergence: 'symmetricKL' },
]

interface Scored {
  name: string
  scores: ExplainerScores
}

/** Runs the whole of it and writes report.html. @throws LanternError of any of its parts */
export async function demo(input: DemoSettings, context: CommandContext): Promise<void> {
  const settings = checkSettings('demo', schema, input)
  await withDevice(settings, context, (device) => demoOn(device, settings, context))
}

async function demoOn(device: Device, settings: z.output<typeof schema>, context: CommandContext): Promise<void> {
  const { out, seed } = settings
  const started = Date.now()
  const print = (line: string) => context.print(line)
  const heading = (text: string) => print(`\n▸ ${text}  [${Math.round((Date.now() - started) / 1000)} s]`)
  await rm(out, { recursive: true, force: true })
  const curves = new Curves()
  const shared: TrainingContext = { print, signal: context.signal, device }
  const data = join(out, 'data')
  const bases = { teacher: packageFile('assets/teacher'), student: packageFile('assets/student') }

  heading(`Data: ${settings.pairs} pairs`)
  await makeData({ out: data, pairs: settings.pairs, seed }, print)

  const training = (steps: number, learningRate: number) => ({
    steps,
    learningRate,
    batchSize: 16,
    evalEvery: Math.ceil(steps / 4),
    checkpointEvery: 0,
    seed,
  })
  const run = async (name: string, start: (context: TrainingContext) => Promise<TrainingResult>) => {
    const result = await start({ ...shared, listener: curves.listener(name) })
    if (result.end === 'interrupted') throw context.signal?.reason
    return result.model
  }
  const common = { data, printEvery: 20 }

  heading('Teacher: supervised fine-tuning')
  const teacher = await run('teacher', (c) =>
    train(
      { ...common, model: bases.teacher, out: join(out, 'teacher'), training: training(settings.teacherSteps, 1.5e-3) },
      c,
    ),
  )
  const models = [
    { name: 'student, untrained', path: bases.student },
    { name: 'teacher', path: teacher },
  ]
  for (const { name, divergence } of STUDENTS) {
    heading(`Student: ${divergence ? `0.1 CE + 0.9 ${divergence}` : 'cross entropy alone (SFT)'}`)
    const settingsOf = {
      ...common,
      model: bases.student,
      out: join(out, name.toLowerCase()),
      training: training(settings.studentSteps, 2e-3),
    }
    const path = await run(name, (c) =>
      divergence ? distill({ ...settingsOf, teacher, distill: { divergence } }, c) : train(settingsOf, c),
    )
    models.push({ name: `student, ${name}`, path })
  }
  heading('Classifier')
  const classifier = await run('classifier', (c) =>
    classifyTrain(
      {
        ...common,
        model: bases.student,
        classifierHidden: 128,
        out: join(out, 'classifier'),
        training: training(settings.classifierSteps, 5e-4),
      },
      c,
    ),
  )

  heading(`Scores on ${settings.scored} held-out pairs`)
  const test = join(data, 'test.jsonl')
  const scored: Scored[] = []
  for (const { name, path } of models) {
    const { explainer } = await evaluate(
      { model: path, data: test, limit: settings.scored, maxTokens: 256 },
      { ...shared, print: () => {} },
    )
    scored.push({ name, scores: explainer! })
  }
  print(textTable(tableOf(scored)))
  const rated = await evaluate({ classifier, data: test }, shared)

  const best = scored
    .filter(({ name }) => STUDENTS.some((s) => name.endsWith(s.name)))
    .reduce((a, b) => (b.scores.explanation.statusAccuracy > a.scores.explanation.statusAccuracy ? b : a))
  heading(`One real pair, explained by the ${best.name}`)
  const pair = { job: packageFile('examples/job.json'), profile: packageFile('examples/profile.json') }
  const explainer = models.find(({ name }) => name === best.name)!.path
  const fit = await rateAndExplain(
    { ...pair, classifier, explainer },
    { ...shared, print: (piece) => void process.stdout.write(piece) },
  )

  const seconds = Math.round((Date.now() - started) / 1000)
  const report = join(out, 'report.html')
  await writeFileAtomic(
    report,
    await renderReport(await reportOf({ scored, curves, rated, best, fit, pair, settings, seconds, device })),
  )
  heading(`Done; open ${report}`)
}

/** Loss curves by run. */
class Curves {
  readonly train: Curve[] = []
  readonly validation: Curve[] = []

  listener(name: string): TrainListener {
    const steps: [number, number][] = []
    const evaluations: [number, number][] = []
    this.train.push({ name, points: steps })
    this.validation.push({ name, points: evaluations })
    return {
      onStep: ({ step, parts }) => void steps.push([step, parts.ce!]),
      onEval: ({ step, parts }) => void evaluations.push([step, parts.ce ?? parts.loss!]),
    }
  }
}

const percent = (share: number) => (100 * share).toFixed(1)

/** The layout of the paper's table 1, and behind it how right the explanations are. */
function tableOf(scored: readonly Scored[]) {
  return {
    columns: ['model', ...EXPLAINER_COLUMNS.map(({ title }) => title)],
    rows: scored.map(({ name, scores }) => {
      const fields = explainerFields(scores)
      return [name, ...EXPLAINER_COLUMNS.map(({ field, text }) => text(fields[field]!))]
    }),
  }
}

interface Outcome {
  scored: readonly Scored[]
  curves: Curves
  rated: Awaited<ReturnType<typeof evaluate>>
  best: Scored
  fit: ExplainedFit
  pair: { job: string; profile: string }
  settings: z.output<typeof schema>
  seconds: number
  device: Device
}

async function reportOf({
  scored,
  curves,
  rated,
  best,
  fit,
  pair,
  settings,
  seconds,
  device,
}: Outcome): Promise<Report> {
  const { accuracy, weightedF1, samples } = rated.classifier!
  const decoders = (list: readonly Curve[]) => list.filter(({ name }) => name !== 'classifier')
  const shown = best.scores.generated[0]!
  const { title } = JSON.parse(await readFile(pair.job, 'utf8')) as { title: string }
  return {
    title: 'LANTERN demo',
    lead: `A teacher, five students from the same start and a classifier, trained and scored in ${Math.round(seconds / 6) / 10} minutes on ${device.name}.`,
    tables: [
      {
        title: 'Explanations of held-out pairs (table 1 of the paper)',
        ...tableOf(scored),
        note: `${best.scores.samples} pairs. ${EXPLAINER_NOTE}`,
      },
      {
        title: 'Ratings',
        columns: ['classifier', 'accuracy', 'weighted F1', 'pairs'],
        rows: [['low, medium, high', `${percent(accuracy)} %`, percent(weightedF1), String(samples)]],
      },
    ],
    plots: [
      {
        title: 'Training: cross entropy',
        xLabel: 'optimiser step',
        yLabel: 'nats a token',
        logarithmic: true,
        curves: decoders(curves.train),
      },
      {
        title: 'Validation: cross entropy',
        xLabel: 'optimiser step',
        yLabel: 'nats a token',
        curves: decoders(curves.validation),
      },
    ],
    excerpts: [
      { title: `One real pair: ${title}`, text: `Rated ${fit.level}\n\n${fit.explanation}` },
      { title: `A held-out pair, explained by the ${best.name}`, text: shown.text },
      { title: 'The same pair by the rubric', text: shown.reference },
    ],
    madeWith: {
      command: 'lantern demo',
      version,
      ...settings,
      seconds,
      device: device.name,
      ...(device.kind === 'cpu' && { instructionSet: Device.describe().instructionSet }),
    },
  }
}
