// Who checks the checks: one seeded bug after the other is put into a copy of the CUDA kernels, and the tests have to notice each.
//
//   node test/simt/mutations/run.mjs [family ...]   all mutations, or those of some families
//     --sample SEED    one mutation of each family, chosen by the seed, but of slow ones none
//     --only TEXT      the mutations whose names hold the text
//     --jobs N         so many at a time (2)
//     --list           names them and says why each is a bug; nothing runs
//
// A family is a file beside this one: a module (native/kernels/<module>.cu), the tests that execute it, and its mutations. Each is compiled to
// PTX, which the PTX machine then runs instead of what is embedded in the addon. First the same tests must pass on the module as it is.
// Noticed means that a test failed or the machine found something; tests that end otherwise (killed, say) have not noticed anything.
// The last line is the sum: N passed, N failed. A bug that no test notices is a failure, and so is one that can no longer be put in, and a
// module that has fewer than five.
import { execFileSync, spawn } from 'node:child_process'
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { findNvcc } from '../../../scripts/toolchain.mjs'

/**
 * @typedef {object} Mutation
 * @property {string} name
 * @property {string} [file] what is changed: a file below native/kernels; the module's .cu where it is not said
 * @property {string} find occurs there exactly once
 * @property {string} replace
 * @property {string} why it is a bug, and what should notice it
 * @property {string | string[]} only the tests that should: parts of their full names
 * @property {string[]} [tests] their files, where they are not the family's
 *
 * @typedef {object} Family
 * @property {string} module
 * @property {string[]} tests files
 * @property {boolean} [slow] left out of samples
 * @property {Mutation[]} mutations
 */

const here = path.dirname(fileURLToPath(import.meta.url))
const root = path.resolve(here, '../../..')
const simt = path.join(root, 'build/simt')
const MINUTES = 60_000
const FEWEST = 5 // mutations of a module

const { values: options, positionals: wanted } = parseArgs({
  options: {
    sample: { type: 'string' },
    only: { type: 'string' },
    jobs: { type: 'string', default: '2' },
    list: { type: 'boolean', default: false },
  },
  allowPositionals: true,
})

/** @returns {Promise<[string, Family][]>} */
async function families() {
  const names = readdirSync(here)
    .filter((file) => file.endsWith('.mjs') && file !== path.basename(import.meta.url))
    .map((file) => path.basename(file, '.mjs'))
  for (const name of wanted)
    if (!names.includes(name)) throw new Error(`no family ${name}; there are ${names.join(', ')}`)
  const chosen = names.filter((name) => wanted.length === 0 || wanted.includes(name))
  return Promise.all(
    chosen.map(async (name) => [name, (await import(pathToFileURL(path.join(here, `${name}.mjs`)).href)).default]),
  )
}

/** Of each family those that are wanted. @param {[string, Family][]} all */
function select(all) {
  return all
    .map(([name, family]) => {
      let mutations = family.mutations.filter((m) => m.name.includes(options.only ?? ''))
      if (options.sample !== undefined && family.slow) mutations = []
      if (options.sample !== undefined && mutations.length > 0)
        mutations = [mutations[hash(`${options.sample} ${name}`) % mutations.length]]
      return /** @type {[string, Family]} */ ([name, { ...family, mutations }])
    })
    .filter(([, family]) => family.mutations.length > 0)
}

/** FNV-1a. */
function hash(text) {
  let h = 0x811c9dc5
  for (const c of text) h = Math.imul(h ^ c.codePointAt(0), 0x01000193) >>> 0
  return h
}

/** Runs a command. @returns {Promise<{ status: number | null, output: string }>} */
function run(command, args, env = {}, timeout = 60 * MINUTES) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd: root, env: { ...process.env, ...env }, timeout, killSignal: 'SIGKILL' })
    let output = ''
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (data) => {
        output += data
      })
    child.on('error', (error) => resolve({ status: null, output: String(error) }))
    child.on('close', (status) => resolve({ status, output }))
  })
}

/** A copy of the kernels that one job changes at will. */
class Workshop {
  constructor() {
    this.folder = mkdtempSync(path.join(os.tmpdir(), 'lantern-mutation-'))
    cpSync(path.join(root, 'native'), path.join(this.folder, 'native'), { recursive: true })
  }
  dispose() {
    rmSync(this.folder, { recursive: true, force: true })
  }

