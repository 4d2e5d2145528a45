import { ShapeError } from '../errors.js'
import { gradOf, needsGrad, recording } from '../tensor/tape.js'
import { dtypeCode, type FloatDType, shapeText, type Tensor } from '../tensor/tensor.js'
import { cast } from './elementwise.js'

/**
 * Root-mean-square norm over the last dimension: y = x / sqrt(mean(x^2) + eps) * weight.
 *
 * @param x [..., hiddenSize], float32 or bfloat16
 * @param weight [hiddenSize], float32 or bfloat16
 * @param options.dtype of y; default: x's
 * @returns y of x's shape
 * @throws ShapeError when weight does not match the last dimension
 */
export function rmsNorm(x: Tensor, weight: Tensor, eps: number, options: { dtype?: FloatDType } = {}): Tensor {
  return run('rmsNorm', null, x, weight, eps, options.dtype ?? (x.dtype as FloatDType)).y
}

/**
 * The residual addition and the norm after it in one pass: sum = x + residual, y = rmsNorm(sum).
 *
 * @param x [..., hiddenSize]
 * @param residual of x's shape; it may be float32 where x is bfloat16, which keeps the sum over many layers exact
 * @returns sum, of residual's dtype, and y, of x's, both of their shape
 * @throws ShapeError when the shapes differ
 */
export function addRmsNorm(x: Tensor, residual: Tensor, weight: Tensor, eps: number): { y: Tensor; sum: Tensor } {
  if (shapeText(x.shape) !== shapeText(residual.shape))
    throw new ShapeError(
      `addRmsNorm: x is ${x.dtype} ${shapeText(x.shape)} but residual is ${residual.dtype} ${shapeText(residual.shape)}; they must be alike`,
    )
  const { y, sum } = run('addRmsNorm', x, residual, weight, eps, x.dtype as FloatDType)
  return { y, sum: sum! }
}

/**
 * As `rmsNorm`, over every head by itself: the norm of queries and keys (Henry et al. 2020, arXiv 2010.04245; as Qwen3 has it).
 *
 * @param x [tokens, heads * headDim], float32 or bfloat16
 * @param weight [headDim], the same for all heads
 * @returns y of x's shape and dtype
 * @throws ShapeError when x's last dimension is no multiple of weight
 */
export function headRmsNorm(x: Tensor, weight: Tensor, eps: number): Tensor {
  const headDim = weight.size
  if (weight.shape.length !== 1 || headDim === 0 || x.dim(-1) % headDim !== 0)
    throw new ShapeError(
      `headRmsNorm: x is ${shapeText(x.shape)} but weight is ${shapeText(weight.shape)}; the last dimension of x must be heads * weight`,
    )
  return run('headRmsNorm', null, x, weight, eps, x.dtype as FloatDType, headDim).y
}

/** `stream` is what runs through the model, `x` what a branch adds to it; `dtype` that of x and y. */
function run(
  name: string,
  x: Tensor | null,
  stream: Tensor,
  weight: Tensor,
  eps: number,
  dtype: FloatDType,
  cols = stream.dim(-1),
) {
  const { device, shape } = stream
  const streamDtype = stream.dtype as FloatDType
  const rows = cols === 0 ? 0 : stream.size / cols
  if (weight.shape.length !== 1 || weight.size !== cols)
    throw new ShapeError(
      `${name}: x is ${shapeText(shape)} but weight is ${shapeText(weight.shape)}; weight must be [${cols}]`,
    )
  const record = recording(x, stream, weight)
  const y = device.empty(shape, dtype)
  const sum = x ? device.empty(shape, streamDtype) : null
  const rstd = record ? device.empty([rows]) : null
  const dtypes = { streamDtype: dtypeCode(streamDtype), dtype: dtypeCode(dtype), weightDtype: dtypeCode(weight.dtype) }
  device.launch('rmsNorm', { stream, x, weight, y, sum, rstd, rows, cols, ...dtypes, eps })
  if (record) {
    const h = sum ?? stream
    device.tape!.record({
      name,
      inputs: [x, stream, weight],
      outputs: sum ? [y, sum] : [y],
      saved: [rstd],
      backward: ([dy, dsum = null]) => {
        if (!dy) return [dsum && streamDtype !== dtype ? cast(dsum, dtype) : dsum, dsum, null]
        const dh = device.empty(shape, streamDtype)
        const dx = x && streamDtype !== dtype ? device.empty(shape, dtype) : null
        const dweight = needsGrad(weight) ? gradOf(weight) : null
        device.launch('rmsNormBackward', { dy, dsum, h, weight, rstd, dh, dx, dweight, rows, cols, ...dtypes })
        return [dx ?? dh, dh, null]
      },
    })
  }
  return { y, sum }
}
