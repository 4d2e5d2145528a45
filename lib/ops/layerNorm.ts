import { ShapeError } from '../errors.js'
import { gradOf, needsGrad, recording } from '../tensor/tape.js'
import { dtypeCode, type FloatDType, shapeText, type Tensor } from '../tensor/tensor.js'
import { cast } from './elementwise.js'

/** Bias of a layer norm. */
interface BiasOption {
  /** [hiddenSize], of weight's dtype; absent: none. */
  bias?: Tensor | null
}

/**
 * Layer norm over the last dimension: y = (x - mean(x)) / sqrt(var(x) + eps) * weight + bias (Ba et al. 2016, arXiv 1607.06450).
 *
 * @param x [..., hiddenSize], float32 or bfloat16
 * @param weight [hiddenSize], float32 or bfloat16
 * @param options.dtype of y; default: x's
 * @returns y of x's shape
 * @throws ShapeError when weight or bias does not match the last dimension
 */
export function layerNorm(
  x: Tensor,
  weight: Tensor,
  eps: number,
  options: BiasOption & { dtype?: FloatDType } = {},
): Tensor {
  return run('layerNorm', null, x, weight, eps, options.bias ?? null, options.dtype ?? (x.dtype as FloatDType)).y
}

/**
 * The residual addition and the norm after it in one pass: sum = x + residual, y = layerNorm(sum).
 *
 * @param x [..., hiddenSize]
 * @param residual of x's shape; it may be float32 where x is bfloat16, which keeps the sum over many layers exact
 * @returns sum, of residual's dtype, and y, of x's, both of their shape
 * @throws ShapeError when the shapes differ
 */
export function addLayerNorm(
  x: Tensor,
  residual: Tensor,
  weight: Tensor,
  eps: number,
  options: BiasOption = {},
): { y: Tensor; sum: Tensor } {
  if (shapeText(x.shape) !== shapeText(residual.shape))
    throw new ShapeError(
      `addLayerNorm: x is ${x.dtype} ${shapeText(x.shape)} but residual is ${residual.dtype} ${shapeText(residual.shape)}; they must be alike`,
    )
  const { y, sum } = run('addLayerNorm', x, residual, weight, eps, options.bias ?? null, x.dtype as FloatDType)
  return { y, sum: sum! }
}

/** `stream` is what runs through the model, `x` what a branch adds to it; `dtype` that of x and y. */
function run(
  name: string,
  x: Tensor | null,
  stream: Tensor,
  weight: Tensor,
  eps: number,
  bias: Tensor | null,
  dtype: FloatDType,
) {
  const { device, shape } = stream
  const streamDtype = stream.dtype as FloatDType
  const cols = stream.dim(-1)
  const rows = cols === 0 ? 0 : stream.size / cols
  for (const [what, t] of Object.entries({ weight, bias }))
    if (t && (t.shape.length !== 1 || t.size !== cols || t.dtype !== weight.dtype))
      throw new ShapeError(
        `${name}: x is ${shapeText(shape)} but ${what} is ${t.dtype} ${shapeText(t.shape)}; it must be ${weight.dtype} [${cols}]`,
      )
  const record = recording(x, stream, weight, bias)
  const y = device.empty(shape, dtype)
  const sum = x ? device.empty(shape, streamDtype) : null
  const [mean, rstd] = record ? [device.empty([rows]), device.empty([rows])] : [null, null]
  const dtypes = { streamDtype: dtypeCode(streamDtype), dtype: dtypeCode(dtype), weightDtype: dtypeCode(weight.dtype) }
  device.launch('layerNorm', { stream, x, weight, bias, y, sum, mean, rstd, rows, cols, ...dtypes, eps })
  if (record) {
    const h = sum ?? stream
    device.tape!.record({
      name,
      inputs: [x, stream, weight, bias],
      outputs: sum ? [y, sum] : [y],
      saved: [mean, rstd],
      backward: ([dy, dsum = null]) => {
        if (!dy) return [dsum && streamDtype !== dtype ? cast(dsum, dtype) : dsum, dsum, null, null]
        const dh = device.empty(shape, streamDtype)
        const dx = x && streamDtype !== dtype ? device.empty(shape, dtype) : null
        const dweight = needsGrad(weight) ? gradOf(weight) : null
        const dbias = bias && needsGrad(bias) ? gradOf(bias) : null
        const inputs = { dy, dsum, h, weight, mean, rstd }
        device.launch('layerNormBackward', { ...inputs, dh, dx, dweight, dbias, rows, cols, ...dtypes })
        return [dx ?? dh, dh, null, null]
      },
    })
  }
  return { y, sum }
}
