import { writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { attention } from './attention.js'
import { distillHead } from './distillHead.js'
import { encoder } from './encoder.js'
import { generate, generateQwen } from './generate.js'
import { matmul } from './matmul.js'
import { open } from './open.js'
import { rowwise } from './rowwise.js'
import { type Bench, BenchContext, type Sides } from './support/bench.js'
import { findNodePeers } from './support/nodePeers.js'
import { findPython } from './support/python.js'
import { heading, readmeBlock, report, rewriteBlock } from './support/report.js'
import { root } from './support/root.js'
import { losses, type Table, text } from './support/table.js'
import { topKDivergence } from './topKDivergence.js'
import { trainStep } from './trainStep.js'

const BENCHES: readonly Bench[] = [
  open,
  matmul,
  rowwise,
  attention,
  distillHead,
  topKDivergence,
  trainStep,
  generate,
  generateQwen,
  encoder,
]

const HELP = `npm run bench -- [names] [options]

${BENCHES.map((b) => `  ${b.name.padEnd(14)} ${b.summary}`).join('\n')}

  --peers           also run the same in PyTorch, all sides in turn
  --python PATH     Python of the peers, with torch, transformers and safetensors (default python3); implies --peers
  --node-peers DIR  also run llama.cpp (generate, generateQwen) and ONNX Runtime (encoder): a folder where npm has installed
                    node-llama-cpp, onnxruntime-node; Python writes their models, with gguf and onnx; implies --peers
  --threads N       threads of every side (default LANTERN_THREADS, else all processors)
  --quick           short turns: a look, not a measurement
  --tiny            sizes that only show that everything runs, peers included
  --json FILE       write all figures, with machine and versions
  --readme          rewrite the figures in README.md
`

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    peers: { type: 'boolean', default: false },
    python: { type: 'string' },
    'node-peers': { type: 'string' },
    threads: { type: 'string' },
    quick: { type: 'boolean', default: false },
    tiny: { type: 'boolean', default: false },
    json: { type: 'string' },
    readme: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
})

async function main(): Promise<void> {
  if (values.help) return void process.stdout.write(HELP)
  const unknown = positionals.filter((name) => !BENCHES.some((b) => b.name === name))
  if (unknown.length > 0) fail(`there is no bench '${unknown[0]}'; use ${BENCHES.map((b) => b.name).join(', ')}`)
  if (values.readme && values.tiny) fail('--readme needs the real sizes; leave --tiny out')
  const threads = Number(values.threads ?? process.env.LANTERN_THREADS ?? availableParallelism())
  const omissions: string[] = []
  const say = (line: string) => {
    if (omissions.includes(line)) return
    omissions.push(line)
    console.error(line)
  }
  const sides: Sides = { threads, ...peers(say) }
  const context = new BenchContext({
    ...sides,
    effort: values.tiny
      ? { rounds: 1, seconds: 0.01, slow: 1 }
      : values.quick
        ? { rounds: 1, seconds: 0.1, slow: 1 }
        : { rounds: 5, seconds: 0.4, slow: 12 },
    tiny: values.tiny,
    say,
  })
  const tables: Table[] = []
  for (const bench of BENCHES) {
    if (positionals.length > 0 && !positionals.includes(bench.name)) continue
    const table = await bench.run(context)
    tables.push(table)
    console.log(text(table))
  }
  const command = ['npm run bench', ...(process.argv.length > 2 ? ['--', ...shown(process.argv.slice(2))] : [])].join(
    ' ',
  )
  const found = report({ command, ceilings: context.ceilings, tables, omissions }, sides)
  console.log(heading(found))
  const lost = tables.flatMap((t) => t.rows.filter((row) => losses(row) !== '').map((row) => `${t.name}: ${row.case}`))
  console.log(lost.length === 0 ? 'No figure loses.' : `${lost.length} figures lose.`)
  if (values.json) writeFileSync(values.json, `${JSON.stringify(found, null, 2)}\n`)
  if (values.readme) rewriteBlock(join(root, 'README.md'), readmeBlock(found))
}

/** The rivals that the options ask for; says which there is no way to run. */
function peers(say: (line: string) => void): Pick<Sides, 'python' | 'nodePeers'> {
  const found = <T extends object>(who: string, of: T | string): T | null => {
    if (typeof of !== 'string') return of
    say(`${who} left out: ${of}`)
    return null
  }
  const folder = values['node-peers']
  const wanted = values.peers || values.python !== undefined || folder !== undefined
  return {
    python: wanted ? found('PyTorch is', findPython(values.python ?? 'python3')) : null,
    nodePeers: folder === undefined ? null : found('llama.cpp and ONNX Runtime are', findNodePeers(folder)),
  }
}

/** The arguments as they make sense elsewhere: without the paths of this machine. */
const shown = (args: readonly string[]): string[] =>
  args.map((arg, i) =>
    /^--(python|node-peers|json)$/.test(args[i - 1] ?? '')
      ? 'PATH'
      : arg.replace(/^(--(python|node-peers|json))=.*/, '$1=PATH'),
  )

function fail(message: string): never {
  console.error(message)
  process.exit(2)
}

await main()
