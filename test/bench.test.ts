import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { attention } from '../bench/attention.js'
import { distillHead } from '../bench/distillHead.js'
import { encoder } from '../bench/encoder.js'
import { generate, generateQwen } from '../bench/generate.js'
import { matmul } from '../bench/matmul.js'
import { open } from '../bench/open.js'
import { rowwise } from '../bench/rowwise.js'
import { BenchContext } from '../bench/support/bench.js'
import { alternate, contender, timing } from '../bench/support/measure.js'
import { findPython } from '../bench/support/python.js'
import { readmeBlock, report, rewriteBlock } from '../bench/support/report.js'
import { losses, markdown, plainRow, type Row, ratio, type Table, text } from '../bench/support/table.js'
import { trainStep } from '../bench/trainStep.js'

const effort = { rounds: 1, seconds: 0.005, slow: 10 }

describe('every bench runs, on tiny sizes, and yields its figures', () => {
  const expected = {
    matmul: [matmul, 8],
    rowwise: [rowwise, 9],
    attention: [attention, 6],
    distillHead: [distillHead, 25],
    trainStep: [trainStep, 8],
    open: [open, 5],
    generate: [generate, 4],
    generateQwen: [generateQwen, 4],
    encoder: [encoder, 4],
  } as const
  it.each(Object.entries(expected))('%s', async (name, [bench, count]) => {
    const said: string[] = []
    const table = await bench.run(
      new BenchContext({ threads: 2, python: null, effort, tiny: true, say: (line) => said.push(line) }),
    )
    expect(table.name).toBe(name)
    expect(table.rows).toHaveLength(count)
    expect(new Set(table.rows.map((row) => row.case + row.unit)).size).toBe(count)
    for (const row of table.rows) {
      expect(row.ours, row.case).toBeGreaterThanOrEqual(0)
      expect(Number.isFinite(row.ours), row.case).toBe(true)
      expect(row.theirs).toBeNull()
      if (row.timing) expect(row.timing.ours.median, row.case).toBeGreaterThan(0)
    }
    expect(said.filter((line) => !line.startsWith('shares of'))).toEqual([]) // without a compiler there are no ceilings
  })
})

describe('measuring', () => {
  it('takes turns, and leaves a slow side at its first run', async () => {
    const turns: string[] = []
    const side = (name: string, first: number) => ({
      warm: async () => first,
      sample: async () => {
        turns.push(name)
        return [1, 3, 2]
      },
    })
    const [a, none, slow] = await alternate([side('a', 0), null, side('slow', 11)] as const, { ...effort, rounds: 3 })
    expect(turns).toEqual(['a', 'a', 'a'])
    expect(a).toMatchObject({ median: 2, best: 1, samples: 9 })
    expect(none).toBeNull()
    expect(slow).toEqual({ median: 11, best: 11, spread: 0, samples: 1 })

    turns.length = 0
    await alternate([side('a', 0), side('b', 0)] as const, { ...effort, rounds: 2 })
    expect(turns).toEqual(['a', 'b', 'a', 'b'])
  })

  it('divides by the operations of a run, and passes failures on', async () => {
    const pause = () => new Promise<void>((resolve) => setTimeout(resolve, 4))
    const four = contender(pause, 4)
    const single = contender(pause)
    await four.warm()
    await single.warm()
    const [quarter, whole] = [timing(await four.sample(0.1)), timing(await single.sample(0.1))]
    expect(quarter.samples).toBeGreaterThanOrEqual(3) // through Benchmark.js
    expect(quarter.best).toBeLessThan(whole.best)
    expect((await single.sample(0.001)).length).toBe(1) // no room for two runs
    let calls = 0
    const failing = contender(async () => {
      if (++calls > 3) throw new Error('out of luck')
    })
    await failing.warm()
    await expect(failing.sample(0.05)).rejects.toThrow('out of luck')
  })

  it('says what a Python lacks', () => {
    expect(findPython('/nowhere/python3')).toMatch(/\/nowhere\/python3 does not run .* --python PATH/)
  })
})

describe('tables', () => {
  const row = (values: Partial<Row>): Row => ({ ...plainRow('a case', 's', { ours: 2, theirs: 3 }), ...values })

  it('compare in the direction of the unit, and say where we lose', () => {
    expect(ratio(row({}))).toBe(1.5)
    expect(losses(row({}))).toBe('')
    expect(ratio(row({ better: 'higher' }))).toBeCloseTo(2 / 3)
    expect(losses(row({ better: 'higher' }))).toBe('behind PyTorch')
    expect(losses(row({ theirs: 1.97 }))).toBe('') // within noise
    expect(losses(row({ theirs: null }))).toBe('')
    expect(losses(row({ goal: { ratio: 2, atMost: 1 } }))).toBe('goal 2x, goal 1.00 s')
    expect(losses(row({ share: 0.7, goal: { share: 0.75 } }))).toBe('goal 75 %')
    expect(losses(row({ share: null, goal: { share: 0.75 } }))).toBe('')
  })

  const table: Table = {
    name: 'some',
    title: 'Some table',
    ceiling: 'the read bandwidth',
    rows: [row({}), row({ case: 'a headline', headline: true, share: 0.5 }), row({ case: 'lost', theirs: 1 })],
    notes: ['A note.'],
  }

  it('are aligned text', () => {
    const lines = text(table).split('\n')
    expect(lines[2]).toMatch(/^case +unit +ours +PyTorch +ratio +share +where we lose$/)
    expect(lines[4]).toMatch(/^a case +s +2\.00 +3\.00 +1\.50x +-$/)
    expect(lines[5]!.indexOf('50 %') + 4).toBe(lines[2]!.indexOf('share') + 5)
    expect(lines[6]).toMatch(/behind PyTorch$/)
    expect(text(table)).toContain('share: of the read bandwidth')
  })

  it('go into a README with the headlines and everything that loses', () => {
    const shown = markdown(table)
    expect(shown).toContain('| a headline | s | 2.00 | 3.00 | 1.50x | 50 % |  |')
    expect(shown).toContain('| lost | s | 2.00 | 1.00 | 0.50x | - | behind PyTorch |')
    expect(shown).not.toContain('a case')

    const file = join(mkdtempSync(join(tmpdir(), 'lantern-readme-')), 'README.md')
    writeFileSync(file, '# Title\n<!-- bench:start -->\nold\n<!-- bench:end -->\nrest\n')
    const found = report({ command: 'npm run bench', ceilings: {}, tables: [table], omissions: [] }, 2, null)
    for (let i = 0; i < 2; i++) rewriteBlock(file, readmeBlock(found)) // twice gives the same
    const written = readFileSync(file, 'utf8')
    expect(written).toMatch(/^# Title\n<!-- bench:start -->\nMade by `npm run bench`/)
    expect(written).toContain('3 figures were measured; 1 of them lose')
    expect(written).toMatch(/\n<!-- bench:end -->\nrest\n$/)
    expect(written).not.toContain('old')
    writeFileSync(file, '# Title\n')
    expect(() => rewriteBlock(file, '')).toThrow('bench:start')
  })
})
