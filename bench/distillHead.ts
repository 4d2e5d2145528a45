import { distillHead as head } from '../lib/ops/distillHead.js'
import { DIVERGENCES, type DivergenceKind } from '../lib/ops/divergence.js'
import type { Device } from '../lib/tensor/device.js'
import { gradOf, Tape } from '../lib/tensor/tape.js'
import type { FloatDType, Tensor } from '../lib/tensor/tensor.js'
import type { Bench, BenchContext, Timings } from './support/bench.js'
import { randomIds, randomTensor } from './support/data.js'
import { contender } from './support/measure.js'
import { plainRow, type Row } from './support/table.js'

const MIB = 2 ** 20

interface Sizes {
  tokens: number
  manyTokens: number
  hidden: number
  teacherHidden: number
  vocab: number
}

const SIZES: Sizes = { tokens: 256, manyTokens: 2048, hidden: 896, teacherHidden: 1536, vocab: 151_936 }
const TINY: Sizes = { tokens: 6, manyTokens: 48, hidden: 16, teacherHidden: 24, vocab: 99 }

/** Times as fast as PyTorch that the divergences are meant to be. */
const GOALS: Partial<Record<DivergenceKind, number>> = { totalVariation: 2.3, jensenShannon: 3.5 }
const BETA = 0.3 // of generalizedJS

/** Weights of both heads; one case after the other runs on them. */
interface Heads {
  weight: Tensor
  teacherWeight: Tensor
}

/** The fused distillation head at the sizes of Qwen2.5 0.5B and 1.5B, with all gradients. */
export const distillHead: Bench = {
  name: 'distillHead',
  summary: 'the fused distillation head of Qwen2.5 0.5B from 1.5B: time and extra memory of every divergence',
  async run(context) {
    const sizes = context.tiny ? TINY : SIZES
    const rows: Row[] = []
    for (const [dtype, kinds] of [
      ['bfloat16', DIVERGENCES],
      ['float32', ['totalVariation', 'jensenShannon']],
    ] as const) {
      const device = context.device()
      try {
        const heads = makeHeads(device, sizes, dtype)
        for (const kind of kinds) rows.push(...(await raced(context, device, heads, sizes, kind)))
        if (dtype === 'bfloat16') rows.push(await memoryRow(device, heads, sizes))
      } finally {
        await device.close()
      }
    }
    const { tokens, hidden, teacherHidden, vocab } = sizes
    return {
      name: 'distillHead',
      title: `Distillation head: ${tokens} tokens, hidden ${hidden} and ${teacherHidden} -> ${vocab}, loss and gradients, median`,
      ceiling: 'the matrix products alone (both logits, two gradients) at the rate of multiply-adds from registers',
      rows,
      notes: [
        'The gradient of the head is float32 here, of the dtype of the weight in PyTorch (eager). ' +
          'Memory is beyond weights, hidden states and gradients: here what was allocated and the workspace; for PyTorch the growth of the resident set less its gradients.',
      ],
    }
  },
}

function makeHeads(device: Device, { vocab, hidden, teacherHidden }: Sizes, dtype: FloatDType): Heads {
  const weight = randomTensor(device, [vocab, hidden], dtype, hidden ** -0.5)
  weight.requiresGrad = true
  gradOf(weight)
  return { weight, teacherWeight: randomTensor(device, [vocab, teacherHidden], dtype, teacherHidden ** -0.5) }
}

interface HeadRun {
  run(): Promise<void>
  dispose(): void
}

