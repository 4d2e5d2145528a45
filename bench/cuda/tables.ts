import { CARDS, type Card } from '../../lib/plan/cards.js'
import { type HeadBound, MMA_SYNC_SHARE, PUBLISHED, PUBLISHED_SIZES } from './headFormula.js'
import { misses, type Row } from './rows.js'

/** A table whose cells are ready to print; words are aligned left, numbers right. */
export interface Table {
  title: string
  head: readonly string[]
  /** How many columns of words come first, and whether the last one has words, too. */
  left: number
  wordsLast: boolean
  rows: readonly (readonly string[])[]
  notes: readonly string[]
}

const ARCHITECTURES = ['sm_80', 'sm_86', 'sm_89', 'sm_90', 'sm_100', 'sm_120']

const ratio = (value: number | null): string => (value === null ? '-' : value.toFixed(3))

/** One number where all architectures agree, else that of each. */
const each = (of: Record<string, number>, text: (value: number) => string): string => {
  const cells = ARCHITECTURES.filter((a) => a in of).map((a) => text(of[a]!))
  return new Set(cells).size === 1 ? cells[0]! : cells.join(' ')
}

function cells(row: Row): string[] {
  const { kernel, shape, counts, footprint, sectors, wavefronts, flops, spills, bounds } = row
  return [
    kernel,
    shape,
    ratio(footprint),
    ratio(counts.sectors === 0 ? null : sectors),
    ratio(counts.wavefronts === 0 ? null : wavefronts),
    ratio(flops),
    each(counts.registers, String),
    String(spills),
    each(counts.occupancy, (o) => String(Math.round(o * 100))),
    ...CARDS.map(({ name }) => `${(bounds[name]!.seconds * 1e6).toFixed(2)} ${bounds[name]!.resource}`),
    [...misses(row), ...(row.needs.except ? [`${row.needs.except.bound}: ${row.needs.except.because}`] : [])].join(
      '; ',
    ),
  ]
}

/** The kernels of a group. */
export const kernelTable = (title: string, rows: readonly Row[]): Table => ({
  title,
  head: [
    'kernel',
    'shape',
    'footprint',
    'sectors',
    'wavefronts',
    'FLOP',
    'registers',
    'spills',
    'occupancy %',
    ...CARDS.map(({ name }) => `${name}, us at least`),
    'beyond a bound',
  ],
  left: 2,
  wordsLast: true,
  rows: rows.map(cells),
  notes: [],
})

const ms = (seconds: number): string => (seconds * 1e3).toFixed(seconds < 1e-3 ? 3 : 1)

/** The distillation head at the published sizes. */
export function headTable({ steps, seconds }: HeadBound): Table {
  const { tokens, hidden, vocab } = PUBLISHED_SIZES
  const size = (n: number) => n.toLocaleString('en-US')
  return {
    title: `Distillation head at ${size(tokens)} tokens, hidden ${size(hidden)}, vocabulary ${size(vocab)}, by formula`,
    head: ['step', 'GB', 'TFLOP', ...CARDS.map(({ name }) => `${name}, ms at least`)],
    left: 1,
    wordsLast: false,
    rows: [
      ...steps.map(({ step, work, bounds }) => [
        step,
        (work.footprint / 1e9).toFixed(2),
        ((2 * work.multiplyAdds) / 1e12).toFixed(2),
        ...CARDS.map(({ name }) => `${ms(bounds[name]!.seconds)} ${bounds[name]!.resource}`),
      ]),
      [
        'all, one after another',
        (steps.reduce((n, s) => n + s.work.footprint, 0) / 1e9).toFixed(2),
        (steps.reduce((n, s) => n + 2 * s.work.multiplyAdds, 0) / 1e12).toFixed(2),
        ...CARDS.map(({ name }) => ms(seconds[name]!)),
      ],
    ],
    notes: [],
  }
}

/** How the formula stands to the machine's counts. */
export const checkTable = ({ checks }: HeadBound): Table => ({
  title: 'The formula against the machine: largest difference of any step, in percent',
  head: ['tokens', 'hidden', "teacher's", 'vocabulary', ...Object.keys(checks[0]!.differences)],
  left: 0,
  wordsLast: false,
  rows: checks.map(({ sizes, differences }) => [
    ...[sizes.tokens, sizes.hidden, sizes.teacherHidden, sizes.vocab].map(String),
    ...Object.values(differences).map((d) => (d * 100).toFixed(2)),
  ]),
  notes: [],
})

/** Bounds beside what others measured. */
export const publishedTable = ({ seconds, secondsWithMmaSync }: HeadBound): Table => ({
  title: 'Beside published figures for an H100 at the same sizes',
  head: ['what', 'ms', 'kind'],
  left: 1,
  wordsLast: true,
  rows: [
    ...PUBLISHED.map(([what, milliseconds]) => [what, String(milliseconds), 'published by others']),
    ['this head, lower bound', ms(seconds.H100!), 'computed from counts; never run on a GPU'],
    [
      `this head, lower bound with products at ${MMA_SYNC_SHARE * 100} % of peak, as measured for mma.sync`,
      ms(secondsWithMmaSync),
      'computed from counts; never run on a GPU',
    ],
  ],
  notes: [],
})

/** What the bounds are computed with. */
export const cardTable = (cards: readonly Card[]): Table => ({
  title: 'Cards',
  head: ['card', 'GB/s', 'bfloat16 TFLOP/s', 'float32 TFLOP/s', 'shared TB/s', 'multiprocessors', 'GHz', 'source'],
  left: 1,
  wordsLast: true,
  rows: cards.map((c) => [
    c.name,
    (c.bandwidth / 1e9).toFixed(0),
    (c.tensor / 1e12).toFixed(1),
    ((2 * c.float32 * c.multiprocessors * c.clock) / 1e12).toFixed(1),
    ((128 * c.multiprocessors * c.clock) / 1e12).toFixed(1),
    String(c.multiprocessors),
    (c.clock / 1e9).toFixed(2),
    c.source,
  ]),
  notes: [],
})

const isLeft = ({ left, wordsLast, head }: Table, column: number): boolean =>
  column < left || (wordsLast && column === head.length - 1)

/** As aligned text. */
export function text(table: Table): string {
  const lines = [table.head, ...table.rows]
  const widths = table.head.map((_, k) => Math.max(...lines.map((line) => line[k]!.length)))
  const aligned = lines.map((line) =>
    line
      .map((cell, k) => (isLeft(table, k) ? cell.padEnd(widths[k]!) : cell.padStart(widths[k]!)))
      .join('  ')
      .trimEnd(),
  )
  return [table.title, ...aligned, ...table.notes, ''].join('\n')
}

/** As Markdown. */
export function markdown(table: Table): string {
  const line = (of: readonly string[]) => `| ${of.join(' | ')} |`
  const rule = table.head.map((_, k) => (isLeft(table, k) ? '---' : '---:'))
  return [`**${table.title}**`, '', line(table.head), line(rule), ...table.rows.map(line), '', ...table.notes].join(
    '\n',
  )
}
