import type { Timing } from './measure.js'

/** Units of figures; whether more is better is said by the row. */
export type Unit = 'GFLOP/s' | 'GB/s' | 'tokens/s' | 's' | 'ms' | 'us' | 'MiB'

/** What a row is held to. It is said in the table where it is missed. */
export interface Goal {
  /** Ours at least so many times as good as the peer. */
  ratio?: number
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
  /** Null: no peer, or none that does the same. */
  theirs: number | null
  /** Part of the ceiling that ours reaches; null where none applies or it was not measured. */
  share: number | null
  goal: Goal
  /** Seconds an operation, where the figures come from times. */
  timing?: { ours: Timing; theirs: Timing | null }
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
  values: { ours: number; theirs?: number | null; goal?: Goal; headline?: boolean },
): Row {
  const { ours, theirs = null, goal = {}, headline = false } = values
  return { case: name, unit, better: 'lower', ours, theirs, share: null, goal, headline }
}

/** Differences below this are the noise between repeats. */
const EVEN = 0.03

/** How many times as good as the peer; null without one. */
export function ratio({ ours, theirs, better }: Row): number | null {
  if (theirs === null) return null
  return better === 'higher' ? ours / theirs : theirs / ours
}

/** Where a row loses: to the peer, or against its goal. Empty where it does not. */
export function losses(row: Row): string {
  const out: string[] = []
  const r = ratio(row)
  if (r !== null && r < 1 - EVEN) out.push('behind PyTorch')
  const { goal, share } = row
  if (r !== null && goal.ratio !== undefined && r < goal.ratio) out.push(`goal ${goal.ratio}x`)
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

const HEAD = ['case', 'unit', 'ours', 'PyTorch', 'ratio', 'share', 'where we lose']

function cells(row: Row): string[] {
  const r = ratio(row)
  return [
    row.case,
    row.unit,
    number(row.ours),
    row.theirs === null ? '-' : number(row.theirs),
    r === null ? '-' : `${r.toFixed(2)}x`,
    row.share === null ? '-' : percent(row.share),
    losses(row),
  ]
}

/** The table as aligned text. */
export function text(table: Table): string {
  const lines = [HEAD, ...table.rows.map(cells)]
  const widths = HEAD.map((_, k) => Math.max(...lines.map((line) => line[k]!.length)))
  const left = (k: number) => k < 2 || k === HEAD.length - 1
  const aligned = lines.map((line) =>
    line
      .map((cell, k) => (left(k) ? cell.padEnd(widths[k]!) : cell.padStart(widths[k]!)))
      .join('  ')
      .trimEnd(),
  )
  const rule = '-'.repeat(Math.max(...aligned.map((line) => line.length)))
  const share = table.rows.some((row) => row.share !== null) ? [`share: of ${table.ceiling}`] : []
  return [table.title, rule, aligned[0], rule, ...aligned.slice(1), ...share, ...table.notes, ''].join('\n')
}

/** The headline rows as Markdown, and those that lose, whether headline or not. */
export function markdown(table: Table): string {
  const rows = table.rows.filter((row) => row.headline || losses(row) !== '').map(cells)
  if (rows.length === 0) return ''
  const line = (of: string[]) => `| ${of.join(' | ')} |`
  const rule = HEAD.map((_, k) => (k < 2 || k === HEAD.length - 1 ? '---' : '---:'))
  const share = rows.some((row) => row[5] !== '-') ? [`Share of ${table.ceiling}.`] : []
  const notes = [...share, ...table.notes].join(' ')
  return [`**${table.title}**`, '', line(HEAD), line(rule), ...rows.map(line), '', ...(notes ? [notes, ''] : [])].join(
    '\n',
  )
}
