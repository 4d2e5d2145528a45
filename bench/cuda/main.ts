import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { CARDS } from '../../lib/plan/cards.js'
import { Device } from '../../lib/tensor/device.js'
import { rewriteBlock } from '../support/report.js'
import { root } from '../support/root.js'
import { type HeadBound, headBound } from './headFormula.js'
import { Machine } from './machine.js'
import { count, GROUPS, misses, type Row } from './rows.js'
import { cardTable, checkTable, headTable, kernelTable, markdown, publishedTable, type Table, text } from './tables.js'

const TITLES: Record<string, string> = {
  elementwise: 'Element-wise kernels and the optimiser',
  rowwise: 'Row-wise kernels',
  products: 'Matrix products',
  attention: 'Attention',
  head: 'The distillation head',
}

const HELP = `npm run bench:cuda -- [names] [options]

Counts what the CUDA kernels do, on the PTX machine: exact, and no measurement of a GPU.

${Object.entries(TITLES)
  .map(([name, title]) => `  ${name.padEnd(12)} ${title}`)
  .join('\n')}
  published    the distillation head at published sizes, by formula

  --json FILE     write all figures
  --docs          rewrite the figures in docs/kernels.md
`

const LEGEND = `footprint, sectors, wavefronts, FLOP: over the fewest that the formula, or the accesses, could do with
registers, occupancy: of sm_80, 86, 89, 90, 100 and 120 in this order; one number where all agree
at least: a lower bound from these counts and the makers' peak rates, and what sets it; no measurement of a GPU
docs/kernels.md says more.
`

const NAMES = [...Object.keys(GROUPS), 'published']

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      json: { type: 'string' },
      docs: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) return void process.stdout.write(HELP)
  const unknown = positionals.find((name) => !NAMES.includes(name))
  if (unknown) fail(`there is no bench '${unknown}'; use ${NAMES.join(', ')}`)
  if (values.docs && positionals.length > 0) fail('--docs needs all figures; name none')
  if (Device.describe().cuda.toolkit === 0) fail('the addon holds no CUDA kernels; build it where nvcc is')

  const wanted = (name: string) => positionals.length === 0 || positionals.includes(name)
  const machine = new Machine()
  const tables: Table[] = []
  const show = (table: Table) => {
    tables.push(table)
    console.log(text(table))
  }
  const rows: Row[] = []
  let head: HeadBound | null = null
  try {
    for (const [name, cases] of Object.entries(GROUPS)) {
      if (!wanted(name)) continue
      const group: Row[] = []
      for (const c of cases) group.push(...(await count(machine, c)))
      show(kernelTable(TITLES[name]!, group))
      rows.push(...group)
    }
    if (wanted('published')) {
      head = await headBound(machine)
      for (const table of [headTable(head), publishedTable(head), checkTable(head)]) show(table)
    }
  } finally {
    await machine.close()
  }
  show(cardTable(CARDS))
  console.log(LEGEND)
  if (values.json)
    writeFileSync(values.json, `${JSON.stringify({ cards: CARDS, rows, head, stacks: machine.stacks() }, null, 2)}\n`)
  if (values.docs) rewriteBlock(join(root, 'docs', 'kernels.md'), tables.map(markdown).join('\n').trimEnd())
  const missed = rows.flatMap((row) => misses(row).map((miss) => `${row.kernel}, ${row.shape}: ${miss}`))
  if (rows.length > 0)
    console.log(missed.length === 0 ? `All ${rows.length} rows hold their bounds.` : missed.join('\n'))
  if (missed.length > 0) process.exitCode = 1
}

function fail(message: string): never {
  console.error(message)
  process.exit(2)
}

await main()
