// npm run bench:cuda: counts what the CUDA kernels do, on the PTX machine (test/simt), which is built if need be. Needs no GPU and uses none.
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { root, run, runBench } from '../compile.mjs'

const machine = join(root, 'build', 'simt')
console.error('Building the PTX machine, if need be')
const quiet = ['ignore', 'ignore', 'inherit']
run('cmake', ['-S', join(root, 'test', 'simt'), '-B', machine, '--log-level=ERROR'], {}, quiet)
run('cmake', ['--build', machine, '--target', 'cuda', '--parallel', String(availableParallelism())], {}, quiet)
const libraries = [machine, process.env.LD_LIBRARY_PATH].filter(Boolean).join(':')
runBench('cuda/main.js', [], { LD_LIBRARY_PATH: libraries, LANTERN_SIMT_FINDINGS: 'record' })
