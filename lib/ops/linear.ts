import { DTypeError, ShapeError } from '../errors.js'
import { gradOf, needsGrad, recording } from '../tensor/tape.js'
import { type DType, dtypeCode, shapeText, type Tensor } from '../tensor/tensor.js'

/** What may be applied to the product before the residual: z * sigmoid(z), or z * Phi(z) with the exact normal distribution function. */
export type Activation = 'silu' | 'gelu'

/** What is fused into a linear layer. */
export interface LinearOptions {
  /** [out], added to every row. */
  bias?: Tensor | null
  /** [..., out] of the result's dtype, added after the activation. */
  residual?: Tensor | null
  /** Applied to x W^T + bias. While a tape records, what it is applied to is kept until the backward has run. */
  activation?: Activation | null
  /** dtype of the result; default x's. float32 logits of a bfloat16 model are the use. */
  dtype?: 'float32' | 'bfloat16'
}

const ACTIVATIONS = { silu: 1, gelu: 2 } as const

/**
 * Linear layer: y = activation(x W^T + bias) + residual, in one pass. Sums are float32; any mix of float32 and bfloat16 is allowed, so that
 * float32 activations run over the bfloat16 weights of a mapped checkpoint.
 *
 * Gradients: of x in x's dtype; of weight and bias added, in float32, into their `grad`; the residual's is y's own.
 *
 * @param x [..., in]
 * @param weight [out, in]
 * @returns y [..., out]
 * @throws ShapeError when the shapes do not fit; DTypeError for int32 inputs or a residual of another dtype than the result
 */
export function linear(x: Tensor, weight: Tensor, options: LinearOptions = {}): Tensor {
  const { bias = null, residual = null, activation = null } = options
  const shape = outputShape(x, weight, bias, residual)
  const dtype = outputDType(x, weight, bias, residual, options.dtype)
  const { device } = x
  const [n, k] = [weight.dim(0), weight.dim(1)]
  const m = shape.slice(0, -1).reduce((a, b) => a * b, 1)
  const record = recording(x, weight, bias, residual)
  const y = device.empty(shape, dtype)
  const z = record && activation ? device.empty(shape, dtype) : null
  const code = activation ? ACTIVATIONS[activation] : 0
  multiply({ a: x, b: weight, bias, residual, z, y, m, n, k, transposeB: 1, activation: code })
  if (record) {
    device.tape!.record({
      name: 'linear',
      inputs: [x, weight, bias, residual],
      outputs: [y],
      saved: [z],
      backward: ([dy]) => {
        if (!dy) return [null, null, null, null]
        const dz = z ? device.empty(shape, dy.dtype) : dy
        if (z)
          device.launch('activationBackward', { dy, z, dz, count: y.size, dtype: dtypeCode(dtype), activation: code })
        const dx = needsGrad(x) ? device.empty(x.shape, x.dtype) : null
        if (dx) multiply({ a: dz, b: weight, y: dx, m, n: k, k: n })
        if (needsGrad(weight)) {
          const dweight = gradOf(weight)
          multiply({ a: dz, b: x, residual: dweight, y: dweight, m: n, n: k, k: m, transposeA: 1 })
        }
        if (needsGrad(bias))
          device.launch('columnSum', { x: dz, sum: gradOf(bias), rows: m, cols: n, ldx: n, dtype: dtypeCode(dz.dtype) })
        if (z) dz.dispose()
        return [dx, null, null, needsGrad(residual) ? dy : null]
      },
    })
  }
  return y
}

interface Product {
  a: Tensor
  b: Tensor
  bias?: Tensor | null
  residual?: Tensor | null
  z?: Tensor | null
  y: Tensor
  m: number
  n: number
  k: number
  transposeA?: 0 | 1
  transposeB?: 0 | 1
  activation?: number
}

/** y [m, n] = activation(op(a) op(b) + bias) + residual of dense matrices; native/kernels/matmul.h tells the rest. */
function multiply(p: Product): void {
  const { a, b, bias = null, residual = null, z = null, y, m, n, k, transposeA = 0, transposeB = 0, activation = 0 } = p
  y.device.launch('matmul', {
    a,
    b,
    bias,
    residual,
    z,
    y,
    m,
    n,
    k,
    lda: transposeA ? m : k,
    ldb: transposeB ? k : n,
    ldResidual: n,
    ldy: n,
    transposeA,
    transposeB,
    aDtype: dtypeCode(a.dtype),
    bDtype: dtypeCode(b.dtype),
    biasDtype: bias ? dtypeCode(bias.dtype) : 0,
    yDtype: dtypeCode(y.dtype),
    activation,
  })
}

function outputShape(x: Tensor, weight: Tensor, bias: Tensor | null, residual: Tensor | null): readonly number[] {
  const [out, inner] = weight.shape
  if (weight.shape.length !== 2 || out === undefined)
    throw new ShapeError(`linear: weight is ${shapeText(weight.shape)}; it must have two dimensions, [out, in]`)
  if (x.shape.length === 0 || x.dim(-1) !== inner)
    throw new ShapeError(
      `linear: input is ${shapeText(x.shape)} but weight is ${shapeText(weight.shape)}; the last dimension of the input must be ${inner}`,
    )
  if (bias && (bias.shape.length !== 1 || bias.size !== out))
    throw new ShapeError(
      `linear: weight is ${shapeText(weight.shape)} but bias is ${shapeText(bias.shape)}; bias must be [${out}]`,
    )
  const shape = [...x.shape.slice(0, -1), out]
  if (residual && shapeText(residual.shape) !== shapeText(shape))
    throw new ShapeError(
      `linear: the output is ${shapeText(shape)} but residual is ${shapeText(residual.shape)}; they must be alike`,
    )
  return shape
}

function outputDType(x: Tensor, weight: Tensor, bias: Tensor | null, residual: Tensor | null, wanted?: DType): DType {
  for (const [name, t] of Object.entries({ input: x, weight, bias, residual }))
    if (t?.dtype === 'int32') throw new DTypeError(`linear: ${name} is int32; give float32 or bfloat16`)
  const dtype = wanted ?? x.dtype
  if (residual && residual.dtype !== dtype)
    throw new DTypeError(
      `linear: the output is ${dtype} but residual is ${residual.dtype}; give them one dtype (the option dtype sets the output's)`,
    )
  return dtype
}
