import type { FloatDType, Tensor } from '../tensor/tensor.js'
import { residualNorm } from './residualNorm.js'

/**
 * Layer norm over the last dimension: y = (x - mean) / sqrt(variance + eps) * weight + bias (arXiv 1607.06450), the variance that of the row
 * itself: divided by hiddenSize.
 *
 * @param x [..., hiddenSize], float32 or bfloat16
 * @param weight [hiddenSize], float32 or bfloat16
 * @param options.bias [hiddenSize], of weight's dtype; default: none
 * @param options.dtype of y; default: x's
 * @returns y of x's shape
 * @throws ShapeError when weight or bias does not match the last dimension; DTypeError when they are not of one dtype
 */
export function layerNorm(
  x: Tensor,
  weight: Tensor,
  eps: number,
  options: { bias?: Tensor | null; dtype?: FloatDType } = {},
): Tensor {
  const { bias = null, dtype = x.dtype as FloatDType } = options
  return residualNorm('layerNorm', { kernel: 'layerNorm', x: null, stream: x, weight, bias, eps, dtype }).y
}

/**
 * The residual addition and the norm after it in one pass: sum = x + residual, y = layerNorm(sum).
 *
 * @param x [..., hiddenSize]
 * @param residual of x's shape; it may be float32 where x is bfloat16, which keeps the sum over many layers exact
 * @param options.bias [hiddenSize], of weight's dtype; default: none
 * @returns sum, of residual's dtype, and y, of x's, both of their shape
 * @throws ShapeError when the shapes differ; DTypeError when weight and bias are not of one dtype
 */
export function addLayerNorm(
  x: Tensor,
  residual: Tensor,
  weight: Tensor,
  eps: number,
  { bias = null }: { bias?: Tensor | null } = {},
): { y: Tensor; sum: Tensor } {
  const dtype = x.dtype as FloatDType
  const { y, sum } = residualNorm('addLayerNorm', {
    kernel: 'layerNorm',
    x,
    stream: residual,
    weight,
    bias,
    eps,
    dtype,
  })
  return { y, sum: sum! }
}
