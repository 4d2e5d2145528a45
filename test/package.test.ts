import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, test, vi } from 'vitest'
import { addon } from '../lib/tensor/native.js'
// @ts-expect-error plain JavaScript, for npm to run at install
import { findNvcc } from '../scripts/toolchain.mjs'

vi.setConfig({ testTimeout: 300_000 }) // compilers and npm run, on a machine that may be busy
const root = fileURLToPath(new URL('..', import.meta.url))
const read = (file: string) => readFileSync(path.join(root, file), 'utf8')
const manifest = JSON.parse(read('native/sources.gypi')) as { variables: Record<string, string[]> }

test('the manifest names every source file there is, once', () => {
  const { runtime_sources, addon_sources, cpu_kernel_sources, cuda_kernel_sources, cuda_device_sources } =
    manifest.variables
  const hosts = [...runtime_sources!, ...addon_sources!, ...cpu_kernel_sources!, ...cuda_kernel_sources!]
  const named = [...hosts, ...cuda_device_sources!]
  const present = readdirSync(path.join(root, 'native'), { recursive: true, encoding: 'utf8' })
    .filter((file) => /\.(cc|cu)$/.test(file))
    .map((file) => `native/${file.split(path.sep).join('/')}`)
  expect(named.sort()).toEqual(present.sort())
})

test('the addon tells how it was built', () => {
  const info = addon().describe()
  expect(['cmake-js', 'node-gyp']).toContain(info.builder)
  expect(info.instructionSets.at(-1)).toEqual({ name: 'portable', supported: true, why: '' })
  expect(info.instructionSets.find((set) => set.name === info.instructionSet)?.supported).toBe(true)
})

/** A package with the real build files and an addon of one function instead of ours, so that it builds in seconds. */
function smallPackage() {
  const folder = mkdtempSync(path.join(tmpdir(), 'lantern-install-'))
  afterAll(() => rmSync(folder, { recursive: true, force: true }))
  for (const file of ['package.json', 'binding.gyp', 'CMakeLists.txt', 'scripts']) {
    cpSync(path.join(root, file), path.join(folder, file), { recursive: true })
  }
  symlinkSync(path.join(root, 'node_modules'), path.join(folder, 'node_modules'))
  mkdirSync(path.join(folder, 'native'))
  const one = {
    runtime_sources: ['native/runtime.cc'],
    addon_sources: ['native/addon.cc'],
    cpu_kernel_sources: ['native/kernel.cc'],
    cuda_kernel_sources: [],
    cuda_device_sources: ['native/gpu.cu'],
  }
  writeFileSync(
    path.join(folder, 'native/sources.gypi'),
    JSON.stringify({ variables: { ...manifest.variables, ...one } }),
  )
  writeFileSync(
    path.join(folder, 'native/kernel.cc'),
    'namespace LANTERN_ISA { extern const int lanes = sizeof(int) * __BIGGEST_ALIGNMENT__; }\n',
  )
  writeFileSync(path.join(folder, 'native/gpu.cu'), 'extern "C" __global__ void gpu_nothing() {}\n')
  writeFileSync(path.join(folder, 'native/runtime.cc'), 'int answer() { return 42; }\n')
  writeFileSync(
    path.join(folder, 'native/addon.cc'),
    `#include <napi.h>
int answer();
namespace portable { extern const int lanes; }
struct Embedded { const char* stem; const void* image; long long toolkit; };
#ifdef LANTERN_CUDA
extern "C" __attribute__((visibility("hidden"))) const Embedded __start_lanternFatbins[], __stop_lanternFatbins[];
#endif
static Napi::Value describe(const Napi::CallbackInfo& info) {
  Napi::Object o = Napi::Object::New(info.Env());
  o.Set("builder", LANTERN_BUILDER);
  o.Set("answer", answer());
  o.Set("lanes", portable::lanes);
#ifdef LANTERN_CUDA
  o.Set("module", __start_lanternFatbins[0].stem);
  o.Set("modules", double(__stop_lanternFatbins - __start_lanternFatbins));
#endif
  return o;
}
static Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports.Set("describe", Napi::Function::New(env, describe));
  return exports;
}
NODE_API_MODULE(lantern, init)
`,
  )
  return folder
}

