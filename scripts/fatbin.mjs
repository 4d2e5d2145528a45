// Compiles the CUDA kernels of one file and writes a C++ source that embeds them in the addon: both builders run it, once for every .cu.
//
//   node scripts/fatbin.mjs FILE.cu OUT.cc     compiles; beside OUT.cc come OUT.fatbin and OUT.d, the headers it depends on
//   node scripts/fatbin.mjs --nvcc             prints the nvcc that would be used, or nothing when there is none
//   node scripts/fatbin.mjs --headers          prints every file that a .cu may include
//
// All machine code comes from one compute_80 PTX, which is embedded with it: what an emulator executes is all that the assembler saw.
import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { findNvcc } from './toolchain.mjs'

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)))

/** Runs nvcc; what it says goes to our output. Ends the process when it fails. */
function nvcc(args) {
  const { path: command, found } = findNvcc()
  if (!command) fail(found)
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] })
  if (status !== 0) fail(error?.message ?? `nvcc ended with ${status}`)
}

function fail(message) {
  console.error(`fatbin.mjs: ${message}`)
  process.exit(1)
}

/** The architectures that this nvcc knows among those we build for. */
function architectures(wanted) {
  const { path: command } = findNvcc()
  const known = new Set(spawnSync(command, ['--list-gpu-code'], { encoding: 'utf8' }).stdout.trim().split(/\s+/))
  return wanted.map((arch) => `sm_${arch}`).filter((arch) => known.has(arch))
}

function compile(source, out) {
  const { cuda_flags, cuda_architectures } = JSON.parse(
    readFileSync(path.join(root, 'native/sources.gypi'), 'utf8'),
  ).variables
  const [stem, base] = [path.basename(source, '.cu'), out.replace(/\.cc$/, '')]
  const code = [...architectures(cuda_architectures), 'compute_80'].join(',')
  nvcc([
    ...cuda_flags,
    ...['-gencode', `arch=compute_80,code=[${code}]`, '--threads', '2'],
    ...['-fatbin', source, '-o', `${base}.fatbin`, '-MD', '-MF', `${base}.d`, '-MT', out],
  ])
  writeFileSync(out, embedding(stem, path.resolve(`${base}.fatbin`), findNvcc().version))
}

/** An entry { stem, image, CUDA version } of the table that native/runtime/cuda/modules.cc reads. */
const embedding = (stem, fatbin, version) => `// Written by scripts/fatbin.mjs.
asm(R"(
  .section .rodata.lanternFatbin,"a"
  .balign 16
1: .incbin "${fatbin}"
2: .asciz "${stem}"
  .section lanternFatbins,"aw"
  .balign 8
  .quad 2b, 1b, ${version}
  .previous
)");
`

const [first, second] = process.argv.slice(2)
if (first === '--nvcc') console.log(findNvcc().path ?? '')
else if (first === '--headers')
  for (const file of readdirSync(path.join(root, 'native'), { recursive: true, encoding: 'utf8' }))
    if (/\.(h|cuh)$/.test(file)) console.log(`native/${file}`)
if (second) compile(first, second)