function prepare(device: Device, { weight, teacherWeight }: Heads, tokens: number, kind: DivergenceKind): HeadRun {
  const [vocab, size] = [weight.dim(0), weight.dim(1)]
  const hidden = randomTensor(device, [tokens, size], weight.dtype as FloatDType)
  hidden.requiresGrad = true
  gradOf(hidden)
  const teacherHidden = randomTensor(device, [tokens, teacherWeight.dim(1)], weight.dtype as FloatDType)
  const labels = device.tensor(randomIds(tokens, vocab, 1))
  return {
    async run() {
      {
        using _scope = device.scope()
        using tape = new Tape(device)
        const { loss } = head({
          hidden,
          weight,
          teacher: { hidden: teacherHidden, weight: teacherWeight },
          labels,
          divergence: kind,
          beta: BETA,
          scale: 1 / tokens,
        })
        tape.backward(loss)
      }
      await device.synchronize()
    },
    dispose() {
      hidden.grad?.dispose()
      for (const t of [hidden, teacherHidden, labels]) t.dispose()
    },
  }
}

async function raced(
  context: BenchContext,
  device: Device,
  heads: Heads,
  sizes: Sizes,
  kind: DivergenceKind,
): Promise<Row[]> {
  const { tokens, manyTokens, ...rest } = sizes
  const { hidden, teacherHidden, vocab } = rest
  const dtype = heads.weight.dtype as FloatDType
  const prepared = prepare(device, heads, tokens, kind)
  const peer = context.peer('distill_head.py') // one process a case: its memory is then that case's alone
  try {
    const timing = await context.race(
      contender(prepared.run),
      peer,
      { kind, tokens, ...rest, dtype, beta: BETA },
      dtype,
    )
    const extra = await extraBytes(device, prepared)
    const flops = 2 * tokens * vocab * (3 * hidden + teacherHidden)
    const label = `${kind}, ${dtype}`
    const goal = dtype === 'bfloat16' ? { share: 0.75, ratio: { PyTorch: GOALS[kind] } } : {}
    const ceiling = timing.ceiling && flops / (timing.ceiling * 1e9)
    const seconds = (s: number) => s
    const { PyTorch } = timing.peers
    const theirs = PyTorch && { PyTorch: theirExtra(PyTorch.facts().extraBytes, sizes, dtype) }
    const headline = dtype === 'bfloat16'
    return [
      context.row(label, timing, { unit: 's', better: 'lower', figure: seconds, ceiling, goal, headline }),
      rate(context, label, timing, flops),
      plainRow(`${label}: extra memory`, 'MiB', { ours: extra / MIB, theirs, goal: { atMost: 64 }, headline: false }),
    ]
  } finally {
    await peer?.close()
    prepared.dispose()
  }
}

function rate(context: BenchContext, label: string, timing: Timings, flops: number): Row {
  const figure = (seconds: number) => flops / seconds / 1e9
  return context.row(label, timing, { unit: 'GFLOP/s', better: 'higher', figure })
}

/** MiB beyond the gradients that the peer's process keeps. */
function theirExtra(bytes: number, { tokens, hidden, vocab }: Sizes, dtype: FloatDType): number {
  return Math.max(0, bytes - (vocab + tokens) * hidden * (dtype === 'bfloat16' ? 2 : 4)) / MIB
}

/** Bytes that a run takes beyond what was there before it, gradients among that, workspace of the kernels included. */
async function extraBytes(device: Device, prepared: HeadRun): Promise<number> {
  device.resetPeakMemory()
  const { live } = device.memory()
  await prepared.run()
  const { peak, workspace } = device.memory()
  return peak - live + workspace
}

/** The same for many tokens: the workspace must not grow with them. */
async function memoryRow(device: Device, heads: Heads, sizes: Sizes): Promise<Row> {
  const prepared = prepare(device, heads, sizes.manyTokens, 'jensenShannon')
  try {
    const hiddenGradient = sizes.manyTokens * sizes.hidden * 2 // handed over by the tape in the dtype of the hidden states
    const extra = (await extraBytes(device, prepared)) - hiddenGradient
    const label = `jensenShannon, bfloat16, ${sizes.manyTokens} tokens: extra memory`
    return plainRow(label, 'MiB', { ours: extra / MIB, goal: { atMost: 64 }, headline: true })
  } finally {
    prepared.dispose()
  }
}
