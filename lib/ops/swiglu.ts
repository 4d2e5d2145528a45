import type { Tensor } from '../tensor/tensor.js'
import { gatedUnit, gatedUnitPacked } from './gatedUnit.js'

/**
 * SwiGLU: y = silu(gate) * up, silu(x) = x * sigmoid(x) (arXiv 2002.05202).
 *
 * @param gate [..., intermediateSize]
 * @param up as gate, of its shape and dtype
 * @returns y of the same shape and dtype
 * @throws ShapeError or DTypeError when gate and up are not alike
 */
export function swiglu(gate: Tensor, up: Tensor): Tensor {
  return gatedUnit('swiglu', gate, up)
}

/**
 * SwiGLU of one projection that holds both operands side by side: y = silu(x[..., :n]) * x[..., n:].
 *
 * @param gateUp [..., 2 n]
 * @returns y [..., n], of the same dtype
 * @throws ShapeError when the last dimension is odd
 */
export function swigluPacked(gateUp: Tensor): Tensor {
  return gatedUnitPacked('swiglu', gateUp)
}
