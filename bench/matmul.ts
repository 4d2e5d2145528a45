import { linear } from '../lib/ops/linear.js'
import type { Device } from '../lib/tensor/device.js'
import { dtypeCode, type FloatDType, type Tensor } from '../lib/tensor/tensor.js'
import type { Bench, BenchContext } from './support/bench.js'
import { randomTensor } from './support/data.js'
import { opContender } from './support/measure.js'
import type { Peer } from './support/peer.js'
import type { Goal, Row } from './support/table.js'

/** y = x w^T, dx = dy w, dw += dy^T x, with x [m, k], w [n, k], dy [m, n]. */
type Mode = 'y' | 'dx' | 'dW'

interface Case {
  mode: Mode
  m: number
  n: number
  k: number
  goal: Goal
  headline?: boolean
}

const CASES: readonly Case[] = [
  { mode: 'y', m: 512, n: 4864, k: 896, goal: { ratio: { PyTorch: 0.95 } }, headline: true },
  { mode: 'y', m: 2048, n: 2048, k: 2048, goal: { ratio: { PyTorch: 0.95 } }, headline: true },
  { mode: 'y', m: 64, n: 4864, k: 896, goal: { ratio: { PyTorch: 1.2 } }, headline: true },
  { mode: 'y', m: 16, n: 4864, k: 896, goal: { ratio: { PyTorch: 1.2 } }, headline: true },
  { mode: 'dx', m: 512, n: 4864, k: 896, goal: {} },
  { mode: 'dW', m: 512, n: 4864, k: 896, goal: {} },
  { mode: 'y', m: 1, n: 4864, k: 896, goal: {} },
  { mode: 'y', m: 1, n: 151_936, k: 896, goal: { share: 0.9 }, headline: true },
]

const TINY: readonly Case[] = [
  { mode: 'y', m: 8, n: 12, k: 16, goal: {} },
  { mode: 'dx', m: 8, n: 12, k: 16, goal: {} },
  { mode: 'dW', m: 8, n: 12, k: 16, goal: {} },
  { mode: 'y', m: 1, n: 12, k: 16, goal: {} },
]

/** The matrix product at the shapes of Qwen2.5-0.5B, forward and for the gradients. */
export const matmul: Bench = {
  name: 'matmul',
  summary: 'matrix products at the shapes of Qwen2.5-0.5B',
  async run(context) {
    const device = context.device()
    const peer = context.peer('matmul.py')
    const rows: Row[] = []
    try {
      for (const dtype of ['float32', 'bfloat16'] as const)
        for (const c of context.tiny ? TINY : CASES) rows.push(await measure(context, device, peer, c, dtype))
    } finally {
      await peer?.close()
      await device.close()
    }
    return {
      name: 'matmul',
      title: 'Matrix products: m x n x k, median',
      ceiling: 'multiply-adds from registers alone; for one row, of the read bandwidth (bytes of the weight)',
      rows,
      notes: ['dW is added in float32 here, in the dtype of the weight by PyTorch.'],
    }
  },
}

async function measure(
  context: BenchContext,
  device: Device,
  peer: Peer | null,
  { mode, m, n, k, goal, headline = false }: Case,
  dtype: FloatDType,
): Promise<Row> {
  const w = randomTensor(device, [n, k], dtype, k ** -0.5)
  const x = randomTensor(device, [m, k], dtype)
  const dy = randomTensor(device, [m, n], dtype)
  const dw = device.zeros([n, k])
  const enqueue = {
    y: () => linear(x, w).dispose(),
    dx: () => {
      const dx = device.empty([m, k], dtype)
      product(dx, dy, w, null, [m, k, n], 0)
      dx.dispose()
    },
    dW: () => product(dw, dy, x, dw, [n, k, m], 1),
  }[mode]
  const ours = await opContender(device, enqueue)
  const bandwidth = m === 1 // one row reads the weight once and computes next to nothing
  const cached = bandwidth && w.bytes < 2 ** 26 // a small weight comes from the caches
  const timing = await context.race(ours, peer, { mode, m, n, k, dtype }, cached ? null : bandwidth ? 'read' : dtype)
  for (const t of [w, x, dy, dw]) t.dispose()
  const label = `${mode.padEnd(2)} ${m} x ${n} x ${k}, ${dtype}`
  const work = bandwidth ? w.bytes : 2 * m * n * k
  return context.row(label, timing, {
    unit: bandwidth ? 'GB/s' : 'GFLOP/s',
    better: 'higher',
    figure: (seconds) => work / seconds / 1e9,
    ceiling: timing.ceiling,
    goal,
    headline,
  })
}

/** y [m, n] = op(a) b + residual: the products that `linear` runs in its backward. */
function product(
  y: Tensor,
  a: Tensor,
  b: Tensor,
  residual: Tensor | null,
  [m, n, k]: readonly [number, number, number],
  transposeA: 0 | 1,
): void {
  y.device.launch('matmul', {
    a,
    b,
    bias: null,
    residual,
    z: null,
    y,
    m,
    n,
    k,
    lda: transposeA ? m : k,
    ldb: n,
    ldResidual: n,
    ldy: n,
    transposeA,
    transposeB: 0,
    aDtype: dtypeCode(a.dtype),
    bDtype: dtypeCode(b.dtype),
    biasDtype: 0,
    yDtype: dtypeCode(y.dtype),
    activation: 0,
  })
}
