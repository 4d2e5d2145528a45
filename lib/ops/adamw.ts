import { ArgumentError, DTypeError, ShapeError } from '../errors.js'
import type { Device } from '../tensor/device.js'
import type { Tensor } from '../tensor/tensor.js'
import { shapeText } from '../tensor/tensor.js'

/** One parameter and what belongs to it, all of one shape. */
export interface ParameterEntry {
  /** Master weights, float32. */
  parameter: Tensor
  /** Gradient, float32. */
  grad: Tensor
  /** Running mean of the gradients, float32. */
  m: Tensor
  /** Running mean of their squares, float32. */
  v: Tensor
  /** Where the updated parameter is also written as bfloat16, for the model to read. */
  copy?: Tensor | null
  /** Whether weight decay applies; default true. */
  decay?: boolean
}

/**
 * Addresses and sizes of many parameters in device memory: what `adamw` and `gradNorm` run over in one launch. It keeps the tensors
 * reachable; they must not be disposed of before it.
 */
export interface ParameterTable {
  readonly device: Device
  readonly entries: readonly ParameterEntry[]
  /** int32 view of the packed 64-bit rows. @internal */
  readonly rows: Tensor
  /** Gives back the table's own memory, not the tensors. */
  dispose(): void
}

/** Fields of a row, 8 bytes each: parameter, grad, m, v, copy, count, decay (native/kernels/common/parameterTable.h). */
const FIELDS = 7

/**
 * Packs a table.
 * @throws ShapeError when the tensors of an entry differ in shape or there is no entry; DTypeError for a wrong dtype
 */
export function parameterTable(entries: readonly ParameterEntry[]): ParameterTable {
  const device = entries[0]?.parameter.device
  if (!device) throw new ShapeError('parameterTable: there are no parameters; give at least one')
  const packed = new DataView(new ArrayBuffer(entries.length * FIELDS * 8))
  entries.forEach((entry, index) => {
    checkEntry(entry, index)
    const { parameter, grad, m, v, copy, decay = true } = entry
    const fields = [
      parameter.address,
      grad.address,
      m.address,
      v.address,
      copy?.address ?? 0,
      parameter.size,
      decay ? 1 : 0,
    ]
    fields.forEach((value, k) => {
      packed.setBigInt64((index * FIELDS + k) * 8, BigInt(value), true)
    })
  })
  const rows = device.tensor(new Int32Array(packed.buffer), [entries.length, FIELDS * 2], 'int32')
  return { device, entries, rows, dispose: () => rows.dispose() }
}

function checkEntry({ parameter, grad, m, v, copy }: ParameterEntry, index: number): void {
  for (const [name, t, dtype] of [
    ['parameter', parameter, 'float32'],
    ['grad', grad, 'float32'],
    ['m', m, 'float32'],
    ['v', v, 'float32'],
    ['copy', copy, 'bfloat16'],
  ] as const) {
    if (!t) continue
    t.assertLive()
    if (t.dtype !== dtype)
      throw new DTypeError(`parameterTable: ${name} of entry ${index} is ${t.dtype}; it must be ${dtype}`)
    if (shapeText(t.shape) !== shapeText(parameter.shape))
      throw new ShapeError(
        `parameterTable: entry ${index} has a parameter ${shapeText(parameter.shape)} but ${name} is ${shapeText(t.shape)}; they must have the same shape`,
      )
  }
}

/** One AdamW update. */
export interface AdamWStep {
  learningRate: number
  betas: readonly [number, number]
  eps: number
  /** Decoupled: parameters shrink by learningRate * weightDecay, whatever the gradient. */
  weightDecay: number
  /** Number of this update, 1 for the first (bias correction). */
  step: number
  /** Global gradient norm, float32 [1], from `gradNorm`; null: neither clipping nor the check for non-finite gradients. */
  norm?: Tensor | null
  /** Gradients are scaled down to this global norm; 0, undefined or Infinity: never. Needs `norm`. */
  maxGradNorm?: number
  /** Set gradients to zero once they are used; default false. */
  zeroGrad?: boolean
}

/**
 * AdamW (Loshchilov & Hutter, arXiv 1711.05101; bias correction and epsilon as PyTorch) over a whole table in one launch and one pass over
 * memory. When `norm` is not finite, parameters, moments and gradients stay as they were, so that the cause can be found.
 * @throws ShapeError when norm is not float32 [1]; ArgumentError for a step below 1, or a maxGradNorm without norm
 */
export function adamw(table: ParameterTable, options: AdamWStep): void {
  const { learningRate, betas, eps, weightDecay, step, norm = null, maxGradNorm = 0, zeroGrad = false } = options
  if (!Number.isInteger(step) || step < 1) throw new ArgumentError(`adamw: step is ${step}; count updates from 1`)
  if (norm && (norm.size !== 1 || norm.dtype !== 'float32'))
    throw new ShapeError(
      `adamw: norm is ${norm.dtype} ${shapeText(norm.shape)}; give the float32 [1] that gradNorm returned`,
    )
  if (!norm && maxGradNorm > 0 && maxGradNorm < Infinity)
    throw new ArgumentError(
      `adamw: maxGradNorm is ${maxGradNorm} but norm is missing; pass what gradNorm(table) returned`,
    )
  table.device.launch('adamw', {
    table: table.rows,
    norm,
    tensors: table.entries.length,
    step,
    zeroGrad: zeroGrad ? 1 : 0,
    learningRate,
    beta1: betas[0],
    beta2: betas[1],
    eps,
    weightDecay,
    maxNorm: maxGradNorm,
  })
}
