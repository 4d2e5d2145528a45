// What the native build needs, whether it is there, and the command that installs what is not.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'

/**
 * @typedef {object} Tool
 * @property {string} name what the report calls it
 * @property {string} [path] the command to run, when it is there and new enough
 * @property {string} found what is there, or what is wrong
 * @property {string} purpose why it is needed
 * @property {{ debian: string, fedora: string, macos: string }} packages
 */

/** The first line that `command --version` prints and that matches, or undefined when it does not run. */
function versionLine(command, matching = /./) {
  const run = spawnSync(command, ['--version'], { encoding: 'utf8', timeout: 20_000 })
  const lines = (run.stdout || run.stderr || '').split('\n')
  return run.status === 0 ? lines.find((line) => matching.test(line))?.trim() : undefined
}

const atLeast = (version, major, minor = 0) => version[0] > major || (version[0] === major && version[1] >= minor)

function numbers(line) {
  const match = /(\d+)\.(\d+)/.exec(line)
  return match ? [Number(match[1]), Number(match[2])] : [0, 0]
}

/** Looks for the first candidate that runs and is new enough; `accepts` judges its version line, the first that matches. */
function find(tool, candidates, accepts, matching) {
  const tried = []
  for (const command of candidates) {
    const line = versionLine(command, matching)
    if (line && accepts(line)) return { ...tool, path: command, found: `${command}: ${line}` }
    tried.push(line ? `${command} is too old (${line})` : `no ${command}`)
  }
  return { ...tool, found: `missing: ${tried.join(', ')}` }
}

function compilerAccepted(line) {
  if (/apple clang/i.test(line)) return atLeast(numbers(line), 14)
  if (/clang/i.test(line)) return atLeast(numbers(line.replace(/^.*?version/i, '')), 14)
  return atLeast(numbers(line.replace(/\(.*?\)/g, '')), 11) // "g++ (Debian 12.2.0-14) 12.2.0": what is in brackets is the package's
}

/** The tools of this machine. Both builders want compiler and make; cmake-js wants cmake besides, node-gyp Python. */
export function toolchain(env = process.env) {
  return {
    compiler: find(
      {
        name: 'C++20 compiler',
        purpose: 'g++ 11 or newer, or clang 14 or newer; CXX names another one',
        packages: { debian: 'g++', fedora: 'gcc-c++', macos: '' },
      },
      env.CXX ? [env.CXX] : ['g++', 'clang++'],
      compilerAccepted,
    ),
    make: find(
      { name: 'make', purpose: 'for both', packages: { debian: 'make', fedora: 'make', macos: '' } },
      ['make'],
      () => true,
    ),
    cmake: find(
      {
        name: 'cmake',
        purpose: '3.20 or newer, for cmake-js',
        packages: { debian: 'cmake', fedora: 'cmake', macos: 'cmake' },
      },
      ['cmake'],
      (line) => atLeast(numbers(line), 3, 20),
    ),
    python: find(
      {
        name: 'python3',
        purpose: '3.8 or newer, for node-gyp',
        packages: { debian: 'python3', fedora: 'python3', macos: 'python' },
      },
      env.PYTHON ? [env.PYTHON] : ['python3', 'python'],
      (line) => atLeast(numbers(line), 3, 8),
    ),
  }
}

/**
 * The CUDA compiler, without which the addon has no kernels for GPUs; never required. NVCC names one, LANTERN_CUDA=off does without.
 * `version` is its CUDA version as the driver counts: 13000 for 13.0.
 */
export function findNvcc(env = process.env) {
  const tool = {
    name: 'nvcc',
    purpose: '12.0 or newer, for GPUs; NVCC names another one',
    packages: { debian: '', fedora: '', macos: '' },
  }
  if (env.LANTERN_CUDA === 'off') return { ...tool, found: 'not wanted: LANTERN_CUDA=off' }
  const homes = [env.CUDA_HOME, env.CUDA_PATH, '/usr/local/cuda'].filter(Boolean).map((home) => `${home}/bin/nvcc`)
  const release = (line) => /release (\d+\.\d+)/.exec(line)?.[0] ?? ''
  const nvcc = find(
    tool,
    env.NVCC ? [env.NVCC] : ['nvcc', ...homes],
    (line) => atLeast(numbers(release(line)), 12),
    /release/,
  )
  const [major, minor] = numbers(release(nvcc.found))
  return nvcc.path ? { ...nvcc, version: major * 1000 + minor * 10 } : nvcc
}

/**
 * `findNvcc` if what it found compiles: an nvcc may be there and lack its other half, or not go with the C++ compiler that is. Else `found` says
 * what is wrong, and there is no `path`.
 */
export function workingNvcc(env = process.env) {
  const { path: command, version, ...tool } = findNvcc(env)
  if (!command) return tool
  const folder = mkdtempSync(path.join(os.tmpdir(), 'lantern-nvcc-'))
  try {
    const source = path.join(folder, 'trial.cu')
    writeFileSync(source, 'extern "C" __global__ void trial(float* p) { *p = 1; }\n')
    const target = ['-std=c++20', '-gencode', 'arch=compute_80,code=[sm_80,compute_80]', '-fatbin']
    const run = spawnSync(command, [...target, source, '-o', path.join(folder, 'trial.fatbin')], {
      encoding: 'utf8',
      timeout: 120_000,
    })
    if (run.status === 0) return { ...tool, path: command, version }
    const said = `${run.stdout ?? ''}${run.stderr ?? ''}`
      .replaceAll(`${folder}${path.sep}`, '')
      .split('\n')
      .map((line) => line.trim())
    const wrong = said.find((line) => /error|fatal|not found/i.test(line)) || said.find(Boolean) || run.error?.message
    return { ...tool, found: `${tool.found} does not compile: ${wrong ?? `it ended with ${run.status ?? run.signal}`}` }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** The tools as a table, and for each system the command that installs those that are missing. */
export function report(tools, missing) {
  const lines = Object.values(tools).map((t) => `  ${t.name.padEnd(15)} ${t.found}${t.path ? '' : ` (${t.purpose})`}`)
  if (missing.length === 0) return lines.join('\n')
  const names = (system) =>
    missing
      .map((t) => t.packages[system])
      .filter(Boolean)
      .join(' ')
  const mac = [
    missing.some((t) => !t.packages.macos) ? 'xcode-select --install' : '',
    names('macos') ? `brew install ${names('macos')}` : '',
  ]
  return [
    ...lines,
    '',
    'Install what is missing:',
    `  Debian, Ubuntu  sudo apt-get install -y ${names('debian')}`,
    `  Fedora          sudo dnf install -y ${names('fedora')}`,
    `  macOS           ${mac.filter(Boolean).join(' && ')}`,
  ].join('\n')
}
