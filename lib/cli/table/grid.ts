import { basename } from 'node:path'
import type { z } from 'zod'
import type { ChainSettings } from '../chain.js'
import { packageFile } from '../packageFile.js'

/** A stage that trains a model. */
export type TrainingStage = Exclude<ChainSettings['stages'][number], { kind: 'signal' }>

/** A row of a table before it is scored: what stands in its first cells, and the model that is scored. */
export interface GridRow {
  labels: readonly string[]
  /** Name of a stage of the grid, or a model folder. */
  model: string
}

/** A table before it is run: what is trained for it, and its rows. */
export interface Grid {
  stages: TrainingStage[]
  rows: GridRow[]
}

/** A number of a row: its name in the CSV file, its column in the printed table, and how it is written there. */
export interface Column {
  field: string
  title: string
  text(value: number): string
}

/** A table of the paper. */
export interface PaperTable<S extends z.ZodObject = z.ZodObject> {
  /** As the paper counts them: the name of its command, `lantern table 1`. */
  number: 1 | 2 | 3 | 4
  title: string
  description: string
  /** Besides the settings that all tables have. */
  schema: S
  /** Titles of the labels of a row. */
  labels: readonly string[]
  scores: 'explanations' | 'ratings'
  grid(settings: z.output<S>): Grid
}

/** The base models that come with the package, from large to small. */
export const OURS = {
  teacher: packageFile('assets/teacher'),
  student: packageFile('assets/student'),
  mini: packageFile('assets/mini'),
} as const

/** Training that suits our base models, by what is trained: minutes for a whole table. */
export const SMALL = {
  teacher: { steps: 240, learningRate: 1.5e-3, evalEvery: 60 },
  student: { steps: 120, learningRate: 2e-3, evalEvery: 30 },
  /** Where stages are compared: a divergence teaches the smallest model more slowly than the data do, so few steps would compare speeds. */
  staged: { steps: 480, learningRate: 2e-3, evalEvery: 120 },
  classifier: { steps: 200, learningRate: 1e-3, evalEvery: 50 },
  /** The head alone. */
  head: { steps: 200, learningRate: 5e-3, evalEvery: 50 },
} as const

/**
 * The training of a stage: what was asked for, over what suits the package's own models, over the defaults of `lantern train`.
 * @param from model that the stage starts from
 */
export function trainingOf(role: keyof typeof SMALL, from: string, asked: Readonly<Record<string, unknown>>) {
  const ours = Object.values(OURS).includes(from)
  return { checkpointEvery: ours ? 0 : undefined, ...(ours && SMALL[role]), ...asked }
}

/** Names for model folders, as stages and rows have them: the last part of the path, counted where two are alike. */
export function namesOf(folders: readonly string[]): string[] {
  const seen = new Map<string, number>()
  return folders.map((path) => {
    const name =
      basename(path)
        .replace(/[^\w.-]/g, '-')
        .replace(/^\W/, '_') || 'model'
    const count = (seen.get(name) ?? 0) + 1
    seen.set(name, count)
    return count === 1 ? name : `${name}-${count}`
  })
}
