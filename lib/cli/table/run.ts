import { existsSync } from 'node:fs'
import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { DatasetError } from '../../errors.js'
import { writeFileAtomic } from '../../files.js'
import { fileDigest, modelDigest } from '../../models/digest.js'
import { parameterCount } from '../../models/families.js'
import { readFolderConfig } from '../../models/folder.js'
import type { Print } from '../command.js'
import { makeData } from '../data.js'
import { dataDigests } from '../dataFiles.js'
import { type CommandContext, deviceSetting, withDevice } from '../device.js'
import { type ExplainerScores, evaluate } from '../eval.js'
import { unlessInterrupted } from '../interrupt.js'
import { folder, runSettings } from '../settings.js'
import { type StageRow, stagesOf } from '../stages.js'
import { version } from '../version.js'
import { classifierFields } from './classifiers.js'
import { explainerFields } from './explainers.js'
import type { Grid, PaperTable } from './grid.js'
import { ofSeed } from './seeds.js'

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
  seeds: z.int().min(1).default(1).describe('how often every row is trained, each time with the next seed'),
  bootstrapSeed: z.int().default(0).describe('seed of the bootstrap intervals'),
  anyway: runSettings.shape.anyway,
  printEvery: z.int().min(1).default(20).describe('steps between two lines of progress'),
  device: deviceSetting,
})

/** A model of a row, scored. */
export interface ScoredModel {
  /** Its folder. */
  model: string
  /** SHA-256 of its config, weights and tokenizer. */
  digest: string
  parameters: number
  /** Numbers by the fields of the columns, and the intervals of some. */
  fields: Record<string, number>
  /** What an explainer wrote; classifiers write nothing. */
  generated?: ExplainerScores['generated']
  /** Null for a model that was not trained here. */
  trained: (StageRow & { seed: number }) | null
}

/** A row of a finished table. */
export interface TableRow {
  /** What stands in its first cells. */
  labels: readonly string[]
  /** One for each seed, the first seed's first; where nothing was trained, one. */
  models: readonly ScoredModel[]
}

/** A finished table. */
export interface FinishedTable {
  out: string
  rows: TableRow[]
  /** SHA-256 by file. */
  data: Record<string, string>
  /** Of training, of all its stages. */
  seconds: number
  device: string
}

type Settings = z.output<typeof tableSettings>

/** A grid of a seed. */
type SeededGrid = Grid & { seed: number }

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
  const { out = `runs/table-${table.number}`, anyway, printEvery, seeds } = settings
  const grid = table.grid(settings)
  const first = firstSeed(settings)
  const grids = Array.from({ length: seeds }, (_, i): SeededGrid => {
    const seed = first + i
    return { seed, ...(i === 0 ? grid : ofSeed(grid, seed)) }
  })
  return await withDevice(settings, context, async (device) => {
    const data = settings.data ?? (await generated(join(out, 'data'), settings, context.print))
    requireTest(data)
    const own = { ...context, device }
    const chain = { data, out, anyway, printEvery, stages: grids.flatMap(({ stages }) => stages) }
    const { end, stages } = await stagesOf(chain, own)
    if (end === 'interrupted') return null
    const score = (model: string) => scored(table.scores, { model, data, out }, settings, own)
    const rows = await unlessInterrupted(own.signal, () => scoredRows(grids, stages, score, own))
    if (!rows) {
      context.print('interrupted while rows were scored; the same command goes on')
      return null
    }
    const seconds = stages.reduce((sum, { result }) => sum + result.seconds, 0)
    return { out, rows, data: await dataDigests(data), seconds, device: device.name }
  })
}

/** Scores all models of all rows. @throws the signal's reason when it aborts */
async function scoredRows(
  grids: readonly SeededGrid[],
  stages: readonly StageRow[],
  score: (model: string) => Promise<Omit<ScoredModel, 'trained'>>,
  { print, signal }: CommandContext,
): Promise<TableRow[]> {
  const rows: TableRow[] = []
  const grid = grids[0]!
  print('')
  for (const [i, { labels }] of grid.rows.entries()) {
    const models: ScoredModel[] = []
    for (const { seed, rows } of grids) {
      signal?.throwIfAborted()
      const reference = rows[i]!.model
      const stage = stages.find(({ name }) => name === reference)
      if (!stage && models.length > 0) break // what is not trained is the same with every seed
      models.push({ ...(await score(stage?.made ?? reference)), trained: stage ? { ...stage, seed } : null })
    }
    rows.push({ labels, models })
    print(`scored ${rows.length} of ${grid.rows.length}: ${labels.join(', ')}`)
  }
  return rows
}

/** The seed that a table begins with, for its data as for its training. */
function firstSeed(settings: object): number {
  return (settings as { training?: { seed?: number } }).training?.seed ?? 1
}

async function generated(folder: string, settings: Settings, print: Print): Promise<string> {
  const { pairs } = settings
  print(`no data was named: ${pairs} generated pairs stand in for it`)
  await makeData({ out: folder, pairs, seed: firstSeed(settings) }, print)
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
interface ScoreFile extends Pick<ScoredModel, 'fields' | 'generated'> {
  inputs: Record<string, string | number>
}

/** Scores a model, unless that has been done. */
async function scored(
  scores: PaperTable['scores'],
  { model, data, out }: { model: string; data: string; out: string },
  settings: Settings,
  context: CommandContext,
): Promise<Omit<ScoredModel, 'trained'>> {
  const test = join(data, 'test.jsonl')
  const { maxTokens, bootstrapSeed: seed } = settings
  const limit = settings.scored ?? (scores === 'explanations' ? 60 : undefined)
  const digest = await modelDigest(model)
  const scoredModel = { model, digest, parameters: parameterCount(await readFolderConfig(model)) }
  const inputs = { version, digest, test: await fileDigest(test), scores, limit: limit ?? 'all', maxTokens, seed }
  const file = join(out, 'scores', `${digest.slice(0, 16)}.json`)
  const before: ScoreFile | null = await readFile(file, 'utf8').then(JSON.parse, () => null) // none, or torn: it is scored
  if (before && JSON.stringify(before.inputs) === JSON.stringify(inputs)) {
    const { fields, generated } = before
    return { ...scoredModel, fields, generated }
  }
  const role = scores === 'explanations' ? { model } : { classifier: model }
  const result = await evaluate({ ...role, data: test, limit, maxTokens, seed }, { ...context, print: () => {} })
  const fields = result.explainer ? explainerFields(result.explainer) : classifierFields(result.classifier!)
  const generated = result.explainer?.generated
  await mkdir(join(out, 'scores'), { recursive: true })
  await writeFileAtomic(file, `${JSON.stringify({ inputs, fields, generated } satisfies ScoreFile, null, 2)}\n`)
  return { ...scoredModel, fields, generated }
}