/** Runs the install script without the user's npm settings, and away from the network as far as a proxy that does not answer can do that. */
function install(folder: string, env: Record<string, string> = {}) {
  const { npm_config_nodedir: _, ...inherited } = process.env
  const nowhere = 'http://127.0.0.1:9'
  const offline = { HOME: folder, http_proxy: nowhere, https_proxy: nowhere, HTTP_PROXY: nowhere, HTTPS_PROXY: nowhere }
  const run = spawnSync(process.execPath, [path.join(folder, 'scripts/install.mjs')], {
    env: { ...inherited, ...offline, ...env },
    encoding: 'utf8',
  })
  return { status: run.status, out: run.stdout, error: run.stderr }
}

/** A PATH with these programs alone. */
function pathWith(folder: string, programs: string[]) {
  const bin = path.join(folder, `bin-${programs.length}`)
  mkdirSync(bin, { recursive: true })
  for (const program of ['sh', 'node', ...programs]) {
    const found = spawnSync('sh', ['-c', `command -v ${program}`], { encoding: 'utf8' }).stdout.trim()
    if (found) symlinkSync(found, path.join(bin, program))
  }
  return bin
}

/** What the small addon tells of its CUDA kernels: that of its one file, where this machine has an nvcc. */
const withCuda = findNvcc().path ? { module: 'gpu', modules: 1 } : {}

const described = (folder: string) =>
  JSON.parse(
    spawnSync(process.execPath, ['-p', `JSON.stringify(require('${folder}/build/Release/lantern.node').describe())`], {
      encoding: 'utf8',
    }).stdout,
  ) as { builder: string; answer: number }

