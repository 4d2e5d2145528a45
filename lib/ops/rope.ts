import { DTypeError, ShapeError } from '../errors.js'
import type { Device } from '../tensor/device.js'
import { recording } from '../tensor/tape.js'
import { type DType, dtypeCode, shapeText, type Tensor } from '../tensor/tensor.js'
import { checkQkv, type Heads, partsOf, type QkvPacked, rowsOf } from './qkvPacked.js'

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

/** By what `rope` rotates. */
export interface Rotation {
  /** int32 [tokens]: the position of each token in its sequence. */
  positions: Tensor
  /** float32 [maxPositions, headDim], from `ropeTable`. */
  table: Tensor
}

/** What `rope` rotates, and by what. */
export interface RopeOptions extends Rotation {
  /** [tokens, heads * headDim], float32 or bfloat16. */
  q: Tensor
  /** [tokens, kvHeads * headDim], of q's dtype. */
  k: Tensor
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
  const { q, k, headDim } = options
  check(options)
  const { device, dtype } = q
  const rotation = { ...options, device, dtype }
  const rows = (q: Tensor | null, k: Tensor | null) => ({ q: rowsOf(q, headDim), k: rowsOf(k, headDim) })
  const rotated = { q: device.empty(q.shape, dtype), k: device.empty(k.shape, dtype) }
  rotate(rotation, rows(q, k), rows(rotated.q, rotated.k), 1)
  if (recording(q, k))
    device.tape!.record({
      name: 'rope',
      inputs: [q, k],
      outputs: [rotated.q, rotated.k],
      backward: ([dq = null, dk = null]) => {
        const [q, k] = [dq, dk].map((d) => d && device.empty(d.shape, dtype)) as [Tensor | null, Tensor | null]
        rotate(rotation, rows(dq, dk), rows(q, k), -1)
        return [q, k]
      },
    })
  return rotated
}

/** What `ropeQkvPacked` takes. */
export interface RopeQkvPackedOptions extends QkvPacked, Rotation {}

/**
 * `rope` of one projection that holds queries, keys and values side by side, for ops that take the three apart, as a cache does. The gradients
 * come back side by side. `attentionQkvPacked` rotates by itself.
 *
 * @returns rotated q [tokens, heads * headDim] and k [tokens, kvHeads * headDim], and v [tokens, kvHeads * headDim] as it is; of qkv's dtype
 * @throws ShapeError, DTypeError when the inputs do not fit
 */
export function ropeQkvPacked(options: RopeQkvPackedOptions): { q: Tensor; k: Tensor; v: Tensor } {
  const { qkv, heads, kvHeads, headDim } = options
  checkQkv('ropeQkvPacked', options)
  const tokens = qkv.dim(0)
  checkRotation('ropeQkvPacked', options, tokens, headDim)
  const { device, dtype } = qkv
  const rotation = { ...options, device, dtype }
  const make = (count: number) => device.empty([tokens, count * headDim], dtype)
  const [q, k, v] = [make(heads), make(kvHeads), make(kvHeads)]
  const from = partsOf(options)
  rotate(rotation, from, { q: rowsOf(q, headDim), k: rowsOf(k, headDim) }, 1)
  copyValues(qkv, tokens, headDim, from.v, rowsOf(v, headDim))
  if (recording(qkv))
    device.tape!.record({
      name: 'ropeQkvPacked',
      inputs: [qkv],
      outputs: [q, k, v],
      backward: ([dq = null, dk = null, dv = null]) => {
        const dqkv = dq && dk && dv ? device.empty(qkv.shape, dtype) : device.zeros(qkv.shape, dtype)
        const to = partsOf({ ...options, qkv: dqkv })
        rotate(rotation, { q: rowsOf(dq, headDim), k: rowsOf(dk, headDim) }, to, -1)
        if (dv) copyValues(dqkv, tokens, headDim, rowsOf(dv, headDim), to.v)
        return [dqkv]
      },
    })
  return { q, k, v }
}

/** What `rotate` needs besides the heads. */
interface Rotating extends Rotation {
  device: Device
  dtype: DType
  headDim: number
}

/**
 * Turns queries and keys, forth or back, into others, which may be where they are.
 * @internal
 */
export function rotate(
  { device, dtype, positions, table, headDim }: Rotating,
  from: Record<'q' | 'k', Heads>,
  to: Record<'q' | 'k', Heads>,
  direction: 1 | -1,
): void {
  device.launch('rope', {
    q: from.q.address,
    k: from.k.address,
    qOut: to.q.address,
    kOut: to.k.address,
    positions,
    table,
    tokens: positions.size,
    heads: from.q.heads,
    kvHeads: from.k.heads,
    headDim,
    maxPosition: table.dim(0),
    qStride: from.q.stride,
    kStride: from.k.stride,
    qOutStride: to.q.stride,
    kOutStride: to.k.stride,
    dtype: dtypeCode(dtype),
    direction,
  })
}

/** Copies the values of tokens as they are. */
function copyValues(x: Tensor, tokens: number, headDim: number, from: Heads, to: Heads): void {
  const dtype = dtypeCode(x.dtype)
  const strides = { xStride: from.stride, yStride: to.stride, xDtype: dtype, dtype }
  x.device.launch('copy', { x: from.address, y: to.address, rows: tokens, cols: from.heads * headDim, ...strides })
}

function check({ q, k, positions, table, headDim }: RopeOptions): void {
  if (q.dtype === 'int32' || k.dtype !== q.dtype)
    throw new DTypeError(`rope: q is ${q.dtype} and k is ${k.dtype}; both must be float32 or both bfloat16`)
  checkRotation('rope', { positions, table }, positions.size, headDim)
  for (const [name, x] of Object.entries({ q, k }))
    if (x.dim(0) !== positions.size || (x.size / Math.max(1, x.dim(0))) % headDim !== 0)
      throw new ShapeError(
        `rope: ${name} is ${shapeText(x.shape)} with ${positions.size} positions and headDim ${headDim}; it must be [${positions.size}, heads * ${headDim}]`,
      )
}

/** @throws DTypeError, ShapeError when the rotation is not one of so many tokens and such heads @internal */
export function checkRotation(op: string, { positions, table }: Rotation, tokens: number, headDim: number): void {
  if (positions.dtype !== 'int32' || table.dtype !== 'float32')
    throw new DTypeError(
      `${op}: positions are ${positions.dtype} and the table is ${table.dtype}; they must be int32 and float32`,
    )
  if (positions.size !== tokens)
    throw new ShapeError(`${op}: there are ${positions.size} positions for ${tokens} tokens; give one for each`)
  if (table.shape.length !== 2 || table.dim(1) !== headDim || headDim % 2 !== 0)
    throw new ShapeError(
      `${op}: the table is ${shapeText(table.shape)} but headDim is ${headDim}; make it with ropeTable for this headDim`,
    )
}