  /** Compiles a module with one mutation, or as it is. @returns {Promise<string>} the file of PTX text */
  async compile(module, mutation) {
    const file = mutation?.file ?? `${module}.cu`
    const changed = path.join(this.folder, 'native/kernels', file)
    const text = readFileSync(path.join(root, 'native/kernels', file), 'utf8')
    const ptx = path.join(this.folder, `${module}.ptx`)
    if (mutation) writeFileSync(changed, mutate(text, file, mutation))
    try {
      const { status, output } = await run(findNvcc().path, [
        ...flags,
        ...['-arch=compute_80', '-ptx', path.join(this.folder, `native/kernels/${module}.cu`), '-o', ptx],
      ])
      if (status !== 0) throw new Error(`does not compile:\n${output}`)
    } finally {
      writeFileSync(changed, text)
    }
    return ptx
  }

  /** Runs tests with a module's PTX text replaced. @returns {Promise<{ passed: number, failed: string[], output: string, status: number | null }>} */
  async test(module, ptx, files, only) {
    const report = path.join(this.folder, 'report.json')
    rmSync(report, { force: true })
    const names = [only].flat().map((part) => part.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&'))
    const { status, output } = await run(
      process.execPath,
      [
        ...['node_modules/vitest/vitest.mjs', 'run', ...files, '-t', names.join('|'), '--bail=1'],
        ...['--maxWorkers=1', '--testTimeout=1800000', '--reporter=json', `--outputFile=${report}`],
      ],
      {
        LANTERN_TEST_DEVICE: 'cuda',
        LD_LIBRARY_PATH: [simt, process.env.LD_LIBRARY_PATH].filter(Boolean).join(':'),
        LANTERN_SIMT_REPLACE: `${module}=${ptx}`,
        LANTERN_SIMT_BUDGET: String(2 ** 26), // an endless loop ends
      },
    )
    if (!existsSync(report)) return { passed: 0, failed: [], output, status }
    const { testResults, numPassedTests } = JSON.parse(readFileSync(report, 'utf8'))
    const assertions = testResults.flatMap((file) => file.assertionResults)
    const failed = assertions.filter((a) => a.status === 'failed').flatMap((a) => a.failureMessages)
    return { passed: numPassedTests, failed, output, status }
  }
}

/** What git says of the sources, or nothing. @param {string[]} args */
function git(...args) {
  try {
    return execFileSync('git', args, { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
  } catch {
    return ''
  }
}

/** @param {Mutation} mutation */
function mutate(text, file, { find, replace }) {
  const parts = text.split(find)
  if (parts.length !== 2)
    throw new Error(
      `${file} has the text to change ${parts.length - 1} times, not once; the kernel has changed:\n${find}`,
    )
  return parts.join(replace)
}

/** How a bug was noticed: what the machine said first, else what the test said. */
function noticed({ failed, output, status }) {
  const machine = /^simt: (.*)$/m.exec(output)?.[1]
  if (machine) return `machine: ${machine}`
  if (failed.length > 0) return `numbers: ${failed[0].split('\n')[0].replace(/^\w*Error: /, '')}`
  throw new Error(`the tests ended (${status}) before one had failed:\n${output.slice(-2000)}`)
}

/** @param {string} name @param {Family} family */
async function baseline(workshop, name, family) {
  const ptx = await workshop.compile(family.module)
  for (const tests of new Set(family.mutations.map((m) => (m.tests ?? family.tests).join(' ')))) {
    const of = family.mutations.filter((m) => (m.tests ?? family.tests).join(' ') === tests)
    const result = await workshop.test(
      family.module,
      ptx,
      tests.split(' '),
      of.flatMap((m) => m.only),
    )
    if (result.status !== 0 || result.passed === 0)
      throw new Error(`${name}: the tests do not pass on the module as it is:\n${result.failed[0] ?? result.output}`)
  }
}

/** @param {Family} family @param {Mutation} mutation @returns {Promise<{ killed: boolean, how: string }>} */
async function judge(workshop, family, mutation) {
  const ptx = await workshop.compile(family.module, mutation)
  const result = await workshop.test(family.module, ptx, mutation.tests ?? family.tests, mutation.only)
  if (result.status === 0 && result.passed === 0)
    throw new Error(`no test is named like ${JSON.stringify(mutation.only)}`)
  return result.status === 0 ? { killed: false, how: 'SURVIVED' } : { killed: true, how: noticed(result) }
}

/** Each of `items` once, by as many workers as there are jobs. */
async function eachOf(items, work) {
  const queue = [...items]
  const worker = async () => {
    const workshop = new Workshop()
    try {
      for (let item = queue.shift(); item; item = queue.shift()) await work(workshop, item)
    } finally {
      workshop.dispose()
    }
  }
  await Promise.all(Array.from({ length: Number(options.jobs) }, worker))
}

const all = await families()
if (wanted.length === 0)
  for (const file of readdirSync(path.join(root, 'native/kernels')).filter((file) => file.endsWith('.cu'))) {
    const module = path.basename(file, '.cu')
    const count = all.reduce((sum, [, family]) => sum + (family.module === module ? family.mutations.length : 0), 0)
    if (count >= FEWEST) continue
    console.log(`${module}: ${count} mutations, fewer than ${FEWEST}`)
    process.exitCode = 1
  }
for (const [name, family] of all)
  for (const m of family.mutations)
    try {
      const file = m.file ?? `${family.module}.cu`
      mutate(readFileSync(path.join(root, 'native/kernels', file), 'utf8'), file, m)
    } catch (error) {
      console.log(`${name}: ${m.name}: NOT PUT IN: ${error.message}`)
      process.exitCode = 1
    }

const flags = JSON.parse(readFileSync(path.join(root, 'native/sources.gypi'), 'utf8')).variables.cuda_flags
const chosen = select(all)
if (options.list) {
  for (const [name, family] of chosen)
    for (const m of family.mutations)
      console.log(`${name}: ${m.name} (${m.file ?? `${family.module}.cu`})\n    ${m.why}`)
  process.exit()
}

if (!findNvcc().path) {
  console.log('no nvcc: there are no CUDA kernels to put bugs into')
  process.exit()
}
for (const args of [
  ['-S', 'test/simt', '-B', simt, '--log-level=WARNING'],
  ['--build', simt, '--target', 'cuda', '--parallel', '2'],
]) {
  const { status, output } = await run('cmake', args)
  if (status !== 0) throw new Error(`cmake ${args.join(' ')}\n${output}`)
}

const begun = Date.now()
const broken = new Set()
const results = []
const say = (family, name, how) => console.log(`${family}: ${name}: ${how.slice(0, 230)}`)
await eachOf(chosen, async (workshop, [name, family]) => {
  try {
    await baseline(workshop, name, family)
  } catch (error) {
    broken.add(name)
    results.push(...family.mutations.map(() => ({ family: name, killed: false })))
    say(name, 'all', String(error.message).slice(0, 2000))
  }
})
const tasks = chosen.flatMap(([name, family]) => family.mutations.map((mutation) => ({ name, family, mutation })))
await eachOf(
  tasks.filter(({ name }) => !broken.has(name)),
  async (workshop, { name, family, mutation }) => {
    try {
      const { killed, how } = await judge(workshop, family, mutation)
      results.push({ family: name, killed, machine: how.startsWith('machine') })
      say(name, mutation.name, how)
    } catch (error) {
      results.push({ family: name, killed: false })
      say(name, mutation.name, `NOT PUT IN: ${error.message}`)
    }
  },
)

const killed = results.filter((r) => r.killed)
console.log(`\nfamily: killed of all (by findings of the machine)`)
for (const [name] of chosen) {
  const of = results.filter((r) => r.family === name)
  const by = of.filter((r) => r.killed)
  console.log(`  ${name.padEnd(18)} ${by.length} of ${of.length} (${by.filter((r) => r.machine).length})`)
}
const commit =
  git('rev-parse', '--short', 'HEAD') + (git('status', '--porcelain', 'native', 'lib', 'test') ? ' with changes' : '')
const rate = ((100 * killed.length) / results.length).toFixed(1)
console.log(
  `${rate} % killed, ${killed.filter((r) => r.machine).length} of them by findings, in ${Math.round((Date.now() - begun) / 1000)} s, at ${commit || 'no commit'}`,
)
console.log(`${killed.length} passed, ${results.length - killed.length} failed`)
if (killed.length < results.length || results.length === 0) process.exitCode = 1
