// npm run bench:cuda: counts what the CUDA kernels do, on the PTX machine (test/simt), which is built if need be. Needs no GPU and uses none.
import { join } from 'node:path'
import { cmakeBuild } from '../../scripts/run.mjs'
import { root, runBench } from '../compile.mjs'

const machine = join(root, 'build', 'simt')
console.error('Building the PTX machine, if need be')
cmakeBuild(join(root, 'test', 'simt'), machine, 'cuda', { stdio: ['ignore', 'ignore', 'inherit'] })
const libraries = [machine, process.env.LD_LIBRARY_PATH].filter(Boolean).join(':')
runBench('cuda/main.js', [], { LD_LIBRARY_PATH: libraries, LANTERN_SIMT_FINDINGS: 'record' })
