import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { BarPlot, Curve } from '../../eval/plot.js'
import { renderReport, type Table } from '../../eval/report.js'
import { writeFileAtomic } from '../../files.js'
import { version } from '../version.js'
import { CLASSIFIER_COLUMNS, CLASSIFIER_NOTE } from './classifiers.js'
import { EXPLAINER_COLUMNS, EXPLAINER_NOTE } from './explainers.js'
import type { PaperTable } from './grid.js'
import { type FinishedTable, intervalOf, type TableRow } from './run.js'

const millions = (parameters: number): string => `${(parameters / 1e6).toPrecision(3)} M`

/** What the scores of a table are shown by: their columns, how to read them, and the one that is drawn. */
const SHOWN = {
  explanations: { columns: EXPLAINER_COLUMNS, note: EXPLAINER_NOTE, bar: ['rougeL', 'ROUGE-L'] },
  ratings: { columns: CLASSIFIER_COLUMNS, note: CLASSIFIER_NOTE, bar: ['weightedF1', 'weighted F1'] },
} as const

/** The table in the paper's layout. */
export function layoutOf({ title, number, labels, scores }: PaperTable, rows: readonly TableRow[]): Table {
  const { columns, note } = SHOWN[scores]
  return {
    title: `Table ${number}: ${title}`,
    names: labels.length,
    columns: [...labels, 'parameters', ...columns.map((column) => column.title)],
    rows: rows.map(({ labels, parameters, fields }) => [
      ...labels,
      millions(parameters),
      ...columns.map(({ field, text }) => text(fields[field]!)),
    ]),
    note,
  }
}

/** Settings, flat, as the provenance of a table tells them. */
export type Provenance = Readonly<Record<string, string | number>>

/** Writes table.csv, report.html and made-with.json into the folder of a table. */
export async function writeTable(
  table: PaperTable,
  finished: FinishedTable,
  provenance: Provenance,
): Promise<string[]> {
  const { out, data, device, rows } = finished
  const madeWith = {
    command: `lantern table ${table.number}`,
    version,
    date: new Date().toISOString(),
    device,
    ...provenance,
    ...Object.fromEntries(Object.entries(data).map(([name, digest]) => [`SHA-256 of ${name}`, digest])),
  }
  const files = {
    'table.csv': csvOf(table, finished),
    'report.html': await renderReport({
      title: `LANTERN, table ${table.number}`,
      lead: `${rows.length} rows on ${device}, ${madeWith.date.slice(0, 10)}`,
      tables: [layoutOf(table, rows)],
      plots: [
        barsOf(table, rows),
        {
          title: 'Validation',
          xLabel: 'optimiser step',
          yLabel: table.scores === 'explanations' ? 'cross entropy, nats a token' : 'cross entropy, nats a pair',
          curves: await curvesOf(rows),
        },
      ],
      excerpts: [],
      madeWith,
    }),
    'made-with.json': `${JSON.stringify(madeWith, null, 2)}\n`,
  }
  for (const [name, content] of Object.entries(files)) await writeFileAtomic(join(out, name), content)
  return Object.keys(files).map((name) => join(out, name))
}

/** RFC 4180: every number as it is, and what it comes from: the model and its hash, the hashes of the data, training, version. */
function csvOf({ labels }: PaperTable, { rows, data }: FinishedTable): string {
  const fields = Object.keys(rows[0]!.fields)
  const origin = ['modelFolder', 'modelSha256', 'steps', 'bestValidationLoss', 'trainingSeconds']
  const head = [
    ...labels,
    'parameters',
    ...fields,
    ...origin,
    ...Object.keys(data).map((n) => `${n} SHA-256`),
    'version',
  ]
  const lines = rows.map((row) => {
    const { steps, bestLoss, seconds } = row.trained?.result ?? {}
    return [
      ...row.labels,
      row.parameters,
      ...fields.map((field) => row.fields[field]),
      row.model,
      row.digest,
      steps,
      bestLoss,
      seconds,
      ...Object.values(data),
      version,
    ]
  })
  const cell = (value: unknown) => {
    const text = String(value ?? '')
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
  }
  return [head, ...lines].map((line) => `${line.map(cell).join(',')}\r\n`).join('')
}

function barsOf({ scores }: PaperTable, rows: readonly TableRow[]): BarPlot {
  const [field, title] = SHOWN[scores].bar
  const bars = rows.map((row) => {
    const { mean, low, high } = intervalOf(row, field)
    const name = row.labels.filter((label) => label !== '-').join(', ')
    return { name, mean: 100 * mean, low: 100 * low, high: 100 * high }
  })
  return { title: `${title}, with 95 % bootstrap intervals`, xLabel: 'percent', bars }
}

/** Cross entropy on the validation data, by run. */
async function curvesOf(rows: readonly TableRow[]): Promise<Curve[]> {
  const curves: Curve[] = []
  for (const { trained, labels } of rows) {
    if (!trained) continue
    const lines = (await readFile(join(trained.made, '..', 'metrics.jsonl'), 'utf8')).trim().split('\n')
    const points = lines.flatMap((line): [number, number][] => {
      const { step, validation } = JSON.parse(line) as { step: number; validation?: Record<string, number> }
      return validation ? [[step, validation.ce ?? validation.loss!]] : []
    })
    curves.push({ name: labels.filter((label) => label !== '-').join(', '), points })
  }
  return curves
}
