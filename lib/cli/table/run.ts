import { existsSync } from 'node:fs'
import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { DatasetError } from '../../errors.js'
import type { MeanInterval } from '../../eval/bootstrap.js'
import { writeFileAtomic } from '../../files.js'
import { fileDigest, modelDigest } from '../../models/digest.js'
import { parameterCount } from '../../models/families.js'
import { readFolderConfig } from '../../models/folder.js'
import type { Print } from '../command.js'
import { makeData } from '../data.js'
import { dataDigests } from '../dataFiles.js'
import { type CommandContext, deviceSetting, withDevice } from '../device.js'
import { evaluate } from '../eval.js'
import { folder, runSettings } from '../settings.js'
import { type StageRow, stagesOf } from '../stages.js'
import { version } from '../version.js'
import { classifierFields } from './classifiers.js'
import { explainerFields } from './explainers.js'
import type { GridRow, PaperTable } from './grid.js'

/** What every table is told, whatever it compares. */
export const tableSettings = z.object({
  data: folder('data, as lantern data writes it, test.jsonl included (default: generated)').optional(),
  pairs: z.int().min(60).default(2400).describe('pairs of post and profile to generate where there is no data'),
  out: folder('gets data, a run folder for every model, table.csv, report.html (default: runs/table-N)').optional(),
  scored: z
    .int()
    .min(1)
    .optional()
    .describe('held-out pairs that a row is scored on (default: 60 explained, all rated)'),
  maxTokens: z.int().min(1).default(256).describe('most tokens of an explanation'),
  bootstrapSeed: z.int().default(0).describe('seed of the bootstrap intervals'),
  anyway: runSettings.shape.anyway,
  printEvery: z.int().min(1).default(20).describe('steps between two lines of progress'),
  device: deviceSetting,
})

/** A row of a finished table. */
export interface TableRow extends GridRow {
  /** Numbers by the fields of the columns, and what they come from. */
  fields: Record<string, number>
  /** SHA-256 of the model's config, weights and tokenizer. */
  digest: string
  parameters: number
  /** Null for a model that was not trained here. */
  trained: StageRow | null
}

/** A finished table. */
export interface FinishedTable {
  out: string
  rows: TableRow[]
  /** SHA-256 by file. */
  data: Record<string, string>
  device: string
}

type Settings = z.output<typeof tableSettings>

/**
 * Trains what a table needs and scores its rows. What has been done with the same data, models and settings is kept.
 * @returns null when it was interrupted; the same call goes on
 * @throws LanternError for settings, data or models that do not fit, and for training that diverges
 */
export async function runTable<S extends z.ZodObject>(
  table: PaperTable<S>,
  settings: Settings & z.output<S>,
  context: CommandContext,
): Promise<FinishedTable | null> {
  const { out = `runs/table-${table.number}`, anyway, printEvery } = settings
  const data = settings.data ?? (await generated(join(out, 'data'), settings, context.print))
  requireTest(data)
  const grid = table.grid(settings)
  return await withDevice(settings, context, async (device) => {
    const own = { ...context, device }
    const { end, stages } = await stagesOf({ data, out, anyway, printEvery, stages: grid.stages }, own)
    if (end === 'interrupted') return null
    const rows: TableRow[] = []
    for (const row of grid.rows) {
      if (context.signal?.aborted) return null
      const trained = stages.find(({ name }) => name === row.model) ?? null
      const model = trained?.made ?? row.model
      const digest = await modelDigest(model)
      const fields = await scored(table.scores, { model, digest, data, out }, settings, own)
      const parameters = parameterCount(await readFolderConfig(model))
      rows.push({ ...row, model, fields, digest, parameters, trained })
      context.print(`scored ${rows.length} of ${grid.rows.length}: ${row.labels.join(', ')}`)
    }
    return { out, rows, data: await dataDigests(data), device: device.name }
  })
}

async function generated(folder: string, { pairs, training }: Settings & { training?: unknown }, print: Print) {
  const { seed = 1 } = (training ?? {}) as { seed?: number }
  print(`no data was named: ${pairs} generated pairs stand in for it`)
  await makeData({ out: folder, pairs, seed }, print)
  return folder
}

/** @throws DatasetError when there is nothing to score on; better now than after hours of training */
function requireTest(data: string): void {
  if (existsSync(join(data, 'test.jsonl'))) return
  throw new DatasetError(
    join(data, 'test.jsonl'),
    0,
    'is not there, and a table is scored on it; lantern data writes one',
  )
}

/** A score that was taken before, of what. */
interface ScoreFile {
  inputs: Record<string, string | number>
  fields: Record<string, number>
}

/** Scores a model, unless that has been done. */
async function scored(
  scores: PaperTable['scores'],
  { model, digest, data, out }: { model: string; digest: string; data: string; out: string },
  settings: Settings,
  context: CommandContext,
): Promise<Record<string, number>> {
  const test = join(data, 'test.jsonl')
  const { maxTokens, bootstrapSeed: seed } = settings
  const limit = settings.scored ?? (scores === 'explanations' ? 60 : undefined)
  const inputs = { version, digest, test: await fileDigest(test), scores, limit: limit ?? 'all', maxTokens, seed }
  const file = join(out, 'scores', `${digest.slice(0, 16)}.json`)
  const before = await readFile(file, 'utf8').then(JSON.parse, () => null) // none, or torn: it is scored
  if (JSON.stringify((before as ScoreFile | null)?.inputs) === JSON.stringify(inputs))
    return (before as ScoreFile).fields
  const role = scores === 'explanations' ? { model } : { classifier: model }
  const result = await evaluate({ ...role, data: test, limit, maxTokens, seed }, { ...context, print: () => {} })
  const fields = result.explainer ? explainerFields(result.explainer) : classifierFields(result.classifier!)
  await mkdir(join(out, 'scores'), { recursive: true })
  await writeFileAtomic(file, `${JSON.stringify({ inputs, fields } satisfies ScoreFile, null, 2)}\n`)
  return fields
}

/** A number of a row with its interval, where the row has one: `name`, `nameLow`, `nameHigh`. */
export const intervalOf = ({ fields }: TableRow, name: string): MeanInterval => ({
  mean: fields[name]!,
  low: fields[`${name}Low`] ?? fields[name]!,
  high: fields[`${name}High`] ?? fields[name]!,
})
