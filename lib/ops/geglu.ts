import type { Tensor } from '../tensor/tensor.js'
import { gatedUnit, gatedUnitPacked } from './gatedUnit.js'

/**
 * GeGLU: y = gelu(gate) * up, gelu(x) = x (1 + erf(x / sqrt(2))) / 2, exact (arXiv 2002.05202).
 *
 * @param gate [..., intermediateSize]
 * @param up as gate, of its shape and dtype
 * @returns y of the same shape and dtype
 * @throws ShapeError or DTypeError when gate and up are not alike
 */
export function geglu(gate: Tensor, up: Tensor): Tensor {
  return gatedUnit('geglu', gate, up)
}

/**
 * GeGLU of one projection that holds both operands side by side: y = gelu(x[..., :n]) * x[..., n:].
 *
 * @param gateUp [..., 2 n]
 * @returns y [..., n], of the same dtype
 * @throws ShapeError when the last dimension is odd
 */
export function gegluPacked(gateUp: Tensor): Tensor {
  return gatedUnitPacked('geglu', gateUp)
}
