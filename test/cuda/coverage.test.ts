// What all the tests on the PTX machine came to, from its reports: vitest.config.ts runs this file after them.
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { ADDON, REPORTS, root } from './build.js'

interface Found {
  kind: string
  what: string
}
interface Report {
  kernels: Record<string, { launches: number; findings: Found[] }>
  findings: Found[]
}

const reports = readdirSync(REPORTS)
  .filter((name) => name.endsWith('.json'))
  .map((name) => JSON.parse(readFileSync(join(REPORTS, name), 'utf8')) as Report)

/** The entry points of all kernels that the addon embeds, from the text of their PTX. */
function entryPoints(): Set<string> {
  const [image, mark] = [readFileSync(ADDON), '.visible .entry ']
  const names = new Set<string>()
  for (let at = image.indexOf(mark); at >= 0; at = image.indexOf(mark, at + mark.length))
    names.add(/^\w+/.exec(image.toString('latin1', at + mark.length, at + mark.length + 200))![0])
  return names
}

test('every .cu file has entry points in the addon', () => {
  const files = readdirSync(join(root, 'native/kernels'), { encoding: 'utf8' }).filter((name) => name.endsWith('.cu'))
  const stems = new Set([...entryPoints()].map((name) => name.split('_')[0]))
  expect([...stems].sort()).toEqual(files.map((name) => name.slice(0, -'.cu'.length)).sort())
})

test('every entry point was launched', () => {
  const launched = new Set<string>()
  for (const { kernels } of reports)
    for (const [name, { launches }] of Object.entries(kernels)) if (launches > 0) launched.add(name)
  expect([...entryPoints()].filter((name) => !launched.has(name)).sort()).toEqual([])
})

test('the machine found nothing', () => {
  expect(reports.length).toBeGreaterThan(0)
  const found = reports.flatMap(({ kernels, findings }) => [
    ...findings,
    ...Object.values(kernels).flatMap((kernel) => kernel.findings),
  ])
  expect(found.map(({ kind, what }) => `${kind}: ${what}`)).toEqual([])
})
