// Scenarios that need a process of their own, because the driver that there is and its faults are those of a process.
// The first argument names one; each prints what it finds as lines of JSON.
import { adamw, parameterTable } from '../../lib/ops/adamw.js'
import { crossEntropy } from '../../lib/ops/crossEntropy.js'
import { embedding } from '../../lib/ops/embedding.js'
import { linear } from '../../lib/ops/linear.js'
import { rmsNorm } from '../../lib/ops/rmsNorm.js'
import { Device } from '../../lib/tensor/device.js'
import type { DeviceKind } from '../../lib/tensor/deviceKind.js'
import { Tape } from '../../lib/tensor/tape.js'
import { attempt, say } from './told.js'

const wave = (count: number, phase: number): Float32Array =>
  Float32Array.from({ length: count }, (_, i) => Math.sin(i * 0.7 + phase))

const [VOCAB, HIDDEN, TOKENS] = [11, 24, 6]

/** One step of training a tiny model: every parameter after it, and the loss. */
async function trainingStep(device: Device): Promise<number[]> {
  using _scope = device.scope()
  const parameters = [
    device.tensor(wave(VOCAB * HIDDEN, 0), [VOCAB, HIDDEN]),
    device.tensor(wave(HIDDEN, 1), [HIDDEN]),
    device.tensor(wave(VOCAB * HIDDEN, 2), [VOCAB, HIDDEN]),
  ] as const
  for (const p of parameters) p.requiresGrad = true
  const ids = device.tensor(Int32Array.from({ length: TOKENS }, (_, i) => (i * 5) % VOCAB))
  using tape = new Tape(device)
  const hidden = rmsNorm(embedding(ids, parameters[0]), parameters[1], 1e-6)
  const { loss } = crossEntropy(linear(hidden, parameters[2]), ids)
  tape.backward(loss)
  const entries = parameters.map((parameter) => ({
    parameter,
    grad: parameter.grad!,
    m: device.zeros(parameter.shape),
    v: device.zeros(parameter.shape),
  }))
  const table = parameterTable(entries)
  try {
    adamw(table, { learningRate: 0.01, betas: [0.9, 0.99], eps: 1e-8, weightDecay: 0, step: 1 })
    const values = await Promise.all([loss, ...parameters].map((t) => t.floats()))
    return values.flatMap((v) => [...v])
  } finally {
    table.dispose()
    for (const p of parameters) p.grad?.dispose()
  }
}

const scenarios: Record<string, (argument: string | undefined) => Promise<void>> = {
  /** Opens a device. */
  async open(kind) {
    await attempt('open', async () => {
      const device = Device.open((kind || undefined) as DeviceKind | undefined)
      const { kind: opened, name, fastestDtype } = device
      const sum = await device.tensor([1, 2]).floats()
      await device.close()
      return { kind: opened, deviceName: name, fastestDtype, sum: [...sum] }
    })
    say({ name: 'cuda', ...Device.describe().cuda })
  },

  /** Two steps of training on one device, and whether it holds memory afterwards; then the same on another. */
  async train() {
    for (const round of ['first', 'second'])
      await attempt(`${round} device`, async () => {
        const device = Device.open('cuda')
        try {
          for (const step of ['first', 'second'])
            await attempt(`${step} step`, async () => ({ values: await trainingStep(device) }))
          await attempt('upload', async () => ({ values: [...(await device.tensor([3]).floats())] }))
          return { live: device.memory().live }
        } finally {
          await device.close()
        }
      })
  },

  async trainOnCpu() {
    const device = Device.open('cpu')
    await attempt('step', async () => ({ values: await trainingStep(device) }))
    await device.close()
  },

  /** More bytes than all staging segments hold, back and forth, while the array that they came from changes. */
  async copies(mebibytes) {
    const device = Device.open('cuda')
    const count = (Number(mebibytes) * 2 ** 20) / 4 + 3
    const data = Int32Array.from({ length: count }, (_, i) => i ^ 0x5a5a)
    const small = Array.from({ length: 500 }, (_, i) => device.tensor(Int32Array.of(i, -i)))
    const big = device.tensor(data)
    data.fill(0)
    const got = (await big.read()) as Int32Array
    const pairs = await Promise.all(small.map((t) => t.read()))
    say({
      name: 'copies',
      big: got.every((v, i) => v === (i ^ 0x5a5a)),
      small: pairs.every(([a, b], i) => a === i && b === (-i | 0)),
    })
    await device.close()
  },

  /** Memory of the device is not memory of the host: a kernel's data error comes with the next wait, once, and the device goes on. */
  async fault() {
    const device = Device.open('cuda')
    const weight = device.zeros([4, 8])
    const bad = embedding(device.tensor(Int32Array.of(1, 9)), weight)
    const worse = embedding(device.tensor(Int32Array.of(-5)), weight)
    await attempt('bad', async () => ({ values: [...(await bad.floats())] }))
    await attempt('worse', async () => ({ sizes: (await worse.floats()).length }))
    await attempt('good', async () => ({
      values: [...(await embedding(device.tensor(Int32Array.of(1)), weight).floats())],
    }))
    await device.close()
  },

  /** The process ends with work enqueued and nothing closed. */
  async leave(how) {
    const device = Device.open('cuda')
    const x = device.zeros([1000])
    for (let i = 0; i < 50; i++) device.launch('fill', { y: x, count: 1000, dtype: 0, value: i })
    void x.read()
    if (how === 'exit') process.exit(0)
  },
}

await scenarios[process.argv[2]!]!(process.argv[3])
