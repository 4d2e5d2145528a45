import { html } from './html.js'
import { type Plot, renderPlot } from './plot.js'

/** A table of the report. */
export interface Table {
  title: string
  /** How many of the columns, from the first, hold names and are aligned at the left; default 1. */
  names?: number
  columns: readonly string[]
  rows: readonly (readonly string[])[]
  note?: string
}

/** A text shown as it is, with what it is above it. */
export interface Excerpt {
  title: string
  text: string
}

/** Everything the report shows, in this order. */
export interface Report {
  title: string
  lead: string
  tables: readonly Table[]
  plots: readonly Plot[]
  excerpts: readonly Excerpt[]
  /** How it was made: command, seed, machine. */
  madeWith: Readonly<Record<string, string | number>>
}

/** One self-contained HTML file: plots are drawn as SVG by ECharts, nothing is loaded from elsewhere. */
export async function renderReport(report: Report): Promise<string> {
  const figures = await Promise.all(report.plots.map(renderPlot))
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${html(report.title)}</title>
<style>
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5d6878; --line: #dde2ea; --page: #fff; --card: #f6f8fb }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaf0; --soft: #9aa5b5; --line: #2e3846; --page: #12171f; --card: #1a212c } }
body { font: 16px/1.55 system-ui, sans-serif; color: var(--ink); background: var(--page); max-width: 1180px; margin: 2.5rem auto; padding: 0 1.25rem }
h1 { font-size: 1.7rem; margin: 0 0 .3rem } h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem }
p { color: var(--soft); margin: .3rem 0; max-width: 62rem } .scroll { overflow-x: auto }
table { border-collapse: collapse; width: 100%; font-size: .94rem; font-variant-numeric: tabular-nums }
th, td { padding: .42rem .6rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap } .name { text-align: left }
th { color: var(--soft); font-weight: 600; white-space: normal; vertical-align: bottom } th span { white-space: nowrap }
figure { margin: 0; border: 1px solid var(--line); border-radius: 8px; padding: .5rem } figure svg { width: 100%; min-width: 640px; height: auto; display: block }
figcaption { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; padding: .3rem .6rem; font-size: .85rem } figcaption i { display: inline-block; width: 1.6rem; margin-right: .4rem; vertical-align: .25em }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .9rem 1.1rem; white-space: pre-wrap; overflow-wrap: anywhere; font: 14px/1.5 ui-monospace, monospace }
</style>
<h1>${html(report.title)}</h1>
<p>${html(report.lead)}</p>
${report.tables.map(renderTable).join('\n')}
${report.plots.map((p, i) => `<h2>${html(p.title)}</h2>\n<figure>${figures[i]}</figure>`).join('\n')}
${report.excerpts.map((e) => `<h2>${html(e.title)}</h2>\n<pre>${html(e.text)}</pre>`).join('\n')}
<h2>How this was made</h2>
<pre>${Object.entries(report.madeWith)
    .map(([key, value]) => html(`${key}: ${value}`))
    .join('\n')}</pre>
</html>
`
}

function renderTable({ title, names = 1, columns, rows, note }: Table): string {
  const cells = (tag: string, values: readonly string[], inside = html) =>
    values.map((v, i) => `<${tag}${i < names ? ' class="name"' : ''}>${inside(v)}</${tag}>`).join('')
  return `<h2>${html(title)}</h2>
<div class="scroll"><table><tr>${cells('th', columns, words)}</tr>
${rows.map((r) => `<tr>${cells('td', r)}</tr>`).join('\n')}</table></div>${note ? `\n<p>${html(note)}</p>` : ''}`
}

/** Text that is broken between its words, and not at hyphens. */
const words = (text: string): string =>
  text
    .split(' ')
    .map((word) => `<span>${html(word)}</span>`)
    .join(' ')

/** A table in plain text, columns aligned. */
export function textTable({ names = 1, columns, rows }: Omit<Table, 'title'>): string {
  const widths = columns.map((c, i) => Math.max(c.length, ...rows.map((r) => r[i]!.length)))
  const line = (cells: readonly string[]) =>
    cells.map((c, i) => (i < names ? c.padEnd(widths[i]!) : c.padStart(widths[i]!))).join('  ')
  return [line(columns), widths.map((w) => '─'.repeat(w)).join('──'), ...rows.map(line)].join('\n')
}
