import { adamw, parameterTable } from '../lib/ops/adamw.js'
import { geglu } from '../lib/ops/geglu.js'
import { gradNorm } from '../lib/ops/gradNorm.js'
import { addLayerNorm } from '../lib/ops/layerNorm.js'
import { addRmsNorm } from '../lib/ops/rmsNorm.js'
import { swiglu } from '../lib/ops/swiglu.js'
import type { Device } from '../lib/tensor/device.js'
import type { FloatDType, Tensor } from '../lib/tensor/tensor.js'
import type { Bench, BenchContext } from './support/bench.js'
import { randomTensor } from './support/data.js'
import { opContender } from './support/measure.js'
import type { Peer } from './support/peer.js'
import type { Row } from './support/table.js'

interface Case {
  op: 'addRmsNorm' | 'addLayerNorm' | 'swiglu' | 'geglu' | 'adamw'
  rows: number
  cols: number
}

const CASES: readonly Case[] = [
  { op: 'addRmsNorm', rows: 8192, cols: 896 },
  { op: 'addLayerNorm', rows: 32768, cols: 768 },
  { op: 'swiglu', rows: 8192, cols: 4864 },
  { op: 'geglu', rows: 32768, cols: 1152 },
  { op: 'adamw', rows: 32768, cols: 896 },
]
const TINY: readonly Case[] = CASES.map((c) => ({ ...c, rows: 4, cols: 24 }))

/** Times an element is read or written at the least. */
const MOVES = { addRmsNorm: 4, addLayerNorm: 4, swiglu: 3, geglu: 3, adamw: 9 }

interface Prepared {
  enqueue(): void
  tensors: Tensor[]
}

/** Ops that move more than they compute. */
export const rowwise: Bench = {
  name: 'rowwise',
  summary: 'rmsNorm and layerNorm with residual, swiGLU, geGLU and AdamW with clipping, against the read bandwidth',
  async run(context) {
    const device = context.device()
    const peer = context.peer('rowwise.py')
    const rows: Row[] = []
    try {
      for (const c of context.tiny ? TINY : CASES)
        for (const dtype of c.op === 'adamw' ? (['float32'] as const) : (['float32', 'bfloat16'] as const))
          rows.push(await measure(context, device, peer, c, dtype))
    } finally {
      await peer?.close()
      await device.close()
    }
    return {
      name: 'rowwise',
      title: 'Ops bound by memory: rows x columns, median',
      ceiling: 'the read bandwidth',
      rows,
      notes: [
        'GB/s of the least traffic: each operand read once, each result written once (adamw: gradient read for the norm, then parameter, moments and gradient read and written). ' +
          'PyTorch: x + residual and rms_norm or layer_norm; silu or gelu, and product; clip_grad_norm_, fused AdamW and zero_grad.',
      ],
    }
  },
}

async function measure(
  context: BenchContext,
  device: Device,
  peer: Peer | null,
  { op, rows, cols }: Case,
  dtype: FloatDType,
): Promise<Row> {
  const { enqueue, tensors } = (op === 'adamw' ? optimiser : forward)(device, op, rows, cols, dtype)
  const bytes = MOVES[op] * rows * cols * (dtype === 'bfloat16' ? 2 : 4)
  const timing = await context.race(await opContender(device, enqueue), peer, { op, rows, cols, dtype }, 'read')
  for (const t of tensors) t.dispose()
  return context.row(`${op} ${rows} x ${cols}, ${dtype}`, timing, {
    unit: 'GB/s',
    better: 'higher',
    figure: (seconds) => bytes / seconds / 1e9,
    ceiling: timing.ceiling,
    headline: true,
  })
}

function forward(device: Device, op: Case['op'], rows: number, cols: number, dtype: FloatDType): Prepared {
  const a = randomTensor(device, [rows, cols], dtype)
  const b = randomTensor(device, [rows, cols], dtype)
  const weight = randomTensor(device, [cols], dtype)
  const enqueue = () => {
    using _scope = device.scope()
    if (op === 'swiglu') swiglu(a, b)
    else if (op === 'geglu') geglu(a, b)
    else if (op === 'addLayerNorm') addLayerNorm(a, b, weight, 1e-5)
    else addRmsNorm(a, b, weight, 1e-6)
  }
  return { enqueue, tensors: [a, b, weight] }
}

function optimiser(device: Device, _op: Case['op'], rows: number, cols: number): Prepared {
  const [parameter, grad, m, v] = [1, 1e-3, 1e-3, 0].map((std) => randomTensor(device, [rows, cols], 'float32', std))
  const table = parameterTable([{ parameter: parameter!, grad: grad!, m: m!, v: v! }])
  let step = 0
  const enqueue = () => {
    const norm = gradNorm(table)
    step++
    const rates = { learningRate: 1e-5, betas: [0.9, 0.999], eps: 1e-8, weightDecay: 0.01 } as const
    adamw(table, { ...rates, step, norm, maxGradNorm: 1, zeroGrad: true })
    norm.dispose()
  }
  return { enqueue, tensors: [parameter!, grad!, m!, v!, table.rows] }
}
