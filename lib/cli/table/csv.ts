import { version } from '../version.js'
import type { PaperTable } from './grid.js'
import { columnsOf } from './report.js'
import type { FinishedTable, ScoredModel } from './run.js'
import { spreadOf } from './seeds.js'

/**
 * A table as RFC 4180 has it. A line a model: every number as it is, and what it comes from, which is the model and its hash, its training, the
 * hashes of the data and the version. Rows of several seeds have two lines more, `mean` and `deviation` in place of the seed.
 */
export function csvOf(table: PaperTable, { rows, data }: FinishedTable): string {
  const fields = Object.keys(rows[0]!.models[0]!.fields)
  const origin = ['modelFolder', 'modelSha256', 'steps', 'bestValidationLoss', 'trainingSeconds']
  const hashes = Object.keys(data).map((name) => `${name} SHA-256`)
  const shown = new Set(columnsOf(table).map(({ field }) => field))
  const lines = rows.flatMap((row) => {
    const { labels, models } = row
    const statistic = (name: 'mean' | 'deviation') => {
      const values = fields.map((field) => (shown.has(field) ? spreadOf(row, field)[name] : ''))
      return [
        ...labels,
        name,
        models[0]!.parameters,
        ...values,
        ...origin.map(() => ''),
        ...Object.values(data),
        version,
      ]
    }
    const each = models.map((model) => [...labels, ...cellsOf(model, fields), ...Object.values(data), version])
    return models.length > 1 ? [...each, statistic('mean'), statistic('deviation')] : each
  })
  const head = [...table.labels, 'seed', 'parameters', ...fields, ...origin, ...hashes, 'version']
  return [head, ...lines].map((line) => `${line.map(cell).join(',')}\r\n`).join('')
}

function cellsOf({ model, digest, parameters, fields: values, trained }: ScoredModel, fields: readonly string[]) {
  const { steps, bestLoss, seconds } = trained?.result ?? {}
  return [trained?.seed, parameters, ...fields.map((field) => values[field]), model, digest, steps, bestLoss, seconds]
}

function cell(value: unknown): string {
  const text = String(value ?? '')
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}
