import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { BarPlot, Curve, Plot } from '../../eval/plot.js'
import type { Table } from '../../eval/report.js'
import { CLASSIFIER_COLUMNS, CLASSIFIER_NOTE } from './classifiers.js'
import { EXPLAINER_COLUMNS, EXPLAINER_NOTE } from './explainers.js'
import type { Column, PaperTable } from './grid.js'
import type { TableRow } from './run.js'
import { spreadOf } from './seeds.js'

const millions = (parameters: number): string => `${(parameters / 1e6).toPrecision(3)} M`

/** What the scores of a table are shown by: their columns, how to read them, the one that is drawn, and what a loss is a mean of. */
const SHOWN = {
  explanations: { columns: EXPLAINER_COLUMNS, note: EXPLAINER_NOTE, bar: ['rougeL', 'ROUGE-L'], per: 'token' },
  ratings: { columns: CLASSIFIER_COLUMNS, note: CLASSIFIER_NOTE, bar: ['weightedF1', 'Weighted F1'], per: 'pair' },
} as const

/** The numbers that a table shows. */
export const columnsOf = ({ scores }: PaperTable): readonly Column[] => SHOWN[scores].columns

const seedsOf = (rows: readonly TableRow[]): number => Math.max(...rows.map(({ models }) => models.length))

/** The table in the paper's layout. */
export function layoutOf({ title, number, labels, scores }: PaperTable, rows: readonly TableRow[]): Table {
  const { columns, note } = SHOWN[scores]
  const seeds = seedsOf(rows)
  const cell = (row: TableRow, { field, text }: Column) => {
    const { mean, deviation } = spreadOf(row, field)
    return deviation === null ? text(mean) : `${text(mean)} ± ${text(deviation)}`
  }
  return {
    title: `Table ${number}: ${title}`,
    names: labels.length,
    columns: [...labels, 'parameters', ...columns.map((column) => column.title)],
    rows: rows.map((row) => [
      ...row.labels,
      millions(row.models[0]!.parameters),
      ...columns.map((column) => cell(row, column)),
    ]),
    note: seeds > 1 ? `${note} ±: standard deviation over ${seeds} seeds, beside their mean.` : note,
  }
}

/** Points of a curve of training at most: each is the mean of as many steps, so that curves can be told apart. */
const POINTS = 60

/** Its scores as bars, and how its models were trained as curves; those of the first seed where there are several. */
export async function plotsOf({ scores }: PaperTable, rows: readonly TableRow[]): Promise<Plot[]> {
  const { per } = SHOWN[scores]
  const axes = { xLabel: 'optimiser step', yLabel: `nats a ${per}` }
  const of = seedsOf(rows) > 1 ? ', first seed' : ''
  const { training, validation } = await curvesOf(rows)
  return [
    barsOf(scores, rows),
    {
      title: `Training: cross entropy, averaged over 1/${POINTS} of each run${of}`,
      ...axes,
      logarithmic: true,
      curves: training,
    },
    { title: `Validation: cross entropy${of}`, ...axes, curves: validation },
  ]
}

/** What a row is called in a plot. */
const nameOf = ({ labels }: TableRow): string => labels.filter((label) => label !== '-').join(', ')

function barsOf(scores: PaperTable['scores'], rows: readonly TableRow[]): BarPlot {
  const [field, title] = SHOWN[scores].bar
  const seeds = seedsOf(rows)
  const bars = rows.map((row) => {
    const { fields } = row.models[0]!
    const { mean, deviation } = spreadOf(row, field)
    const spread = { low: mean - (deviation ?? 0), high: mean + (deviation ?? 0) }
    const { low, high } = seeds > 1 ? spread : { low: fields[`${field}Low`]!, high: fields[`${field}High`]! }
    return { name: nameOf(row), mean: 100 * mean, low: 100 * low, high: 100 * high }
  })
  const whiskers = seeds > 1 ? `mean and standard deviation of ${seeds} seeds` : 'with 95 % bootstrap intervals'
  return { title: `${title}, ${whiskers}`, xLabel: 'percent', bars }
}

/** Cross entropy on the data of training and of validation, by row. */
async function curvesOf(rows: readonly TableRow[]): Promise<{ training: Curve[]; validation: Curve[] }> {
  const curves = { training: [] as Curve[], validation: [] as Curve[] }
  for (const row of rows) {
    const { trained } = row.models[0]!
    if (!trained) continue
    const text = await readFile(join(trained.made, '..', 'metrics.jsonl'), 'utf8')
    const steps: [number, number][] = []
    const validations: [number, number][] = []
    for (const line of text.trim().split('\n')) {
      const { step, validation, ...parts } = JSON.parse(line) as Record<string, number> & {
        validation?: Record<string, number>
      }
      const { ce, loss } = validation ?? parts
      ;(validation ? validations : steps).push([step!, ce ?? loss!])
    }
    curves.training.push({ name: nameOf(row), points: averaged(steps) })
    curves.validation.push({ name: nameOf(row), points: validations })
  }
  return curves
}

/** Means of neighbouring points, at their last step. */
function averaged(points: readonly [number, number][]): [number, number][] {
  const size = Math.ceil(points.length / POINTS)
  return Array.from({ length: Math.ceil(points.length / size) }, (_, i) => {
    const group = points.slice(i * size, (i + 1) * size)
    return [group.at(-1)![0], group.reduce((sum, [, value]) => sum + value, 0) / group.length]
  })
}
