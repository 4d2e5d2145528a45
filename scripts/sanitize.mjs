// npm run test:asan [-- part of a test's name]: builds the native tests with the address and undefined-behaviour sanitizers, and runs them.
//
//   --addon [vitest arguments]   builds the addon that way instead, and runs vitest on it
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { runNativeTests } from './nativeTests.mjs'
import { cmakeBuild, run } from './run.mjs'
import { toolchain } from './toolchain.mjs'

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)))
const build = path.join(root, 'build', 'asan')
const compiler = toolchain().compiler.path

function compile(target) {
  mkdirSync(build, { recursive: true })
  const avx512 = existsSync('/proc/cpuinfo') && readFileSync('/proc/cpuinfo', 'utf8').includes('avx512f')
  const settings = [
    `-DLANTERN_AVX512=${avx512 ? 'ON' : 'OFF'}`,
    `-DCMAKE_CXX_COMPILER=${compiler}`,
    '-DLANTERN_SANITIZE=ON',
    `-DCMAKE_LIBRARY_OUTPUT_DIRECTORY=${build}`,
  ]
  const env = { LANTERN_CUDA: 'off' } // nothing here runs on a GPU, and nvcc takes longer than the rest
  cmakeBuild(root, build, target, { settings, env })
}

function nativeTests(filter) {
  compile('nativeTest')
  // The stack that detect_stack_use_after_return puts in place of the real one does not keep the alignment of 64-byte vectors.
  const options = { UBSAN_OPTIONS: 'print_stacktrace=1', ASAN_OPTIONS: 'detect_stack_use_after_return=0' }
  process.exit(runNativeTests(path.join(build, 'nativeTest'), filter, path.join(build, 'report.json'), options))
}

function addonTests(args) {
  compile('lantern')
  const library = spawnSync(compiler, ['-print-file-name=libasan.so'], { encoding: 'utf8' }).stdout.trim()
  const env = {
    LANTERN_ADDON: path.join(build, 'lantern.node'),
    LANTERN_TEST_DEVICE: 'cpu',
    LD_PRELOAD: library,
    ASAN_OPTIONS: 'detect_leaks=0', // Node leaves its own memory to the end of the process
  }
  run(process.execPath, [path.join(root, 'node_modules/vitest/vitest.mjs'), 'run', ...args], { cwd: root, env })
}

const [first, ...rest] = process.argv.slice(2)
if (first === '--addon') addonTests(rest)
else nativeTests(first ? [first] : [])
