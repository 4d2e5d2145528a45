import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
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
import { findNodePeers, type NodePeers, type NodeRival, startNodePeer } from '../bench/support/nodePeers.js'
import { Peer } from '../bench/support/peer.js'
import { findPython, type Python, peerScript } from '../bench/support/python.js'
import { readmeBlock, report, rewriteBlock } from '../bench/support/report.js'
import { losses, markdown, plainRow, type Rival, type Row, ratio, type Table, text } from '../bench/support/table.js'
import { topKDivergence } from '../bench/topKDivergence.js'
import { trainStep } from '../bench/trainStep.js'

const effort = { rounds: 1, seconds: 0.005, slow: 10 }

/** Tiny sizes, on two threads; `said` gets what could not be measured. */
const tiny = (said: string[], sides: { python?: Python; nodePeers?: NodePeers } = {}): BenchContext =>
  new BenchContext({
    threads: 2,
    python: sides.python ?? null,
    nodePeers: sides.nodePeers ?? null,
    effort,
    tiny: true,
    say: (line) => said.push(line),
  })

/** Where there is no compiler there are no ceilings. */
const withoutCeilings = (said: readonly string[]): string[] => said.filter((line) => !line.startsWith('shares of'))

describe('every bench runs, on tiny sizes, and yields its figures', () => {
  const expected = {
    matmul: [matmul, 8],
    rowwise: [rowwise, 9],
    attention: [attention, 6],
    distillHead: [distillHead, 25],
    topKDivergence: [topKDivergence, 6],
    trainStep: [trainStep, 8],
    open: [open, 5],
    generate: [generate, 4],
    generateQwen: [generateQwen, 4],
    encoder: [encoder, 4],
  } as const
  it.each(Object.entries(expected))('%s', async (name, [bench, count]) => {
    const said: string[] = []
    const table = await bench.run(tiny(said))
    expect(table.name).toBe(name)
    expect(table.rows).toHaveLength(count)
    expect(new Set(table.rows.map((row) => row.case + row.unit)).size).toBe(count)
    for (const row of table.rows) {
      expect(row.ours, row.case).toBeGreaterThanOrEqual(0)
      expect(Number.isFinite(row.ours), row.case).toBe(true)
      expect(row.theirs).toEqual({})
      if (row.timing) expect(row.timing.ours.median, row.case).toBeGreaterThan(0)
    }
    expect(withoutCeilings(said)).toEqual([])
  })

  // Where both are set: a Python, and a folder of npm, as --python and --node-peers name them.
  const { LANTERN_BENCH_PYTHON: path, LANTERN_BENCH_NODE_PEERS: folder } = process.env
  it.skipIf(!path || !folder).each([
    [generateQwen, ['PyTorch', 'llama.cpp']],
    [encoder, ['PyTorch', 'ONNX Runtime']],
    [topKDivergence, ['PyTorch']],
  ] as const)('$name beside its rivals', { timeout: 300_000 }, async (bench, rivals) => {
    const said: string[] = []
    const [python, nodePeers] = [findPython(path!), findNodePeers(folder!)]
    if (typeof python === 'string' || typeof nodePeers === 'string') throw new Error(`${python} ${nodePeers}`)
    const table = await bench.run(tiny(said, { python, nodePeers }))
    expect(withoutCeilings(said)).toEqual([])
    for (const row of table.rows) {
      expect(Object.keys(row.theirs)).toEqual(rivals)
      for (const figure of Object.values(row.theirs)) expect(figure, row.case).toBeGreaterThan(0)
    }
    for (const rival of rivals) expect(table.notes.join(' ')).toContain(rival)
  })
})

