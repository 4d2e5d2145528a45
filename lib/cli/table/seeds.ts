import type { Grid } from './grid.js'
import type { TableRow } from './run.js'

/** A grid once more from another seed: its stages under names of their own and made from each other; what is not trained stays. */
export function ofSeed({ stages, rows }: Grid, seed: number): Grid {
  const names = new Set(stages.map(({ name }) => name))
  const renamed = (reference: string) => (names.has(reference) ? `${reference}-seed-${seed}` : reference)
  return {
    stages: stages.map((stage) => ({
      ...stage,
      name: renamed(stage.name),
      from: renamed(stage.from),
      ...('teacher' in stage && stage.teacher !== undefined && { teacher: renamed(stage.teacher) }),
      training: { ...stage.training, seed },
    })),
    rows: rows.map((row) => ({ ...row, model: renamed(row.model) })),
  }
}

/** A number of a row over its seeds. */
export interface Spread {
  mean: number
  /** Sample standard deviation, of n - 1; null for a row of one model. */
  deviation: number | null
}

/** What the models of a row have in common of a number. */
export function spreadOf({ models }: TableRow, field: string): Spread {
  const values = models.map(({ fields }) => fields[field]!)
  const mean = values.reduce((a, b) => a + b, 0) / values.length
  if (values.length === 1) return { mean, deviation: null }
  return { mean, deviation: Math.sqrt(values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / (values.length - 1)) }
}
