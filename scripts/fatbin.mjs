// Compiles the CUDA kernels of one file and writes a C++ source that embeds them in the addon: both builders run it, once for every .cu.
//
//   node scripts/fatbin.mjs FILE.cu OUT.cc     compiles; beside OUT.cc come OUT.fatbin and OUT.d, the headers it depends on
//   node scripts/fatbin.mjs --nvcc             prints the nvcc that would be used, or nothing when there is none
//   node scripts/fatbin.mjs --headers          prints every file that a .cu may include
//
// nvcc writes one compute_80 PTX, which is embedded: what an emulator executes, with the source lines it names. The assembler makes the machine
// code of every architecture from that same text, less its lines about sources (.loc, .file and the names they refer to), which would be most
// of a cubin and in which no instruction is. So the PTX that was tested is all that the assembler saw.
import { spawn, spawnSync } from 'node:child_process'
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { findNvcc, workingNvcc } from './toolchain.mjs'

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)))

function fail(message) {
  console.error(`fatbin.mjs: ${message}`)
  process.exit(1)
}

/** Runs a tool to its end; what it says goes to our output. Ends this process when it fails. */
function run(command, args) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] })
    child.on('error', (error) => fail(error.message))
    child.on('exit', (status, signal) =>
      status === 0 ? resolve() : fail(`${path.basename(command)} ended with ${status ?? signal}`),
    )
  })
}

/** The folder of ptxas and fatbinary. nvcc may be a link or a script; it tells where it really is. */
function toolFolder(nvcc) {
  const said = spawnSync(nvcc, ['--dryrun', '-ptx', 'none.cu'], { encoding: 'utf8' }).stderr
  return /^#\$ _HERE_=(.+)$/m.exec(said)?.[1] ?? fail(`${nvcc} does not say where its tools are`)
}

/** The architectures that this nvcc knows among those we build for. */
function architectures(nvcc, wanted) {
  const known = new Set(spawnSync(nvcc, ['--list-gpu-code'], { encoding: 'utf8' }).stdout.trim().split(/\s+/))
  return wanted.filter((arch) => known.has(`sm_${arch}`))
}

const withoutSources = (ptx) =>
  ptx.replace(/^[ \t]*\.(loc|file)\b.*\n/gm, '').replace(/^[ \t]*\.section[ \t]+\.debug_str\s*\{[^}]*\}/m, '')

async function compile(source, out) {
  const { path: nvcc, found, version } = findNvcc()
  if (!nvcc) fail(found)
  const { cuda_flags, cuda_architectures } = JSON.parse(
    readFileSync(path.join(root, 'native/sources.gypi'), 'utf8'),
  ).variables
  const [stem, base, tools] = [path.basename(source, '.cu'), path.resolve(out.replace(/\.cc$/, '')), toolFolder(nvcc)]
  const [ptx, bare] = [`${base}.ptx`, `${base}.bare.ptx`]
  await run(nvcc, [...cuda_flags, '-arch=compute_80', '-ptx', source, '-o', ptx, '-MD', '-MF', `${base}.d`, '-MT', out])
  writeFileSync(bare, withoutSources(readFileSync(ptx, 'utf8')))

  const cubins = architectures(nvcc, cuda_architectures).map((arch) => ({ arch, file: `${base}.sm_${arch}.cubin` }))
  const waiting = [...cubins]
  const assemble = async () => {
    for (let next = waiting.shift(); next; next = waiting.shift())
      await run(path.join(tools, 'ptxas'), [`-arch=sm_${next.arch}`, bare, '-o', next.file])
  }
  await Promise.all([assemble(), assemble()])
  const images = [...cubins.map(({ arch, file }) => `kind=elf,sm=${arch},file=${file}`), `kind=ptx,sm=80,file=${ptx}`]
  const fatbin = `${base}.fatbin`
  await run(path.join(tools, 'fatbinary'), [
    ...[`--create=${fatbin}`, '-64', '-compress=false'],
    ...images.map((image) => `--image3=${image}`),
  ])
  for (const file of [ptx, bare, ...cubins.map((cubin) => cubin.file)]) rmSync(file)
  writeFileSync(out, embedding(stem, fatbin, version))
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
if (first === '--nvcc') {
  const { path: nvcc, found } = workingNvcc()
  if (!nvcc) console.error(`lantern-node: no CUDA kernels; nvcc: ${found}`)
  console.log(nvcc ?? '')
}
if (first === '--headers')
  for (const file of readdirSync(path.join(root, 'native'), { recursive: true, encoding: 'utf8' }))
    if (/\.(h|cuh)$/.test(file)) console.log(`native/${file}`)
if (second) await compile(first, second)
