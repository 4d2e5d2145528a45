// Builds the native addon: npm's install script. Plain Node, and nothing is downloaded: the headers are those of node-api-headers.
//
//   LANTERN_BUILD=cmake | gyp   this builder and no other (default: cmake-js, and node-gyp when that is not possible or fails)
//   LANTERN_BUILD=skip          no build at all
//   CXX, PYTHON, NVCC           another compiler, another Python, another CUDA compiler
//   LANTERN_CUDA=off            no CUDA kernels even where there is an nvcc
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { report, toolchain, workingNvcc } from './toolchain.mjs'

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)))
const build = path.join(root, 'build')
const addon = path.join(build, 'Release', 'lantern.node')
const stampFile = path.join(build, 'Release', 'lantern.stamp.json')
const logFile = path.join(build, 'install.log')
const require = createRequire(import.meta.url)
const jobs = String(os.availableParallelism())

/** Everything the addon is made of. */
function hashSources(nvcc) {
  const hash = createHash('sha256')
  const files = readdirSync(path.join(root, 'native'), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.join(entry.parentPath, entry.name))
  const builders = ['CMakeLists.txt', 'binding.gyp', 'scripts/fatbin.mjs'].map((file) => path.join(root, file))
  for (const file of [...files.sort(), ...builders])
    hash
      .update(`${path.relative(root, file)}\0`)
      .update(readFileSync(file))
      .update('\0')
  for (const name of ['node-addon-api', 'node-api-headers']) hash.update(require(`${name}/package.json`).version)
  return hash.update(`${process.platform} ${process.arch} ${nvcc.found}`).digest('hex')
}

const hashAddon = () => createHash('sha256').update(readFileSync(addon)).digest('hex')

/** Whether the addon that is there was built by this script from these sources. */
function upToDate(sources, builder) {
  try {
    const stamp = JSON.parse(readFileSync(stampFile, 'utf8'))
    return (
      stamp.sources === sources && stamp.addon === hashAddon() && (builder === undefined || stamp.builder === builder)
    )
  } catch {
    return false // no stamp, no addon, or a stamp from an interrupted build
  }
}

