// npm run test:shapes [-- --tokens N]: models of published shapes with random weights, on the CPU: a forward pass of Qwen2.5-0.5B and of
// ModernBERT-large, and a training step of Qwen2.5-0.5B. What each holds at its peak must be what the plan says, within 1 %. Takes a minute and 10 GB.
import { parseArgs } from 'node:util'
import {
  cast,
  Decoder,
  Device,
  languageModelling,
  ModernBert,
  Optimiser,
  pack,
  planStep,
  randomWeights,
  resolveConfig,
  Trainer,
} from '../dist/index.js'

const { values } = parseArgs({ options: { tokens: { type: 'string', default: '512' } } })
const length = Number(values.tokens)
const precision = 'bfloat16'
const CLOSE = 0.01
const gib = (bytes) => `${(bytes / 2 ** 30).toFixed(3)} GiB`

const device = Device.open('cpu')
let wrong = 0

/** Random weights, narrowed one tensor at a time. */
function source(config) {
  const random = randomWeights(device, { seed: 1, layers: config.layers })
  return (name, shape) => {
    const wide = random(name, shape)
    const narrow = device.persistent(() => cast(wide, precision))
    wide.dispose()
    return narrow
  }
}

/** Runs `work` and holds its peak against the plan's. */
async function check(what, plan, work) {
  await device.synchronize()
  device.resetPeakMemory()
  const started = performance.now()
  await work()
  await device.synchronize()
  const seconds = (performance.now() - started) / 1000
  const { allocated, workspace } = planStep({ precision, length, device: { kind: 'cpu' }, ...plan }).memory
  const { peak, workspace: used } = device.memory()
  const off = allocated / peak - 1
  if (!(Math.abs(off) < CLOSE)) wrong++
  const head = workspace > 0 ? `; workspace ${gib(used)}, the head's planned ${gib(workspace)}` : ''
  const planned = `${gib(allocated)} planned (off by ${Math.abs(100 * off).toFixed(3)} %)`
  console.log(`${what}: ${gib(peak)} at the peak, ${planned}${head}; ${seconds.toFixed(1)} s`)
}

const ids = Array.from({ length }, (_, i) => (i * 7919) % 50_000)

async function forward(name, config, Model, run) {
  const model = new Model(device, config, source(config), precision)
  const sequences = [ids, ids]
  await check(`${name}, forward of 2 x ${length} tokens`, { student: config, mode: 'forward', sequences: 2 }, () => {
    const scope = device.scope()
    run(model, pack(device, sequences))
    scope[Symbol.dispose]()
  })
  model.dispose()
}

async function training(name, config) {
  const model = new Decoder(device, config, source(config), precision).trainable()
  const optimiser = new Optimiser(model.parameters)
  const sample = { ids: Int32Array.from(ids), labels: Int32Array.from(ids) }
  const options = { batchSize: 1, microBatchTokens: length, steps: 2, learningRate: 1e-5, warmupSteps: 0 }
  const never = { evalEvery: 0, patience: 0, checkpointEvery: 0 }
  const all = { seed: 1, decay: 'constant', maxGradNorm: 1, ...options, ...never }
  const trainer = new Trainer(device, languageModelling(model), optimiser, [sample], [], all)
  for (const recompute of [false, true]) {
    model.recompute = recompute
    const plan = { student: config, sequences: 1, recompute }
    await check(`${name}, a step of ${length} tokens${recompute ? ', recompute' : ''}`, plan, () => trainer.step())
  }
  optimiser.dispose()
  model.dispose()
}

const qwen = await resolveConfig('Qwen2.5-0.5B')
const bert = { ...(await resolveConfig('ModernBERT-large')), numLabels: 3 }
await forward('Qwen2.5-0.5B', qwen, Decoder, (model, batch) => model.forward(batch))
await forward('ModernBERT-large', bert, ModernBert, (model, batch) => model.classify(batch))
await training('Qwen2.5-0.5B', qwen)
await device.close()
if (wrong > 0) {
  console.error(`${wrong} of the peaks are not what the plan says`)
  process.exit(1)
}
