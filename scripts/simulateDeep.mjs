// npm run test:cuda-deep [-- names of configurations] [--seed N] [--files test/ops/...]: the tests of ops, tensors, models, training and
// generation on the PTX machine again and again: all shapes, other orders of what is unordered, other last bits, other architectures, every
// check on. A table at the end tells what ran and what came of it; the exit code is 1 if anything failed. Hours on two processors.
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)))
const REPORTS = path.join(root, 'build/simt/deep') // of the machine
const RESULTS = path.join(root, 'build/simt/deep.json') // of vitest

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { seed: { type: 'string' }, files: { type: 'string', multiple: true } },
})
const seed = Number(values.seed ?? Date.now() % 1_000_000)
const random = (n) => ({ SEED: String(seed + n), STREAMS: 'random' })

/** Settings of the machine (LANTERN_SIMT_*) by name. allShapes: tables in full, not only the shapes that reach all code. */
const CONFIGURATIONS = {
  forward: { SCHEDULE: 'forward', STREAMS: 'late', allShapes: true },
  reverse: { SCHEDULE: 'reverse', STREAMS: 'eager' },
  random1: { ...random(1), allShapes: true },
  random2: random(2),
  random3: { ...random(3), STREAMS: 'late' },
  contract: { ...random(4), NUMERICS: 'contract' },
  noise: { ...random(5), NUMERICS: 'noise' },
  truncate: { ...random(6), NUMERICS: 'truncate' },
  numerics: { ...random(7), NUMERICS: 'contract,noise,truncate' },
  sm_86: { ...random(8), CAPABILITY: '86' },
  sm_89: { ...random(9), CAPABILITY: '89' },
  sm_90: { ...random(10), CAPABILITY: '90' },
  sm_100: { ...random(11), CAPABILITY: '100' },
  sm_120: { ...random(12), CAPABILITY: '120' },
}

const json = (file) => JSON.parse(readFileSync(file, 'utf8'))

/** Runs the tests in one configuration. */
function test(name, { allShapes = false, ...settings }) {
  const said = Object.entries(settings).map(([variable, value]) => `${variable.toLowerCase()}=${value}`)
  const shown = [...said, ...(allShapes ? ['all shapes'] : [])].join(' ')
  console.log(`\n== ${name}: ${shown}; again with: npm run test:cuda-deep -- ${name} --seed ${seed}`)
  const start = Date.now()
  rmSync(RESULTS, { force: true })
  const files = values.files ?? ['test/ops', 'test/tensor', 'test/models', 'test/train', 'test/generate']
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${RESULTS}`]
  const machine = Object.entries({ CHECKS: 'all', ...settings }).map(([variable, value]) => [
    `LANTERN_SIMT_${variable}`,
    value,
  ])
  const { status } = spawnSync(
    process.execPath,
    ['node_modules/vitest/vitest.mjs', 'run', '--project', 'cuda', '--testTimeout=3600000', ...reporters, ...files],
    {
      cwd: root,
      stdio: 'inherit',
      env: {
        ...process.env,
        ...Object.fromEntries(machine),
        LANTERN_TEST_REPORTS: REPORTS,
        LANTERN_TEST_DEEP: allShapes ? '1' : '',
      },
    },
  )
  return { name, shown, seconds: (Date.now() - start) / 1000, status, ...outcome() }
}

/** What the tests and the machine's reports say. */
function outcome() {
  const suites = existsSync(RESULTS) ? json(RESULTS).testResults : [] // none: vitest did not get that far, its exit code tells
  const assertions = suites.flatMap((suite) => suite.assertionResults)
  const failed = assertions.filter((a) => a.status === 'failed').map((a) => a.fullName)
  for (const suite of suites)
    if (suite.status === 'failed' && !suite.assertionResults.some((a) => a.status === 'failed'))
      failed.push(`${path.relative(root, suite.name)}: ${suite.message}`)
  const reports = existsSync(REPORTS) ? readdirSync(REPORTS).filter((file) => file.endsWith('.json')) : []
  const all = reports.map((file) => json(path.join(REPORTS, file)))
  const kernels = all.flatMap((report) => Object.values(report.kernels))
  const found = [...all.flatMap((report) => report.findings), ...kernels.flatMap((kernel) => kernel.findings)]
  return {
    passed: assertions.filter((a) => a.status === 'passed').length,
    failed,
    findings: [...new Set(found.map(({ kind, what }) => `${kind}: ${what}`))],
    launches: kernels.reduce((sum, kernel) => sum + kernel.launches, 0),
    instructions: kernels.reduce((sum, kernel) => sum + kernel.issues, 0),
  }
}

const isGood = ({ status, passed, failed, findings, launches }) =>
  status === 0 && failed.length === 0 && findings.length === 0 && passed > 0 && launches > 0

function table(runs) {
  const head = [
    '',
    'configuration',
    'settings',
    'passed',
    'failed',
    'findings',
    'launches',
    'warp instructions',
    'seconds',
  ]
  const rows = runs.map((r) => [
    isGood(r) ? 'ok' : 'FAILED',
    r.name,
    r.shown,
    r.passed,
    r.failed.length,
    r.findings.length,
    r.launches,
    `${(r.instructions / 1e6).toFixed(1)} M`,
    r.seconds.toFixed(0),
  ])
  const cells = [head, ...rows].map((row) => row.map(String))
  const width = head.map((_, c) => Math.max(...cells.map((row) => row[c].length)))
  return cells.map((row) => row.map((cell, c) => (c < 3 ? cell.padEnd(width[c]) : cell.padStart(width[c]))).join('  '))
}

const names = positionals.length > 0 ? positionals : Object.keys(CONFIGURATIONS)
const unknown = names.filter((name) => !CONFIGURATIONS[name])
if (unknown.length > 0 || !Number.isSafeInteger(seed)) {
  console.error(
    `No configuration ${unknown.join(', ')}; there are ${Object.keys(CONFIGURATIONS).join(', ')}. --seed takes a number.`,
  )
  process.exit(2)
}
const runs = names.map((name) => test(name, CONFIGURATIONS[name]))
console.log(`\n${table(runs).join('\n')}`)
for (const { name, failed, findings } of runs)
  for (const what of [...failed, ...findings]) console.log(`  ${name}: ${what.split('\n')[0]}`)
process.exit(runs.every(isGood) ? 0 : 1)
