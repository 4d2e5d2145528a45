import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it, vi } from 'vitest'
import { demo } from '../../lib/cli/demo.js'
import { testDevice } from '../support.js'
import { temporaryFolder } from '../tiny.js'

vi.setConfig({ testTimeout: 240_000 }) // real trainings, on a machine that may be busy
const device = testDevice()
const out = join(temporaryFolder(), 'demo')
const few = { out, pairs: 60, teacherSteps: 2, studentSteps: 2, classifierSteps: 2, scored: 2 }
const students = ['sft', 'js', 'fkl', 'tvd', 'skl']

it('leaves where it is told to, also between two rows', async () => {
  for (const [at, last] of [
    [
      /^\[\d\/7\] fkl \(distill\)/,
      /^interrupted; still to do: (\w+, ){3}\w+\. The same command goes on in the middle of fkl$/,
    ],
    [/^scored 3 of 7/, /^interrupted while rows were scored; the same command goes on$/],
  ] as const) {
    const controller = new AbortController()
    const lines: string[] = []
    const print = (line: string) => {
      lines.push(line)
      if (at.test(line)) controller.abort()
    }
    expect(await demo(few, { device, print, signal: controller.signal })).toBe(false)
    expect(lines.at(-1)).toMatch(last)
    expect(existsSync(join(out, 'report.html'))).toBe(false)
  }
})

it('goes on, and shows table 1, ratings and a pair', async () => {
  const lines: string[] = []
  expect(await demo(few, { device, print: (line) => void lines.push(line) })).toBe(true)
  expect(lines.filter((line) => line.includes('nothing it is made from has changed'))).toHaveLength(7)
  const header = lines.findIndex((line) => line.startsWith('Table 1: '))
  const rows = lines[header + 1]!.split('\n').slice(2)
  expect(rows.map((row) => row.split(/ {2,}/).slice(0, 2).join(': '))).toEqual([
    'student: nothing yet',
    'teacher: the data',
    ...students.map((name) => `student: ${name.toUpperCase()}`),
  ])
  const rated = lines.findIndex((line) => /^Rated (low|medium|high) \(/.test(line))
  expect(rated).toBeGreaterThan(header)
  expect(lines.every((line) => !line.slice(1, -1).includes('\n\n'))).toBe(true)
  const report = await readFile(join(out, 'report.html'), 'utf8')
  const explained = lines.slice(
    rated + 2,
    lines.findIndex((line) => line.startsWith('\n▸ done in ')),
  )
  for (const text of ['LANTERN demo', 'One real pair: ', 'The same pair by the rubric', 'weighted F1', ...explained])
    expect(report).toContain(text.replaceAll('"', '&quot;'))
  for (const name of ['teacher', 'classifier', ...students])
    expect(existsSync(join(out, name, 'model', 'model.safetensors')), name).toBe(true)
  const csv = (await readFile(join(out, 'table.csv'), 'utf8')).trim().split('\r\n')
  expect(csv).toHaveLength(8)
  expect(JSON.parse(await readFile(join(out, 'made-with.json'), 'utf8')).command).toBe('lantern demo')
})
