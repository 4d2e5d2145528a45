import { ShapeError } from '../errors.js'
import { gradOf, needsGrad, recording } from '../tensor/tape.js'
import { dtypeCode, shapeText, type Tensor } from '../tensor/tensor.js'

/**
 * Root-mean-square norm over the last dimension: y = x / sqrt(mean(x^2) + eps) * weight.
 *
 * @param x [..., hiddenSize], float32 or bfloat16
 * @param weight [hiddenSize], float32 or bfloat16
 * @returns y of x's shape and dtype
 * @throws ShapeError when weight does not match the last dimension
 */
export function rmsNorm(x: Tensor, weight: Tensor, eps: number): Tensor {
  return run('rmsNorm', x, null, weight, eps).y
}

/**
 * The residual addition and the norm after it in one pass: sum = x + residual, y = rmsNorm(sum).
 *
 * @param x [..., hiddenSize]
 * @param residual as x, of its shape and dtype
 * @returns sum and y, of x's shape and dtype
 * @throws ShapeError when the shapes differ
 */
export function addRmsNorm(x: Tensor, residual: Tensor, weight: Tensor, eps: number): { y: Tensor; sum: Tensor } {
  if (shapeText(x.shape) !== shapeText(residual.shape) || x.dtype !== residual.dtype)
    throw new ShapeError(
      `addRmsNorm: x is ${x.dtype} ${shapeText(x.shape)} but residual is ${residual.dtype} ${shapeText(residual.shape)}; they must be alike`,
    )
  const { y, sum } = run('addRmsNorm', x, residual, weight, eps)
  return { y, sum: sum! }
}

function run(name: string, x: Tensor, residual: Tensor | null, weight: Tensor, eps: number) {
  const { device, dtype } = x
  const cols = x.dim(-1)
  const rows = cols === 0 ? 0 : x.size / cols
  if (weight.shape.length !== 1 || weight.size !== cols)
    throw new ShapeError(
      `${name}: x is ${shapeText(x.shape)} but weight is ${shapeText(weight.shape)}; weight must be [${cols}]`,
    )
  const record = recording(x, residual, weight)
  const y = device.empty(x.shape, dtype)
  const sum = residual ? device.empty(x.shape, dtype) : null
  const rstd = record ? device.empty([rows]) : null
  const common = { rows, cols, dtype: dtypeCode(dtype), weightDtype: dtypeCode(weight.dtype) }
  device.launch('rmsNorm', { x, residual, weight, y, sum, rstd, ...common, eps })
  if (record) {
    const h = sum ?? x
    device.tape!.record({
      name,
      inputs: [x, residual, weight],
      outputs: sum ? [y, sum] : [y],
      saved: [rstd],
      backward: ([dy, dsum = null]) => {
        if (!dy) return [dsum, dsum, null]
        const dh = device.empty(x.shape, dtype)
        const dweight = needsGrad(weight) ? gradOf(weight) : null
        device.launch('rmsNormBackward', { dy, dsum, h, weight, rstd, dh, dweight, ...common })
        return [dh, residual ? dh : null, null]
      },
    })
  }
  return { y, sum }
}
