import type { Timing } from './measure.js'

/** Units of figures; whether more is better is said by the row. */
export type Unit = 'GFLOP/s' | 'GB/s' | 'tokens/s' | 's' | 'ms' | 'us' | 'MiB'

/** Whom we are compared with, in the order of their columns. */
const RIVALS = ['PyTorch', 'llama.cpp', 'ONNX Runtime'] as const

export type Rival = (typeof RIVALS)[number]

/** Something of each rival that takes part. */
export type OfRivals<T> = Partial<Record<Rival, T>>

/** What a row is held to. It is said in the table where it is missed. */
export interface Goal {
  /** Ours at least so many times as good as a rival. */
  ratio?: OfRivals<number>
  /** At least this part of the ceiling. */
  share?: number
  /** At most so much, in the row's unit. */
  atMost?: number
}

/** One line of a table. */
export interface Row {
  case: string
  unit: Unit
  better: 'higher' | 'lower'
  ours: number
  /** Without the rivals that do not do the same, or did not run. */
  theirs: OfRivals<number>
  /** Part of the ceiling that ours reaches; null where none applies or it was not measured. */
  share: number | null
  goal: Goal
  /** Seconds an operation, where the figures come from times. */
  timing?: { ours: Timing; theirs: OfRivals<Timing> }
  /** Shown in the README. */
  headline: boolean
}

/** What a bench found. */
export interface Table {
  name: string
  title: string
  /** What `share` is a share of. */
  ceiling: string
  rows: Row[]
  /** What a reader must know to judge the figures. */
  notes: string[]
}

/** A row of a figure that is no time. */
export function plainRow(
  name: string,
  unit: Unit,
  values: { ours: number; theirs?: OfRivals<number>; goal?: Goal; headline?: boolean },
): Row {
  const { ours, theirs = {}, goal = {}, headline = false } = values
  return { case: name, unit, better: 'lower', ours, theirs, share: null, goal, headline }
}

/** Differences below this are the noise between repeats. */
const EVEN = 0.03

/** How many times as good as a rival; null without that one. */
export function ratio({ ours, theirs, better }: Row, rival: Rival): number | null {
  const figure = theirs[rival]
  if (figure === undefined) return null
  return better === 'higher' ? ours / figure : figure / ours
}

/** Where a row loses: to whom, or against which goal. Empty where it does not. */
export function losses(row: Row): string {
  const out: string[] = []
  const { goal, share } = row
  for (const rival of RIVALS) {
    const r = ratio(row, rival)
    if (r === null) continue
    if (r < 1 - EVEN) out.push(`behind ${rival}`)
    const wanted = goal.ratio?.[rival]
    if (wanted !== undefined && r < wanted) out.push(`goal ${wanted}x ${rival}`)
  }
  if (share !== null && goal.share !== undefined && share < goal.share) out.push(`goal ${percent(goal.share)}`)
  if (goal.atMost !== undefined && row.ours > goal.atMost) out.push(`goal ${number(goal.atMost)} ${row.unit}`)
  return out.join(', ')
}

/** A figure in three digits, or whole where it is large. */
export function number(value: number): string {
  if (value >= 100) return Math.round(value).toLocaleString('en-US')
  return value >= 10 ? value.toFixed(1) : value.toFixed(value >= 1 || value === 0 ? 2 : 3)
}

const percent = (part: number): string => `${Math.round(part * 100)} %`

/** The rivals that some row of a table has a figure of. */
const present = (table: Table): Rival[] =>
  RIVALS.filter((rival) => table.rows.some((row) => row.theirs[rival] !== undefined))

/** The names of the columns: each rival's figure is followed by our ratio to it. */
const head = (rivals: readonly Rival[]): string[] => [
  'case',
  'unit',
  'ours',
  ...rivals.flatMap((rival) => [rival, 'ratio']),
  'share',
  'where we lose',
]

function cells(row: Row, rivals: readonly Rival[]): string[] {
  return [
    row.case,
    row.unit,
    number(row.ours),
    ...rivals.flatMap((rival) => {
      const r = ratio(row, rival)
      return r === null ? ['-', '-'] : [number(row.theirs[rival]!), `${r.toFixed(2)}x`]
    }),
    row.share === null ? '-' : percent(row.share),
    losses(row),
  ]
}

/** The columns of words are aligned to the left. */
const isLeft = (column: number, columns: number): boolean => column < 2 || column === columns - 1

/** The table as aligned text. */
export function text(table: Table): string {
  const rivals = present(table)
  const columns = head(rivals)
  const lines = [columns, ...table.rows.map((row) => cells(row, rivals))]
  const widths = columns.map((_, k) => Math.max(...lines.map((line) => line[k]!.length)))
  const aligned = lines.map((line) =>
    line
      .map((cell, k) => (isLeft(k, columns.length) ? cell.padEnd(widths[k]!) : cell.padStart(widths[k]!)))
      .join('  ')
      .trimEnd(),
  )
  const rule = '-'.repeat(Math.max(...aligned.map((line) => line.length)))
  const share = table.rows.some((row) => row.share !== null) ? [`share: of ${table.ceiling}`] : []
  return [table.title, rule, aligned[0], rule, ...aligned.slice(1), ...share, ...table.notes, ''].join('\n')
}

/** The headline rows as Markdown, and those that lose, whether headline or not. */
export function markdown(table: Table): string {
  const rows = table.rows.filter((row) => row.headline || losses(row) !== '')
  if (rows.length === 0) return ''
  const rivals = present(table)
  const columns = head(rivals)
  const line = (of: string[]) => `| ${of.join(' | ')} |`
  const rule = columns.map((_, k) => (isLeft(k, columns.length) ? '---' : '---:'))
  const share = rows.some((row) => row.share !== null) ? [`Share of ${table.ceiling}.`] : []
  const notes = [...share, ...table.notes].join(' ')
  const lines = [columns, rule, ...rows.map((row) => cells(row, rivals))].map(line)
  return [`**${table.title}**`, '', ...lines, '', ...(notes ? [notes, ''] : [])].join('\n')
}
