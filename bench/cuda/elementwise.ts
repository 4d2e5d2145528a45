import { adamw, parameterTable } from '../../lib/ops/adamw.js'
import { addScaled, cast, columns, countNonFinite, fill, multiply } from '../../lib/ops/elementwise.js'
import { embedding } from '../../lib/ops/embedding.js'
import { geglu } from '../../lib/ops/geglu.js'
import { gradNorm } from '../../lib/ops/gradNorm.js'
import { rope, ropeTable } from '../../lib/ops/rope.js'
import { swiglu } from '../../lib/ops/swiglu.js'
import type { Device } from '../../lib/tensor/device.js'
import { gradOf, Tape } from '../../lib/tensor/tape.js'
import { dtypeCode, type FloatDType } from '../../lib/tensor/tensor.js'
import { randomTensor } from '../support/data.js'
import { bytes, type Case, DTYPES, distinct, integers, type Needs } from './case.js'

const [ROWS, COLS] = [96, 896] as const

const gatedCase = (name: 'swiglu' | 'geglu', dtype: FloatDType): Case => ({
  shape: `${ROWS} x ${COLS}`,
  run(device) {
    const [gate, up, dy] = [1, 2, 3].map(() => randomTensor(device, [ROWS, COLS], dtype)) as [never, never, never]
    const all = bytes(gate) // as large as each of the others
    for (const t of [gate, up] as { requiresGrad: boolean }[]) t.requiresGrad = true
    using tape = new Tape(device)
    tape.backward((name === 'swiglu' ? swiglu : geglu)(gate, up), dy)
    return [
      { kernel: `${name}_forward`, bytes: 3 * all },
      { kernel: `${name}_backward`, bytes: 5 * all },
    ]
  },
})

const ropeCase = (dtype: FloatDType): Case => ({
  shape: `${ROWS} tokens, 14 + 2 heads of 64`,
  run(device) {
    const [q, k] = [14, 2].map((heads) => randomTensor(device, [ROWS, heads * 64], dtype))
    const table = ropeTable(device, { headDim: 64, theta: 1e6, maxPositions: ROWS })
    const positions = integers(
      device,
      Array.from({ length: ROWS }, (_, i) => i),
    )
    rope({ q: q!, k: k!, positions, table, headDim: 64 })
    return [{ kernel: 'rope_rotate', bytes: 2 * bytes(q!, k!) + bytes(positions, table) }]
  },
})

const embeddingCase = (dtype: FloatDType): Case => ({
  shape: `${ROWS} of 256 rows x ${COLS}, each once`,
  run(device) {
    const weight = randomTensor(device, [256, COLS], dtype)
    weight.requiresGrad = true
    const dweight = gradOf(weight)
    const ids = integers(device, distinct(ROWS, 256))
    const dy = randomTensor(device, [ROWS, COLS], dtype)
    using tape = new Tape(device)
    tape.backward(embedding(ids, weight), dy)
    const touched = (dweight.bytes / 256) * ROWS
    return [
      { kernel: 'embedding_forward', bytes: bytes(ids, dy, dy) },
      { kernel: 'embedding_backward', bytes: bytes(ids, ids, dy) + 2 * touched },
    ]
  },
})

/** The sort before gradients of gathered rows: two passes, over 9 bits each. */
const sortCase: Case = {
  shape: '8,192 ids below 151,936, two passes',
  run(device) {
    const [tokens, vocab] = [8192, 151_936]
    const ids = integers(device, distinct(tokens, vocab))
    const [dy, dweight] = [fill(device.empty([tokens, 1]), 1), device.zeros([vocab, 1])]
    const params = { ids, dy, dweight, tokens, vocab, hidden: 1, dtype: dtypeCode('float32') }
    device.launch('embeddingBackward', params)
    const strided = {
      bound: 'sectors',
      because: "a block's counts lie a digit apart, so that the scan is contiguous",
    } as const
    const counts = 512 * Math.ceil(tokens / 2048) * 4
    const scattered = {
      bound: 'sectors',
      because: 'a sort puts neighbours where they belong, not side by side',
    } as const
    return [
      { kernel: 'sortIds_count', bytes: 2 * bytes(ids, counts), except: strided },
      { kernel: 'sortIds_scan', bytes: 2 * bytes(counts, counts) },
      { kernel: 'sortIds_move', bytes: 7 * bytes(ids) + 2 * bytes(counts), except: scattered }, // the first pass reads no positions
    ]
  },
}

