import { DTypeError, ShapeError } from '../errors.js'
import type { Device } from '../tensor/device.js'
import { recording } from '../tensor/tape.js'
import { dtypeCode, shapeText, type Tensor } from '../tensor/tensor.js'

/** What a table of rotations is computed from. */
export interface RopeTableOptions {
  /** Elements of a head; even. Pair (j, j + headDim / 2) turns by position * theta^(-2 j / headDim). */
  headDim: number
  /** Base of the frequencies, `rope_theta` of a checkpoint. */
  theta: number
  /** Positions 0 .. maxPositions - 1 get a row. */
  maxPositions: number
  /** Replaces the frequency of pair j, in radians per position; for scaled contexts. */
  frequency?: (j: number) => number
  /** Multiplies every cosine and sine (longrope); default 1. */
  amplitude?: number
}

/**
 * The cosines and sines that `rope` reads: [maxPositions, headDim] float32, headDim / 2 cosines and then as many sines per position, computed
 * in float64. Several parts stand one after the other. It belongs to no scope; dispose of it with the model.
 *
 * @throws ShapeError when headDim is odd or maxPositions is no count
 */
export function ropeTable(device: Device, ...parts: [RopeTableOptions, ...RopeTableOptions[]]): Tensor {
  const { headDim } = parts[0]
  for (const part of parts)
    if (
      !Number.isInteger(headDim / 2) ||
      headDim <= 0 ||
      part.headDim !== headDim ||
      !Number.isInteger(part.maxPositions) ||
      part.maxPositions <= 0
    )
      throw new ShapeError(
        `ropeTable: headDim ${part.headDim} must be even, the same in all parts, and maxPositions ${part.maxPositions} a positive integer`,
      )
  const rows = parts.reduce((n, part) => n + part.maxPositions, 0)
  const table = new Float32Array(rows * headDim)
  let row = 0
  for (const part of parts) {
    fillTable(table.subarray(row * headDim, (row + part.maxPositions) * headDim), part)
    row += part.maxPositions
  }
  return device.persistent(() => device.tensor(table, [rows, headDim]))
}

function fillTable(table: Float32Array, options: RopeTableOptions): void {
  const { headDim, theta, maxPositions, frequency, amplitude = 1 } = options
  const half = headDim / 2
  // cos(a + b) and sin(a + b) from two short lists of exact angles: a long context needs hundreds of thousands of times fewer cosines.
  const step = 256
  for (let j = 0; j < half; j++) {
    const f = frequency ? frequency(j) : theta ** (-j / half)
    const fine = Float64Array.from({ length: 2 * step }, (_, i) =>
      i < step ? Math.cos(i * f) : Math.sin((i - step) * f),
    )
    for (let base = 0; base < maxPositions; base += step) {
      const c = Math.cos(base * f) * amplitude
      const s = Math.sin(base * f) * amplitude
      const count = Math.min(step, maxPositions - base)
      for (let i = 0, at = base * headDim + j; i < count; i++, at += headDim) {
        table[at] = c * fine[i]! - s * fine[step + i]!
        table[at + half] = s * fine[i]! + c * fine[step + i]!
      }
    }
  }
}

/** What `rope` rotates, and by what. */
export interface RopeOptions {
  /** [tokens, heads * headDim], float32 or bfloat16. */
  q: Tensor
  /** [tokens, kvHeads * headDim], of q's dtype. */
  k: Tensor
  /** int32 [tokens]: the position of each token in its sequence. */
  positions: Tensor
  /** float32 [maxPositions, headDim], from `ropeTable`. */
  table: Tensor
  headDim: number
}

/**
 * Rotary position embedding of queries and keys in one pass, rotate-half layout (Su et al. 2021, arXiv 2104.09864):
 * y[j] = x[j] cos - x[j + half] sin, y[j + half] = x[j + half] cos + x[j] sin. The gradient is the rotation back.
 *
 * A position outside the table fails on the device: the next read or synchronize rejects.
 * @returns new q and k, of the shapes and dtype of the inputs
 * @throws ShapeError, DTypeError when the inputs do not fit
 */
export function rope(options: RopeOptions): { q: Tensor; k: Tensor } {
  const { q, k, positions, table, headDim } = options
  check(options)
  const rotated = { q: q.device.empty(q.shape, q.dtype), k: k.device.empty(k.shape, k.dtype) }
  launch(options, q, k, rotated.q, rotated.k, 1)
  if (recording(q, k))
    q.device.tape!.record({
      name: 'rope',
      inputs: [q, k],
      outputs: [rotated.q, rotated.k],
      backward: ([dq = null, dk = null]) => {
        const back = [dq, dk].map((d) => (d ? d.device.empty(d.shape, d.dtype) : null))
        launch({ q, k, positions, table, headDim }, dq, dk, back[0]!, back[1]!, -1)
        return back
      },
    })
  return rotated
}

type Rows = Tensor | null

function launch(o: RopeOptions, q: Rows, k: Rows, qOut: Rows, kOut: Rows, direction: 1 | -1): void {
  const tokens = o.positions.size
  const width = (x: Rows) => (x && tokens > 0 ? x.size / tokens : 0)
  const strides = { qStride: width(q), kStride: width(k), qOutStride: width(q), kOutStride: width(k) }
  const sizes = { tokens, heads: width(q) / o.headDim, kvHeads: width(k) / o.headDim, headDim: o.headDim }
  const { positions, table } = o
  const dtype = dtypeCode(o.q.dtype)
  o.q.device.launch('rope', {
    q,
    k,
    qOut,
    kOut,
    positions,
    table,
    ...sizes,
    ...strides,
    maxPosition: table.dim(0),
    dtype,
    direction,
  })
}

function check({ q, k, positions, table, headDim }: RopeOptions): void {
  if (q.dtype === 'int32' || k.dtype !== q.dtype)
    throw new DTypeError(`rope: q is ${q.dtype} and k is ${k.dtype}; both must be float32 or both bfloat16`)
  if (positions.dtype !== 'int32' || table.dtype !== 'float32')
    throw new DTypeError(
      `rope: positions are ${positions.dtype} and the table is ${table.dtype}; they must be int32 and float32`,
    )
  if (table.shape.length !== 2 || table.dim(1) !== headDim || headDim % 2 !== 0)
    throw new ShapeError(
      `rope: the table is ${shapeText(table.shape)} but headDim is ${headDim}; make it with ropeTable for this headDim`,
    )
  for (const [name, x] of Object.entries({ q, k }))
    if (x.dim(0) !== positions.size || (x.size / Math.max(1, x.dim(0))) % headDim !== 0)
      throw new ShapeError(
        `rope: ${name} is ${shapeText(x.shape)} with ${positions.size} positions and headDim ${headDim}; it must be [${positions.size}, heads * ${headDim}]`,
      )
}