describe('the install script', () => {
  test('builds offline with either builder, and again only when the sources change', () => {
    const folder = smallPackage()
    expect(install(folder)).toMatchObject({ status: 0, error: '' })
    expect(described(folder)).toMatchObject({ builder: 'cmake-js', answer: 42, ...withCuda })
    expect(install(folder).out).toContain('up to date')

    writeFileSync(path.join(folder, 'native/runtime.cc'), 'int answer() { return 43; }\n')
    const elsewhere = { npm_config_nodedir: '/nowhere', NPM_CONFIG_NODEDIR: '/nowhere' } // headers and flags of another Node
    expect(install(folder, { LANTERN_BUILD: 'gyp', ...elsewhere })).toMatchObject({ status: 0, error: '' })
    expect(described(folder)).toMatchObject({ builder: 'node-gyp', answer: 43, ...withCuda })
    expect(install(folder).out).toContain('up to date')
    expect(install(folder, { LANTERN_BUILD: 'cmake' }).out).toContain('cmake-js')
    expect(described(folder)).toMatchObject({ builder: 'cmake-js', answer: 43 })
  })

  test('without nvcc, or when it is not wanted, there are no CUDA kernels', () => {
    for (const builder of ['cmake', 'gyp']) {
      const folder = smallPackage()
      expect(install(folder, { LANTERN_CUDA: 'off', LANTERN_BUILD: builder })).toMatchObject({ status: 0, error: '' })
      expect(described(folder)).not.toHaveProperty('module')
    }
  })

  test.each([
    ['too old', 'echo "Cuda compilation tools, release 11.8, V11.8.89"', /nvcc: missing: \S+nvcc is too old \(.*11\.8/],
    [
      'broken',
      'test "$1" = --version && echo "Cuda compilation tools, release 13.0, V13.0.88" || { echo "cicc: not found" >&2; exit 1; }',
      /nvcc: .*13\.0.* does not compile: cicc: not found/,
    ],
  ])('an nvcc that is %s is told of, and does not keep the addon from being built', (_, script, message) => {
    const folder = smallPackage()
    const nvcc = path.join(folder, 'nvcc')
    writeFileSync(nvcc, `#!/bin/sh\n${script}\n`, { mode: 0o755 })
    const { status, out } = install(folder, { NVCC: nvcc })
    expect(status).toBe(0)
    expect(out).toMatch(message)
    expect(described(folder)).not.toHaveProperty('module')
    expect(install(folder, { NVCC: nvcc }).out).toContain('up to date')
  })

  test('a compiler error is shown with its place and the way to try again', () => {
    const folder = smallPackage()
    writeFileSync(path.join(folder, 'native/runtime.cc'), 'int answer() { return fortyTwo; }\n')
    const { status, error } = install(folder, { LANTERN_BUILD: 'gyp' })
    expect(status).toBe(1)
    expect(error).toMatch(/runtime\.cc:1:\d+: error: .*fortyTwo/)
    expect(error).toContain('Then build it again: npm run install')
    expect(error).not.toContain('Install what is missing')
  })

  test('tells what is missing and the command that installs it', () => {
    const folder = smallPackage()
    const nothing = install(folder, { PATH: pathWith(folder, []) })
    expect(nothing.status).toBe(1)
    expect(nothing.error).toContain('sudo apt-get install -y g++ make cmake\n')
    expect(nothing.error).toContain('sudo dnf install -y gcc-c++ make cmake\n')
    expect(nothing.error).toContain('xcode-select --install && brew install cmake\n')
    const gyp = install(folder, { PATH: pathWith(folder, ['make']), LANTERN_BUILD: 'gyp', CXX: 'no-such-compiler' })
    expect(gyp.status).toBe(1)
    expect(gyp.error).toMatch(/C\+\+20 compiler +missing: no no-such-compiler \(g\+\+ 11 or newer/)
    expect(gyp.error).toContain('sudo apt-get install -y g++ python3\n')
  })

  test('LANTERN_BUILD=skip builds nothing, and any other word is refused', () => {
    const folder = smallPackage()
    expect(install(folder, { LANTERN_BUILD: 'skip' })).toMatchObject({ status: 0, error: '' })
    expect(readdirSync(folder)).not.toContain('build')
    const wrong = install(folder, { LANTERN_BUILD: 'ninja' })
    expect(wrong.status).toBe(1)
    expect(wrong.error).toContain("LANTERN_BUILD is 'ninja'; set it to cmake, gyp or skip")
  })
})

test('what the package ships is what its install needs', () => {
  const { files, dependencies } = createRequire(import.meta.url)('../package.json') as {
    files: string[]
    dependencies: Record<string, string>
  }
  const scripts = ['scripts/install.mjs', 'scripts/toolchain.mjs', 'scripts/fatbin.mjs']
  expect(files).toEqual(expect.arrayContaining(['native', 'binding.gyp', 'CMakeLists.txt', ...scripts]))
  const packed = spawnSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], { cwd: root, encoding: 'utf8' })
  const [{ files: shipped }] = JSON.parse(packed.stdout) as [{ files: { path: string }[] }]
  const names = shipped.map((file) => file.path)
  const sources = readdirSync(path.join(root, 'native'), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(root, path.join(entry.parentPath, entry.name)))
  expect(sources.some((name) => name.endsWith('.cu')) && sources.some((name) => name.endsWith('.cuh'))).toBe(true)
  expect(names).toEqual(expect.arrayContaining([...sources, ...scripts]))
  expect(names.filter((name) => /^(test|bench|build)\//.test(name))).toEqual([])
  const written = readdirSync(path.join(root, 'lib'), { recursive: true, encoding: 'utf8' }).filter((f) =>
    f.endsWith('.ts'),
  )
  const loaded = [
    ...names.filter((name) => /^(native|scripts)\/|^CMake|gyp$/.test(name)),
    ...written.map((f) => `lib/${f}`),
  ]
  expect(loaded.length).toBeGreaterThan(200)
  expect(loaded.filter((name) => /test\/simt|build\/simt|LANTERN_SIMT/.test(read(name)))).toEqual([]) // the PTX machine is for tests
  expect(Object.keys(dependencies)).toEqual(
    expect.arrayContaining(['cmake-js', 'node-gyp', 'node-addon-api', 'node-api-headers']),
  )
})