function optimiser(device: Device): Needs[] {
  const [parameter, grad, m, v] = [1, 2, 3, 4].map(() => device.zeros([ROWS, COLS]))
  const copy = device.zeros([ROWS, COLS], 'bfloat16')
  const table = parameterTable([{ parameter: parameter!, grad: grad!, m: m!, v: v!, copy }])
  const norm = gradNorm(table)
  const rates = { learningRate: 1e-5, betas: [0.9, 0.999], eps: 1e-8, weightDecay: 0.01 } as const
  adamw(table, { ...rates, step: 1, norm, maxGradNorm: 1, zeroGrad: true })
  const partials = 512 * 8
  const all = bytes(parameter!)
  return [
    { kernel: 'gradNorm_squares', bytes: all + bytes(table.rows, partials) },
    { kernel: 'gradNorm_total', bytes: bytes(partials, norm) },
    { kernel: 'adamw_update', bytes: 8 * all + bytes(copy, table.rows, norm) }, // four are read, four written
  ]
}

/** One number in, one number out. */
export const elementwise: readonly Case[] = [
  {
    shape: `${ROWS * COLS}`,
    run(device) {
      const y = fill(device.empty([ROWS * COLS]), 1)
      return [{ kernel: 'elementwise_fill', bytes: bytes(y) }]
    },
  },
  {
    shape: `${ROWS} x ${COLS}`,
    run(device) {
      const x = randomTensor(device, [ROWS, COLS])
      const y = cast(x, 'bfloat16')
      cast(y, 'float32')
      return [
        { kernel: 'elementwise_copyF32Bf16', bytes: bytes(x, y) },
        { kernel: 'elementwise_copyBf16F32', bytes: bytes(x, y) },
      ]
    },
  },
  ...DTYPES.map(
    (dtype): Case => ({
      shape: `${ROWS} x ${COLS} of ${2 * COLS} columns`,
      run(device) {
        const y = columns(randomTensor(device, [ROWS, 2 * COLS], dtype), COLS, 2 * COLS)
        return [{ kernel: 'elementwise_copy', bytes: bytes(y, y) }]
      },
    }),
  ),
  ...DTYPES.map(
    (dtype): Case => ({
      shape: `${ROWS} x ${COLS}`,
      run(device) {
        const [a, b] = [1, 2].map(() => randomTensor(device, [ROWS, COLS], dtype))
        addScaled(a!, 1, b!, 0.5)
        multiply(a!, b!)
        return [
          { kernel: 'elementwise_addScaled', bytes: 3 * bytes(a!) },
          { kernel: 'elementwise_multiply', bytes: 3 * bytes(a!) },
        ]
      },
    }),
  ),
  ...DTYPES.map(
    (dtype): Case => ({
      shape: `${ROWS} x ${COLS}`,
      run(device) {
        const x = randomTensor(device, [ROWS, COLS], dtype)
        const found = countNonFinite(x)
        const partials = 8 * Math.ceil((ROWS * COLS) / 4096)
        return [
          { kernel: 'elementwise_count', bytes: bytes(x, partials) },
          { kernel: 'elementwise_countTotal', bytes: bytes(partials, found) },
        ]
      },
    }),
  ),
  ...DTYPES.flatMap((dtype) => [
    gatedCase('swiglu', dtype),
    gatedCase('geglu', dtype),
    ropeCase(dtype),
    embeddingCase(dtype),
  ]),
  sortCase,
  { shape: `${ROWS} x ${COLS}`, run: optimiser },
]