/** Runs a builder's command line under this Node; its output goes to the log. */
function run(script, args, env) {
  const started = spawnSync(process.execPath, [script, ...args], {
    cwd: root,
    env: { ...process.env, ...env },
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const output = `$ ${path.basename(script)} ${args.join(' ')}\n${started.stdout ?? ''}${started.stderr ?? ''}${started.error ?? ''}\n`
  writeFileSync(logFile, output, { flag: 'a' })
  return started.status === 0
}

function withCmake(env) {
  const cli = path.join(path.dirname(require.resolve('cmake-js/package.json')), 'bin', 'cmake-js')
  const configure = () => run(cli, ['configure'], env)
  if (!configure()) {
    // A cache from another place, generator or compiler cannot be configured again: once more without it.
    if (!existsSync(path.join(build, 'CMakeCache.txt'))) return false
    rmSync(path.join(build, 'CMakeCache.txt'))
    rmSync(path.join(build, 'CMakeFiles'), { recursive: true, force: true })
    if (!configure()) return false
  }
  return run(cli, ['build', '--parallel', jobs], env)
}

/**
 * node-gyp takes compiler settings from the folder of a Node installation and would download one. Ours is as good as empty: the flags are in
 * binding.gyp, the headers in node-api-headers. npm's settings, which node-gyp puts above its own arguments, may name another, whose flags
 * (such as an older C++) would come after ours.
 */
function withGyp(tools) {
  const ofNpm = Object.keys(process.env).filter((name) => /^npm_(package_)?config_/i.test(name))
  const env = { ...tools, ...Object.fromEntries(ofNpm.map((name) => [name, undefined])) }
  const headers = path.join(build, 'nodedir', 'include', 'node')
  mkdirSync(headers, { recursive: true })
  const configurations = { Release: {}, Debug: {} }
  writeFileSync(
    path.join(headers, 'common.gypi'),
    JSON.stringify({ target_defaults: { default_configuration: 'Release', configurations } }),
  )
  writeFileSync(path.join(headers, 'config.gypi'), JSON.stringify({ variables: {}, target_defaults: {} }))
  const cli = path.join(path.dirname(require.resolve('node-gyp/package.json')), 'bin', 'node-gyp.js')
  const nodedir = `--nodedir=${path.join(build, 'nodedir')}`
  return run(cli, ['configure', nodedir], env) && run(cli, ['build', nodedir, '-j', jobs], env)
}

/** Loads the addon in a process of its own: a build that does not load is no build. */
function loads() {
  const started = spawnSync(process.execPath, ['-p', `require(${JSON.stringify(addon)}).describe().builder`], {
    encoding: 'utf8',
  })
  if (started.status !== 0)
    writeFileSync(logFile, `The addon was built but does not load:\n${started.stderr}`, { flag: 'a' })
  return started.status === 0
}

function fail(tools, missing, nvcc) {
  const again = root.split(path.sep).includes('node_modules') ? 'npm rebuild lantern-node' : 'npm run install'
  const log = existsSync(logFile) ? readFileSync(logFile, 'utf8').trimEnd().split('\n').slice(-40) : []
  console.error('\nlantern-node: the native addon could not be built.\n')
  console.error(report(tools, missing))
  if (log.length > 0) console.error(`\nThe end of ${logFile}:\n${log.map((line) => `  | ${line}`).join('\n')}`)
  console.error(`\nThen build it again: ${again}`)
  if (nvcc.path) console.error('Should nvcc be what fails, LANTERN_CUDA=off builds without kernels for GPUs.')
  console.error(
    'LANTERN_BUILD=cmake or LANTERN_BUILD=gyp takes one builder alone, LANTERN_BUILD=skip installs without the addon.\n',
  )
  process.exit(1)
}

function main() {
  const wanted = process.env.LANTERN_BUILD || undefined
  if (wanted === 'skip') return console.log('lantern-node: LANTERN_BUILD=skip, the native addon is not built')
  if (wanted !== undefined && wanted !== 'cmake' && wanted !== 'gyp') {
    console.error(`lantern-node: LANTERN_BUILD is '${wanted}'; set it to cmake, gyp or skip, or unset it`)
    process.exit(1)
  }
  const nvcc = workingNvcc()
  const sources = hashSources(nvcc)
  if (upToDate(sources, wanted)) return console.log('lantern-node: the native addon is up to date')

  const tools = toolchain()
  const needs = { cmake: [tools.compiler, tools.make, tools.cmake], gyp: [tools.compiler, tools.make, tools.python] }
  const builders = { cmake: withCmake, gyp: withGyp }
  const order = wanted ? [wanted] : ['cmake', 'gyp']
  mkdirSync(path.dirname(addon), { recursive: true })
  rmSync(logFile, { force: true })
  for (const builder of order) {
    if (needs[builder].some((tool) => !tool.path)) continue
    const begun = Date.now()
    console.log(
      `lantern-node: building the native addon with ${builder === 'cmake' ? 'cmake-js' : 'node-gyp'}, ${jobs} jobs`,
    )
    if (!builders[builder]({ CXX: tools.compiler.path, PYTHON: tools.python.path }) || !loads()) continue
    writeFileSync(stampFile, `${JSON.stringify({ builder, sources, addon: hashAddon() })}\n`)
    const kernels = nvcc.path ? 'CPU and CUDA kernels' : `CPU kernels only (nvcc: ${nvcc.found})`
    return console.log(`lantern-node: ${kernels}, built in ${((Date.now() - begun) / 1000).toFixed(0)} s`)
  }
  fail(
    tools,
    needs[order[0]].filter((tool) => !tool.path),
    nvcc,
  )
}

main()
