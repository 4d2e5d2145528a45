import { ShapeError } from '../errors.js'
import { type FloatDType, shapeText, type Tensor } from '../tensor/tensor.js'
import { residualNorm } from './residualNorm.js'

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
  const dtype = options.dtype ?? (x.dtype as FloatDType)
  return residualNorm('rmsNorm', { kernel: 'rmsNorm', x: null, stream: x, weight, eps, dtype }).y
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
  const dtype = x.dtype as FloatDType
  const { y, sum } = residualNorm('addRmsNorm', { kernel: 'rmsNorm', x, stream: residual, weight, eps, dtype })
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
  const dtype = x.dtype as FloatDType
  return residualNorm('headRmsNorm', { kernel: 'rmsNorm', x: null, stream: x, weight, eps, dtype, cols: headDim }).y
}
