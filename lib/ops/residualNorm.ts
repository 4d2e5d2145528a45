import { DTypeError, ShapeError } from '../errors.js'
import { gradOf, needsGrad, recording } from '../tensor/tape.js'
import { dtypeCode, type FloatDType, shapeText, type Tensor } from '../tensor/tensor.js'
import { cast } from './elementwise.js'

/** What `residualNorm` takes. @internal */
export interface ResidualNorm {
  kernel: 'rmsNorm' | 'layerNorm'
  /** What a branch adds to the stream, of `dtype`; null: nothing. */
  x: Tensor | null
  /** What runs through the model: [..., hiddenSize]. */
  stream: Tensor
  /** [hiddenSize] */
  weight: Tensor
  /** [hiddenSize], of weight's dtype; layerNorm alone takes one. */
  bias?: Tensor | null
  eps: number
  /** Of y, and of x. */
  dtype: FloatDType
  /** Elements that are normalised together, by a weight of as many; default: hiddenSize. */
  cols?: number
}

/** What the norms share: sum = stream + x, y = norm(sum), and their gradients. `sum` is null where x is. @internal */
export function residualNorm(name: string, norm: ResidualNorm): { y: Tensor; sum: Tensor | null } {
  const { kernel, x, stream, weight, bias = null, eps, dtype, cols = stream.dim(-1) } = norm
  check(name, norm, cols)
  const { device, shape } = stream
  const streamDtype = stream.dtype as FloatDType
  const rows = cols === 0 ? 0 : stream.size / cols
  const record = recording(x, stream, weight, bias)
  const y = device.empty(shape, dtype)
  const sum = x ? device.empty(shape, streamDtype) : null
  const rstd = record ? device.empty([rows]) : null
  const mean = record && kernel === 'layerNorm' ? device.empty([rows, 2]) : null
  const dtypes = { streamDtype: dtypeCode(streamDtype), dtype: dtypeCode(dtype), weightDtype: dtypeCode(weight.dtype) }
  const ofLayerNorm = (fields: Record<string, Tensor | null>) => (kernel === 'layerNorm' ? { mean, ...fields } : {})
  device.launch(kernel, { stream, x, weight, y, sum, rstd, rows, cols, ...dtypes, eps, ...ofLayerNorm({ bias }) })
  if (record) {
    const h = sum ?? stream
    device.tape!.record({
      name,
      inputs: [x, stream, weight, bias],
      outputs: sum ? [y, sum] : [y],
      saved: [rstd, mean],
      backward: ([dy, dsum = null]) => {
        if (!dy) return [dsum && streamDtype !== dtype ? cast(dsum, dtype) : dsum, dsum, null, null]
        const dh = device.empty(shape, streamDtype)
        const dx = x && streamDtype !== dtype ? device.empty(shape, dtype) : null
        const [dweight, dbias] = [weight, bias].map((t) => (needsGrad(t) ? gradOf(t) : null))
        const gradients = { dh, dx, dweight: dweight!, ...ofLayerNorm({ dbias: dbias! }) }
        device.launch(`${kernel}Backward`, { dy, dsum, h, weight, rstd, ...gradients, rows, cols, ...dtypes })
        return [dx ?? dh, dh, null, null]
      },
    })
  }
  return { y, sum }
}

function check(name: string, { x, stream, weight, bias }: ResidualNorm, cols: number): void {
  if (x && shapeText(x.shape) !== shapeText(stream.shape))
    throw new ShapeError(
      `${name}: x is ${x.dtype} ${shapeText(x.shape)} but residual is ${stream.dtype} ${shapeText(stream.shape)}; they must be alike`,
    )
  checkVector(name, stream, 'weight', weight, cols)
  if (!bias) return
  checkVector(name, stream, 'bias', bias, cols)
  if (bias.dtype !== weight.dtype)
    throw new DTypeError(`${name}: weight is ${weight.dtype} but bias is ${bias.dtype}; cast one of them`)
}

function checkVector(name: string, stream: Tensor, of: string, t: Tensor, cols: number): void {
  if (t.shape.length !== 1 || t.size !== cols)
    throw new ShapeError(
      `${name}: x is ${shapeText(stream.shape)} but ${of} is ${shapeText(t.shape)}; ${of} must be [${cols}]`,
    )
}
