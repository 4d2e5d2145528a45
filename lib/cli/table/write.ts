import { join } from 'node:path'
import { type Report, renderReport } from '../../eval/report.js'
import { writeFileAtomic } from '../../files.js'
import { version } from '../version.js'
import { csvOf } from './csv.js'
import type { PaperTable } from './grid.js'
import { layoutOf, plotsOf } from './report.js'
import type { FinishedTable } from './run.js'

/** Which command made a table, with which settings, and what its report shows besides. */
export interface Making extends Partial<Pick<Report, 'title' | 'tables' | 'excerpts'>> {
  command: string
  /** What was trained, as the report begins; default: so many rows. */
  what?: string
  settings: Readonly<Record<string, unknown>>
}

/** Writes table.csv, report.html and made-with.json into the folder of a table. @returns their paths */
export async function writeTable(table: PaperTable, finished: FinishedTable, making: Making): Promise<string[]> {
  const { out, data, device, rows, seconds } = finished
  const { command, settings, what = `${rows.length} rows`, tables = [], excerpts = [] } = making
  const { title = `LANTERN, table ${table.number}` } = making
  const madeWith = {
    command,
    version,
    date: new Date().toISOString(),
    ...flat(settings),
    device, // the one it was, where settings may say auto
    ...Object.fromEntries(Object.entries(data).map(([name, digest]) => [`SHA-256 of ${name}`, digest])),
  }
  const report = {
    title,
    lead: `${what}, trained in ${(seconds / 60).toFixed(1)} minutes on ${device}, ${madeWith.date.slice(0, 10)}`,
    tables: [layoutOf(table, rows), ...tables],
    plots: await plotsOf(table, rows),
    excerpts,
    madeWith,
  }
  const files = {
    'table.csv': csvOf(table, finished),
    'report.html': await renderReport(report),
    'made-with.json': `${JSON.stringify(madeWith, null, 2)}\n`,
  }
  for (const [name, content] of Object.entries(files)) await writeFileAtomic(join(out, name), content)
  return Object.keys(files).map((name) => join(out, name))
}

/** Settings as one list of words and numbers. */
function flat(settings: Readonly<Record<string, unknown>>): Record<string, string | number> {
  const entries = Object.entries(settings).flatMap(([key, value]): [string, string | number][] => {
    if (value === undefined) return []
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return Object.entries(flat({ ...value }))
    return [[key, typeof value === 'number' ? value : String(value)]]
  })
  return Object.fromEntries(entries)
}
