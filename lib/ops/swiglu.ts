import { ShapeError } from '../errors.js'
import { recording } from '../tensor/tape.js'
import { dtypeBytes, type Tensor } from '../tensor/tensor.js'
import { checkAlike, floatCode } from './check.js'

/**
 * SwiGLU: y = silu(gate) * up, silu(x) = x * sigmoid(x) (arXiv 2002.05202).
 *
 * @param gate [..., intermediateSize]
 * @param up as gate, of its shape and dtype
 * @returns y of the same shape and dtype
 * @throws ShapeError or DTypeError when gate and up are not alike
 */
export function swiglu(gate: Tensor, up: Tensor): Tensor {
  checkAlike('swiglu', 'gate', gate, 'up', up)
  const dtype = floatCode('swiglu', 'gate', gate)
  const { device } = gate
  const cols = gate.dim(-1)
  const shape = { rows: cols === 0 ? 0 : gate.size / cols, cols, gateStride: cols, upStride: cols, dtype }
  const y = device.empty(gate.shape, gate.dtype)
  device.launch('swiglu', { gate, up, y, yStride: cols, ...shape })
  if (recording(gate, up))
    device.tape!.record({
      name: 'swiglu',
      inputs: [gate, up],
      outputs: [y],
      backward: ([dy]) => {
        if (!dy) return [null, null]
        const dgate = device.empty(gate.shape, gate.dtype)
        const dup = device.empty(up.shape, up.dtype)
        device.launch('swigluBackward', {
          dy,
          gate,
          up,
          dgate,
          dup,
          dyStride: cols,
          dgateStride: cols,
          dupStride: cols,
          ...shape,
        })
        return [dgate, dup]
      },
    })
  return y
}

/**
 * SwiGLU of one projection that holds both operands side by side: y = silu(x[..., :n]) * x[..., n:].
 *
 * @param gateUp [..., 2 n]
 * @returns y [..., n], of the same dtype
 * @throws ShapeError when the last dimension is odd
 */
export function swigluPacked(gateUp: Tensor): Tensor {
  const dtype = floatCode('swigluPacked', 'gateUp', gateUp)
  const { device } = gateUp
  const stride = gateUp.dim(-1)
  if (stride % 2 !== 0)
    throw new ShapeError(
      `swigluPacked: the last dimension is ${stride}; it holds gate and up side by side, so make it even`,
    )
  const cols = stride / 2
  const shape = { rows: cols === 0 ? 0 : gateUp.size / stride, cols, gateStride: stride, upStride: stride, dtype }
  const half = cols * dtypeBytes(gateUp.dtype)
  const y = device.empty([...gateUp.shape.slice(0, -1), cols], gateUp.dtype)
  device.launch('swiglu', { gate: gateUp, up: gateUp.address + half, y, yStride: cols, ...shape })
  if (recording(gateUp))
    device.tape!.record({
      name: 'swigluPacked',
      inputs: [gateUp],
      outputs: [y],
      backward: ([dy]) => {
        if (!dy) return [null]
        gateUp.assertLive()
        const dx = device.empty(gateUp.shape, gateUp.dtype)
        const [up, dup] = [gateUp.address + half, dx.address + half]
        device.launch('swigluBackward', {
          dy,
          gate: gateUp,
          up,
          dgate: dx,
          dup,
          dyStride: cols,
          dgateStride: stride,
          dupStride: stride,
          ...shape,
        })
        return [dx]
      },
    })
  return y
}
