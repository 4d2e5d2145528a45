// What the native build needs, whether it is there, and the command that installs what is not.
import { spawnSync } from 'node:child_process'

/**
 * @typedef {object} Tool
 * @property {string} name what the report calls it
 * @property {string} [path] the command to run, when it is there and new enough
 * @property {string} found what is there, or what is wrong
 * @property {string} purpose why it is needed
 * @property {{ debian: string, fedora: string, macos: string }} packages
 */

/** The first line that `command --version` prints, or undefined when it does not run. */
function versionLine(command, flag = '--version') {
  const run = spawnSync(command, [flag], { encoding: 'utf8', timeout: 20_000 })
  return run.status === 0 ? (run.stdout || run.stderr).split('\n')[0].trim() : undefined
}

const atLeast = (version, major, minor = 0) => version[0] > major || (version[0] === major && version[1] >= minor)

function numbers(line) {
  const match = /(\d+)\.(\d+)/.exec(line)
  return match ? [Number(match[1]), Number(match[2])] : [0, 0]
}

/** Looks for the first candidate that runs and is new enough; `accepts` judges its version line. */
function find(tool, candidates, accepts) {
  const tried = []
  for (const command of candidates) {
    const line = versionLine(command)
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
