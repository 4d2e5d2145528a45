import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { cpus, platform, release, totalmem } from 'node:os'
import { join } from 'node:path'
import { Device } from '../../lib/tensor/device.js'
import type { Sides } from './bench.js'
import type { Ceiling } from './ceilings.js'
import { NODE_RIVALS, type NodeRival } from './nodePeers.js'
import { root } from './root.js'
import { losses, markdown, number, type Table } from './table.js'

/** Everything that a run found out, as `--json` writes it. */
export interface Report {
  command: string
  date: string
  machine: {
    processor: string
    instructionSet: string
    threads: number
    hardwareThreads: number
    memoryGiB: number
    system: string
  }
  versions: Record<string, string | null>
  /** The highest that was measured of each, GFLOP/s or GB/s. */
  ceilings: Partial<Record<Ceiling, number>>
  tables: Table[]
  /** What could not be measured, and why. */
  omissions: string[]
}

/** The rivals of npm and their packages. */
const NODE_PACKAGES = (Object.keys(NODE_RIVALS) as NodeRival[]).map(
  (rival) => [rival, NODE_RIVALS[rival].package] as const,
)

/** Gathers machine and versions around the tables of a run. */
export function report(
  of: Pick<Report, 'command' | 'ceilings' | 'tables' | 'omissions'>,
  { threads, python, nodePeers }: Sides,
): Report {
  const { processor, instructionSet, hardwareThreads, compiler } = Device.describe()
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string }
  const commit = spawnSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: root, encoding: 'utf8' })
  return {
    command: of.command,
    date: new Date().toISOString(),
    machine: {
      processor: processor || cpus()[0]?.model || 'unknown',
      instructionSet,
      threads,
      hardwareThreads,
      memoryGiB: Math.round(totalmem() / 2 ** 30),
      system: `${platform()} ${release()}`,
    },
    versions: {
      lantern: version,
      commit: commit.status === 0 ? commit.stdout.trim() : null,
      node: process.versions.node,
      compiler,
      python: python?.python ?? null,
      torch: python?.torch ?? null,
      transformers: python?.transformers ?? null,
      ...Object.fromEntries(NODE_PACKAGES.map(([rival, name]) => [name, nodePeers?.versions[rival] ?? null])),
    },
    ceilings: of.ceilings,
    tables: of.tables,
    omissions: of.omissions,
  }
}

/** Machine and versions in a line. */
export function heading({ date, machine, versions, ceilings }: Report): string {
  const { processor, instructionSet, threads, memoryGiB } = machine
  const torch = versions.torch ? `, PyTorch ${versions.torch}, transformers ${versions.transformers ?? 'none'}` : ''
  const others = NODE_PACKAGES.filter(([, name]) => versions[name]).map(([, name]) => `, ${name} ${versions[name]}`)
  const units = { float32: 'GFLOP/s float32', bfloat16: 'GFLOP/s bfloat16', read: 'GB/s read' }
  const known = (Object.keys(units) as Ceiling[]).filter((ceiling) => ceilings[ceiling] !== undefined)
  const most =
    known.length > 0 ? ` Highest ceilings: ${known.map((c) => `${number(ceilings[c]!)} ${units[c]}`).join(', ')}.` : ''
  return `${processor}, ${threads} threads, ${memoryGiB} GiB, ${instructionSet} kernels; Node ${versions.node}${torch}${others.join('')}; ${date.slice(0, 10)}.${most}`
}

/** The README's block of a report. */
export function readmeBlock(of: Report): string {
  const lost = of.tables.flatMap((table) => table.rows).filter((row) => losses(row) !== '').length
  const all = of.tables.reduce((n, table) => n + table.rows.length, 0)
  return [
    `Made by \`${of.command}\`, all sides in turn in the same run. ${heading(of)}`,
    '',
    `${all} figures were measured; ${lost === 0 ? 'none of them loses' : `${lost} of them lose to a rival or miss their goal, and all of those are listed`}.`,
    '',
    ...of.tables.map(markdown).filter((block) => block !== ''),
    ...of.omissions.map((line) => `Not measured: ${line}.`),
  ]
    .join('\n')
    .trimEnd()
}

const START = '<!-- bench:start -->'
const END = '<!-- bench:end -->'

/** Replaces what is between the markers of a Markdown file. @throws Error when they are not there, in order */
export function rewriteBlock(path: string, block: string): void {
  const markdownText = readFileSync(path, 'utf8')
  const [from, to] = [markdownText.indexOf(START), markdownText.indexOf(END)]
  if (from < 0 || to < from)
    throw new Error(`${path} has no lines ${START} and ${END}; add them where the figures are to go`)
  writeFileSync(path, `${markdownText.slice(0, from + START.length)}\n${block}\n${markdownText.slice(to)}`)
}
