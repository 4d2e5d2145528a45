// npm run test:gpu: the tests of ops, tensors, models, training and generation on a real GPU, and at the end a digest to send back: what card,
// what came of the tests, and the bits that a few kernels gave. Needs an NVIDIA GPU of compute capability 8.0 or more with its driver.
//
//   --rehearse   on the PTX machine instead (LD_LIBRARY_PATH=build/simt), to test this script; the digest says so
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)))
const require = createRequire(import.meta.url)
const rehearsal = process.argv.includes('--rehearse')
const files = process.argv.slice(2).filter((arg) => arg !== '--rehearse')

function refuse(why) {
  console.error(`test:gpu: ${why}`)
  process.exit(2)
}

/** The first GPU and what drives it; ends the process when there is none. */
function findGpu() {
  const addon = process.env.LANTERN_ADDON ?? path.join(root, 'build/Release/lantern.node')
  let cuda
  try {
    cuda = require(addon).cuda()
  } catch (error) {
    refuse(`the native addon ${addon} does not load (${error.message.split('\n')[0]}); build it with: npm run install`)
  }
  const { gpus, driver, toolkit, reason } = cuda
  const found = gpus.map(({ name, why }) => (why ? `${name} (${why})` : name)).join(', ') || 'no GPU'
  if (reason)
    refuse(
      `no GPU to test on: ${reason}. Found: ${found}, ${version('driver', driver)}, ${version('toolkit', toolkit)}.`,
    )
  const simulated = /simulated/i.test(gpus[0].name)
  if (simulated && !rehearsal)
    refuse(
      `${gpus[0].name} is no GPU but the PTX machine; take its folder off LD_LIBRARY_PATH; npm run test:cuda tests on it`,
    )
  if (!simulated && rehearsal) refuse(`--rehearse is for the PTX machine, and there is a GPU: ${gpus[0].name}`)
  return { ...gpus[0], driver, toolkit }
}

function version(of, number) {
  return number ? `${of} ${Math.floor(number / 1000)}.${Math.floor((number % 1000) / 10)}` : `no ${of}`
}

/** The kernel driver's own version, as nvidia-smi tells it. */
function kernelDriver() {
  const file = '/proc/driver/nvidia/version'
  return existsSync(file) ? (/Kernel Module\s+(?:for \S+\s+)?(\S+)/.exec(readFileSync(file, 'utf8'))?.[1] ?? '') : ''
}

function commit() {
  const { status, stdout } = spawnSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: root, encoding: 'utf8' })
  return status === 0 ? ` at ${stdout.trim()}` : ''
}

/** Runs the tests. @returns vitest's results, and the digests of the kernels */
function test() {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'lantern-gpu-'))
  const [results, digests] = ['results.json', 'digests.json'].map((name) => path.join(folder, name))
  try {
    const { status } = spawnSync(
      process.execPath,
      [
        ...[
          'node_modules/vitest/vitest.mjs',
          'run',
          '--reporter=default',
          '--reporter=json',
          `--outputFile.json=${results}`,
        ],
        ...(files.length > 0 ? files : ['test/ops', 'test/tensor', 'test/models', 'test/train', 'test/generate']),
      ],
      {
        cwd: root,
        stdio: 'inherit',
        env: { ...process.env, LANTERN_TEST_DEVICE: 'cuda', LANTERN_TEST_DIGESTS: digests },
      },
    )
    const read = (file, otherwise) => (existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : otherwise)
    return { status, suites: read(results, { testResults: [] }).testResults, digests: read(digests, {}) }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

const MANY = 20 // failures that are named

function digest(gpu, { status, suites, digests }, seconds) {
  const tests = suites.flatMap((suite) => suite.assertionResults)
  const of = (state) => tests.filter((t) => t.status === state)
  const failed = of('failed').map((t) => t.fullName)
  for (const suite of suites) // a file that did not load, or failed outside its tests
    if (suite.status === 'failed' && !suite.assertionResults.some((t) => t.status === 'failed'))
      failed.push(`${path.relative(root, suite.name)}: ${suite.message.split('\n')[0]}`)
  const { version: lantern } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'))
  const kernel = kernelDriver()
  return [
    rehearsal
      ? '---- rehearsal on the PTX machine: this is not a GPU ----'
      : '---- LANTERN on a GPU: please send this back ----',
    `card         ${gpu.name}`,
    `capability   ${gpu.computeCapability.toFixed(1)}, ${gpu.multiprocessors} multiprocessors, ${(gpu.memory / 2 ** 30).toFixed(1)} GiB`,
    `CUDA         ${version('driver', gpu.driver)}${kernel && !rehearsal ? ` (${kernel})` : ''}, ${version('toolkit', gpu.toolkit)}`,
    `LANTERN      ${lantern}${commit()}, Node ${process.versions.node}, ${os.type()} ${os.release()} ${os.arch()}`,
    `tests        ${of('passed').length} passed, ${failed.length} failed, ${of('pending').length + of('skipped').length} skipped in ${seconds.toFixed(0)} s${status === 0 ? '' : ` (exit code ${status})`}`,
    ...failed.slice(0, MANY).map((name) => `  failed     ${name.slice(0, 140)}`),
    ...(failed.length > MANY ? [`  and ${failed.length - MANY} more`] : []),
    ...Object.entries(digests).map(([name, bits]) => `bits         ${name.padEnd(22)} ${bits}`),
    '----',
  ].join('\n')
}

const gpu = findGpu()
const start = Date.now()
const outcome = test()
console.log(`\n${digest(gpu, outcome, (Date.now() - start) / 1000)}`)
process.exit(outcome.status === 0 && outcome.suites.length > 0 ? 0 : 1)
