import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Command } from 'commander'
import { z } from 'zod'
import { LEVELS } from '../distill/samples.js'
import { type Excerpt, type Table, textTable } from '../eval/report.js'
import { checkSettings, defineCommand, type Print } from './command.js'
import { type CommandContext, deviceSetting, withDevice } from './device.js'
import { type ClassifierScores, evaluate } from './eval.js'
import { rateAndExplain } from './fit.js'
import { interruptible, unlessInterrupted } from './interrupt.js'
import { packageFile } from './packageFile.js'
import { folder } from './settings.js'
import { CLASSIFIER_COLUMNS, CLASSIFIER_NOTE, classifierFields } from './table/classifiers.js'
import { divergences } from './table/divergences.js'
import { OURS, SMALL, trainingOf } from './table/grid.js'
import { layoutOf } from './table/report.js'
import { type FinishedTable, runTable, type TableRow, tableSettings } from './table/run.js'
import { writeTable } from './table/write.js'

const steps = (of: string, usual: number) => z.int().min(1).default(usual).describe(`optimiser steps of ${of}`)

const schema = z.object({
  out: folder('gets data, a run folder for every model, table.csv, report.html').default('runs/demo'),
  pairs: tableSettings.shape.pairs,
  seed: z.int().default(1).describe('seed of data, order and new weights'),
  teacherSteps: steps('the teacher', SMALL.teacher.steps),
  studentSteps: steps('each student', SMALL.student.steps),
  classifierSteps: steps('the classifier', SMALL.classifier.steps),
  scored: tableSettings.shape.scored,
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
    examples: 'Interrupted, the same command goes on.\nExample: lantern demo --out runs/demo',
    run: async (settings) => ((await demo(settings, { print: console.log, signal: interruptible() })) ? 0 : 130),
  })
}

/**
 * Table 1 of the paper on models of ours, with a classifier of the same data, and one pair that both explain. Writes what a table writes.
 * @returns whether it was finished; interrupted, the same call goes on
 * @throws LanternError of any of its parts
 */
export async function demo(input: DemoSettings, context: CommandContext): Promise<boolean> {
  const settings = checkSettings('demo', schema, input)
  return await withDevice(settings, context, (device) => demoOn(settings, { ...context, device }))
}

type Settings = z.output<typeof schema>

async function demoOn(settings: Settings, context: CommandContext): Promise<boolean> {
  const { print, signal } = context
  const started = performance.now()
  const table = demoTable(settings)
  const finished = await runTable(table, tableOf(settings), context)
  if (!finished) return false
  const layout = layoutOf(table, finished.rows)
  for (const line of ['', layout.title, textTable(layout), layout.note!]) print(line)
  const shown = await unlessInterrupted(signal, () => show(finished, context))
  if (!shown) return false
  const making = { command: 'lantern demo', settings, title: 'LANTERN demo', what: WHAT, ...shown }
  await writeTable(table, finished, making)
  const seconds = Math.round((performance.now() - started) / 1000)
  print(`\n▸ done in ${seconds} s; open ${join(finished.out, 'report.html')}`)
  return true
}

const WHAT = 'A teacher, five students from the same start and a classifier'

/** Table 1, and a stage that is no row of it. */
function demoTable({ seed, classifierSteps }: Settings): typeof divergences {
  const from = OURS.student
  const training = trainingOf('classifier', from, { seed, steps: classifierSteps })
  return {
    ...divergences,
    grid(settings) {
      const { stages, rows } = divergences.grid(settings)
      return { stages: [...stages, { name: 'classifier', kind: 'classify', from, training }], rows }
    },
  }
}

function tableOf({ out, pairs, seed, scored, teacherSteps, studentSteps, device }: Settings) {
  const training = { seed, steps: studentSteps }
  const settings = { out, pairs, scored, teacherSteps, training, device }
  return checkSettings('demo', tableSettings.extend(divergences.schema.shape), settings)
}

/** What the demo shows besides the table: the classifier's scores, and pairs with their explanations. @throws the signal's reason when it aborts */
async function show(
  finished: FinishedTable,
  context: CommandContext,
): Promise<{ tables: Table[]; excerpts: Excerpt[] }> {
  const { out, rows } = finished
  const { print, signal } = context
  const classifier = join(out, 'classifier', 'model')
  print('\n▸ ratings of the classifier')
  const rated = await evaluate({ classifier, data: join(out, 'data', 'test.jsonl') }, context)
  const students = rows.filter(({ labels, models }) => labels[0] === 'student' && models[0]!.trained)
  const verdicts = ({ models }: TableRow) => models[0]!.fields.verdictsRight!
  const best = students.reduce((a, b) => (verdicts(b) > verdicts(a) ? b : a))
  const name = best.labels.join(', ')
  const { model, generated } = best.models[0]!

  print(`\n▸ one real pair, explained by: ${name}`)
  const pair = { job: packageFile('examples/job.json'), profile: packageFile('examples/profile.json') }
  const fit = await rateAndExplain({ ...pair, classifier, explainer: model }, { ...context, print: byLine(print) })
  signal?.throwIfAborted()
  const { title } = JSON.parse(await readFile(pair.job, 'utf8')) as { title: string }
  const { text, reference } = generated![0]!
  return {
    tables: [ratingsOf(rated.classifier!)],
    excerpts: [
      { title: `One real pair: ${title}`, text: `Rated ${fit.level}\n\n${fit.explanation}` },
      { title: `A held-out pair, explained by: ${name}`, text },
      { title: 'The same pair by the rubric', text: reference },
    ],
  }
}

function ratingsOf(scores: ClassifierScores): Table {
  const fields = classifierFields(scores)
  return {
    title: 'Ratings',
    columns: ['classifier', 'pairs', ...CLASSIFIER_COLUMNS.map(({ title }) => title)],
    rows: [
      [LEVELS.join(', '), String(scores.samples), ...CLASSIFIER_COLUMNS.map(({ field, text }) => text(fields[field]!))],
    ],
    note: CLASSIFIER_NOTE,
  }
}

/** Takes text in pieces and prints its lines. */
function byLine(print: Print): Print {
  let begun = ''
  return (piece) => {
    const lines = (begun + piece).split('\n')
    begun = lines.pop()!
    for (const line of lines) print(line)
  }
}