describe('rivals', () => {
  const folder = mkdtempSync(join(tmpdir(), 'lantern-rivals-'))
  const script = join(folder, 'peer.mjs')
  writeFileSync(
    script,
    `import { file, serve, threads } from ${JSON.stringify(peerScript('peer.mjs'))}
     await serve(async ({ pause, fails }) => {
       if (fails === file) throw new Error('out of luck')
       return () => new Promise((resolve) => setTimeout(resolve, pause))
     }, file + ' with ' + threads + ' threads')`,
  )
  const start = (rival: Rival, file: string) => new Peer({ rival, command: [process.execPath, script, '3', '.', file] })

  it('take turns with us, and one that fails is said and left out', async () => {
    const said: string[] = []
    const context = tiny(said)
    const peers = [start('PyTorch', 'one'), null, start('llama.cpp', 'two')]
    const ours = { warm: async () => 0, sample: async () => [0.5] }
    try {
      const both = await context.race(ours, peers, { pause: 2 })
      expect(Object.keys(both.theirs)).toEqual(['PyTorch', 'llama.cpp'])
      for (const { median } of Object.values(both.theirs)) expect(median).toBeGreaterThan(0.001)
      expect(peers[2]!.about).toBe('two with 3 threads')
      const { theirs } = context.row('a case', both, { unit: 'ms', better: 'lower', figure: (s) => s * 1000 })
      expect(theirs.PyTorch).toBeCloseTo(both.theirs.PyTorch!.median * 1000)
      expect(said).toEqual([])

      const one = await context.race(ours, peers, { pause: 2, fails: 'one' })
      expect(Object.keys(one.theirs)).toEqual(['llama.cpp'])
      expect(one.ours.median).toBe(0.5)
      expect(said).toEqual(['{"pause":2,"fails":"one"}: no figure of PyTorch (out of luck)'])
    } finally {
      for (const peer of peers) await peer?.close()
    }
  })

  it('say what is missing, and how to install it', () => {
    expect(findNodePeers(folder)).toBe(
      `${folder} has neither node-llama-cpp nor onnxruntime-node; install them there (npm install --prefix ${folder} node-llama-cpp onnxruntime-node) or name another folder with --node-peers DIR`,
    )
    const installed = join(folder, 'node_modules', 'onnxruntime-node')
    mkdirSync(installed, { recursive: true })
    writeFileSync(join(installed, 'package.json'), '{ "version": "1.2.3" }')
    const nodePeers = findNodePeers(folder)
    if (typeof nodePeers === 'string') throw new Error(nodePeers)
    expect(nodePeers.versions).toEqual({ 'llama.cpp': null, 'ONNX Runtime': '1.2.3' })

    const python: Python = {
      path: '/nowhere/python3',
      python: '3',
      torch: '2',
      transformers: '5',
      safetensors: null,
      gguf: null,
      onnx: null,
    }
    const started = (rival: NodeRival, of: Python | null) =>
      startNodePeer(rival, {}, { threads: 1, python: of, nodePeers })
    expect(started('llama.cpp', python)).toBe(
      `${folder} has no node-llama-cpp; install it there (npm install --prefix ${folder} node-llama-cpp)`,
    )
    expect(started('ONNX Runtime', null)).toMatch(/^Python writes its model, .* onnx; name one with --python PATH$/)
    expect(started('ONNX Runtime', python)).toMatch(/^\/nowhere\/python3 has no onnx, .* install it there with pip$/)
    expect(started('ONNX Runtime', { ...python, onnx: '1' })).toMatch(/^write_onnx.py fails \(.*ENOENT/)

    const said: string[] = []
    expect(tiny(said, { python, nodePeers }).nodePeer('llama.cpp', {})).toBeNull()
    expect(said).toEqual([expect.stringMatching(/^llama.cpp is left out: .* has no node-llama-cpp/)])
    expect(tiny(said).nodePeer('llama.cpp', {})).toBeNull() // not asked for: nothing to say
    expect(said).toHaveLength(1)
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
  const row = (values: Partial<Row>): Row => ({
    ...plainRow('a case', 's', { ours: 2, theirs: { PyTorch: 3 } }),
    ...values,
  })

  it('compare in the direction of the unit, and say where we lose', () => {
    expect(ratio(row({}), 'PyTorch')).toBe(1.5)
    expect(ratio(row({}), 'llama.cpp')).toBeNull()
    expect(losses(row({}))).toBe('')
    expect(ratio(row({ better: 'higher' }), 'PyTorch')).toBeCloseTo(2 / 3)
    expect(losses(row({ better: 'higher' }))).toBe('behind PyTorch')
    expect(losses(row({ theirs: { PyTorch: 1.97 } }))).toBe('') // within noise
    expect(losses(row({ theirs: {} }))).toBe('')
    expect(losses(row({ goal: { ratio: { PyTorch: 2, 'llama.cpp': 9 }, atMost: 1 } }))).toBe(
      'goal 2x PyTorch, goal 1.00 s',
    )
    const theirs = { PyTorch: 3, 'llama.cpp': 1, 'ONNX Runtime': 5 }
    expect(losses(row({ theirs, goal: { ratio: { 'ONNX Runtime': 3 } } }))).toBe(
      'behind llama.cpp, goal 3x ONNX Runtime',
    )
    expect(losses(row({ share: 0.7, goal: { share: 0.75 } }))).toBe('goal 75 %')
    expect(losses(row({ share: null, goal: { share: 0.75 } }))).toBe('')
  })

  const table: Table = {
    name: 'some',
    title: 'Some table',
    ceiling: 'the read bandwidth',
    rows: [
      row({}),
      row({ case: 'a headline', headline: true, share: 0.5 }),
      row({ case: 'lost', theirs: { PyTorch: 1 } }),
    ],
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

  it('have two columns a rival that has a figure', () => {
    const rows = [row({ theirs: {} }), row({ theirs: { 'ONNX Runtime': 4 } }), row({ headline: true })]
    const lines = text({ ...table, rows }).split('\n')
    expect(lines[2]).toMatch(/^case +unit +ours +PyTorch +ratio +ONNX Runtime +ratio +share +where we lose$/)
    expect(lines[4]).toMatch(/^a case +s +2\.00 +- +- +- +- +-$/)
    expect(lines[5]).toMatch(/^a case +s +2\.00 +- +- +4\.00 +2\.00x +-$/)
    expect(markdown({ ...table, rows })).toContain(
      [
        '| case | unit | ours | PyTorch | ratio | ONNX Runtime | ratio | share | where we lose |',
        '| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |',
        '| a case | s | 2.00 | 3.00 | 1.50x | - | - | - |  |',
      ].join('\n'),
    )
    expect(text({ ...table, rows: [row({ theirs: {} })] })).toMatch(/\ncase +unit +ours +share +where we lose\n/)
  })

  it('go into a README with the headlines and everything that loses', () => {
    const shown = markdown(table)
    expect(shown).toContain('| a headline | s | 2.00 | 3.00 | 1.50x | 50 % |  |')
    expect(shown).toContain('| lost | s | 2.00 | 1.00 | 0.50x | - | behind PyTorch |')
    expect(shown).not.toContain('a case')

    const file = join(mkdtempSync(join(tmpdir(), 'lantern-readme-')), 'README.md')
    writeFileSync(file, '# Title\n<!-- bench:start -->\nold\n<!-- bench:end -->\nrest\n')
    const nodePeers = { folder: '/nowhere', versions: { 'llama.cpp': '3.2.1', 'ONNX Runtime': null } }
    const sides = { threads: 2, python: null, nodePeers }
    const found = report({ command: 'npm run bench', ceilings: {}, tables: [table], omissions: [] }, sides)
    for (let i = 0; i < 2; i++) rewriteBlock(file, readmeBlock(found)) // twice gives the same
    const written = readFileSync(file, 'utf8')
    expect(written).toMatch(/^# Title\n<!-- bench:start -->\nMade by `npm run bench`/)
    expect(written).toContain('3 figures were measured; 1 of them lose')
    expect(written).toMatch(/\n<!-- bench:end -->\nrest\n$/)
    expect(written).toMatch(/Node [\d.]+, node-llama-cpp 3\.2\.1; /)
    expect(written).not.toContain('old')
    writeFileSync(file, '# Title\n')
    expect(() => rewriteBlock(file, '')).toThrow('bench:start')
  })
})
