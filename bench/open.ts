import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { configToJson, tensorShapes } from '../lib/models/families.js'
import { loadDecoder } from '../lib/models/registry.js'
import { embedding } from '../lib/ops/embedding.js'
import { linear } from '../lib/ops/linear.js'
import { rmsNorm } from '../lib/ops/rmsNorm.js'
import { swiglu } from '../lib/ops/swiglu.js'
import { Tape } from '../lib/tensor/tape.js'
import type { Bench, BenchContext } from './support/bench.js'
import { decoderConfig, type ModelShape, QWEN_05B } from './support/data.js'
import { contender, now, timing } from './support/measure.js'
import type { Row } from './support/table.js'

const TINY: ModelShape = {
  ...QWEN_05B,
  hiddenSize: 28,
  layers: 1,
  heads: 1,
  kvHeads: 1,
  intermediateSize: 8,
  vocabSize: 9,
}

/** What comes before the work: opening a checkpoint, and the call of an op. */
export const open: Bench = {
  name: 'open',
  summary: 'from a checkpoint of 1 GB to the first result; what the call of an op costs the event loop',
  async run(context) {
    const rows = [await opened(context), ...(await callCosts(context))]
    return {
      name: 'open',
      title: 'Opening a checkpoint of 1 GB, and calling an op, median',
      ceiling: '',
      rows,
      notes: [
        'The file is sparse: neither side reads weights that the first op does not need. Ours builds the whole model; PyTorch: safetensors load_file alone. ' +
          'A call is the time until the op has been enqueued and its result disposed of; the work itself is not part of it.',
      ],
    }
  },
}

async function opened(context: BenchContext): Promise<Row> {
  const folder = mkdtempSync(join(tmpdir(), 'lantern-bench-'))
  const device = context.device()
  const peer = context.peer('open.py', 'safetensors')
  try {
    const config = decoderConfig(context.tiny ? TINY : QWEN_05B, 'bfloat16')
    const file = join(folder, 'model.safetensors')
    writeFileSync(join(folder, 'config.json'), JSON.stringify(configToJson(config)))
    const bytes = writeSparse(file, tensorShapes(config))
    const run = async () => {
      const model = await loadDecoder(device, folder)
      {
        using _scope = device.scope()
        const id = device.tensor(Int32Array.of(0))
        rmsNorm(embedding(id, model.headWeight), model.parameters.get('model.norm.weight')!, config.rmsNormEps)
      }
      await device.synchronize()
      model.dispose()
    }
    const times = await context.race(contender(run), peer, { file })
    return context.row(`open ${Math.round(bytes / 1e6)} MB, first op`, times, {
      unit: 'ms',
      better: 'lower',
      figure: (seconds) => seconds * 1000,
      goal: { atMost: 200 },
      headline: true,
    })
  } finally {
    await peer?.close()
    await device.close()
    rmSync(folder, { recursive: true })
  }
}

/** A safetensors file with a header and a hole for the data. Returns its size. */
function writeSparse(path: string, shapes: ReadonlyMap<string, readonly number[]>): number {
  let at = 0
  const header: Record<string, unknown> = {}
  for (const [name, shape] of shapes) {
    const end = at + 2 * shape.reduce((n, d) => n * d, 1)
    header[name] = { dtype: 'BF16', shape, data_offsets: [at, end] }
    at = end
  }
  const json = Buffer.from(JSON.stringify(header))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(json.byteLength))
  const descriptor = openSync(path, 'w')
  try {
    writeSync(descriptor, length)
    writeSync(descriptor, json)
    const bytes = 8 + json.byteLength + at
    ftruncateSync(descriptor, bytes)
    return bytes
  } finally {
    closeSync(descriptor)
  }
}

/** Calls before the stream is waited for: over before the system gives the processor to somebody else. */
const BURST = 50
/** Bursts until the code is compiled. */
const WARM_BURSTS = 40

async function callCosts(context: BenchContext): Promise<Row[]> {
  const device = context.device()
  try {
    const x = device.zeros([1, 8])
    const w = device.zeros([8, 8])
    const norm = device.zeros([8])
    const learnt = device.zeros([8, 8])
    learnt.requiresGrad = true
    const rows: Row[] = []
    for (const [name, call] of [
      ['linear', () => linear(x, w).dispose()],
      ['rmsNorm', () => rmsNorm(x, norm, 1e-6).dispose()],
      ['swiglu', () => swiglu(x, x).dispose()],
    ] as const)
      rows.push(await callCost(context, name, call))
    rows.push(
      await callCost(context, 'linear on a tape', () => {
        linear(x, learnt) // the tape of the burst disposes of it
      }),
    )
    return rows

    async function callCost(of: BenchContext, name: string, call: () => void): Promise<Row> {
      const samples: number[] = []
      const until = now() + of.options.effort.rounds * of.options.effort.seconds
      for (let burst = 0; burst < WARM_BURSTS + 5 || now() < until; burst++) {
        {
          using _tape = new Tape(device)
          const started = now()
          for (let i = 0; i < BURST; i++) call()
          if (burst >= WARM_BURSTS) samples.push((now() - started) / BURST)
        }
        await device.synchronize()
      }
      const options = { unit: 'us', better: 'lower', goal: { atMost: 5 }, headline: true } as const
      return of.row(`call ${name}`, { ours: timing(samples), theirs: {} }, { ...options, figure: (s) => s * 1e6 })
    }
  } finally {
    await device.close()
  }
}
