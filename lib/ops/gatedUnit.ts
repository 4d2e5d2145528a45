import { ShapeError } from '../errors.js'
import { recording } from '../tensor/tape.js'
import { dtypeBytes, type Tensor } from '../tensor/tensor.js'
import { checkAlike, floatCode } from './check.js'

/** The kernels of this shape: y = activation(gate) * up. */
type GatedUnit = 'swiglu' | 'geglu'

/** gate and up apart. */
export function gatedUnit(kernel: GatedUnit, gate: Tensor, up: Tensor): Tensor {
  checkAlike(kernel, 'gate', gate, 'up', up)
  const dtype = floatCode(kernel, 'gate', gate)
  const { device } = gate
  const cols = gate.dim(-1)
  const shape = { rows: cols === 0 ? 0 : gate.size / cols, cols, gateStride: cols, upStride: cols, dtype }
  const y = device.empty(gate.shape, gate.dtype)
  device.launch(kernel, { gate, up, y, yStride: cols, ...shape })
  if (recording(gate, up))
    device.tape!.record({
      name: kernel,
      inputs: [gate, up],
      outputs: [y],
      backward: ([dy]) => {
        if (!dy) return [null, null]
        const dgate = device.empty(gate.shape, gate.dtype)
        const dup = device.empty(up.shape, up.dtype)
        device.launch(`${kernel}Backward`, {
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

/** gate and up side by side, [..., 2 n] -> [..., n]. */
export function gatedUnitPacked(kernel: GatedUnit, gateUp: Tensor): Tensor {
  const name = `${kernel}Packed`
  const dtype = floatCode(name, 'gateUp', gateUp)
  const { device } = gateUp
  const stride = gateUp.dim(-1)
  if (stride % 2 !== 0)
    throw new ShapeError(`${name}: the last dimension is ${stride}; it holds gate and up side by side, so make it even`)
  const cols = stride / 2
  const shape = { rows: cols === 0 ? 0 : gateUp.size / stride, cols, gateStride: stride, upStride: stride, dtype }
  const half = cols * dtypeBytes(gateUp.dtype)
  const y = device.empty([...gateUp.shape.slice(0, -1), cols], gateUp.dtype)
  device.launch(kernel, { gate: gateUp, up: gateUp.address + half, y, yStride: cols, ...shape })
  if (recording(gateUp))
    device.tape!.record({
      name: name,
      inputs: [gateUp],
      outputs: [y],
      backward: ([dy]) => {
        if (!dy) return [null]
        gateUp.assertLive()
        const dx = device.empty(gateUp.shape, gateUp.dtype)
        const [up, dup] = [gateUp.address + half, dx.address + half]
        device.launch(`${kernel}Backward`, {
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
