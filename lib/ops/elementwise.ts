import { DTypeError, ShapeError } from '../errors.js'
import { recording } from '../tensor/tape.js'
import { type DType, dtypeCode, shapeText, type Tensor } from '../tensor/tensor.js'
import { checkAlike, floatCode } from './check.js'

/**
 * Sets every element in place, now in stream order. An int32 tensor takes integers.
 * @throws DTypeError for a fraction, NaN or infinity in an int32 tensor
 */
export function fill(y: Tensor, value: number): Tensor {
  if (y.dtype === 'int32' && value !== (value | 0))
    throw new DTypeError(`fill: ${value} is no 32-bit integer; give one, or fill a float tensor`)
  y.device.launch('fill', { y, count: y.size, dtype: dtypeCode(y.dtype), value })
  return y
}

/**
 * Copies x over y, element by element, converting between float32 and bfloat16 (to nearest even). Not recorded on the tape.
 * @throws ShapeError when the shapes differ; DTypeError when only one of them is int32
 */
export function copyInto(y: Tensor, x: Tensor): Tensor {
  if (shapeText(x.shape) !== shapeText(y.shape))
    throw new ShapeError(
      `copyInto: y is ${shapeText(y.shape)} but x is ${shapeText(x.shape)}; they must have the same shape`,
    )
  if (x.dtype !== y.dtype && (x.dtype === 'int32' || y.dtype === 'int32'))
    throw new DTypeError(`copyInto: y is ${y.dtype} but x is ${x.dtype}; int32 is copied to int32 only`)
  const whole = { rows: 1, cols: x.size, xStride: x.size, yStride: x.size }
  x.device.launch('copy', { x, y, ...whole, xDtype: dtypeCode(x.dtype), dtype: dtypeCode(y.dtype) })
  return y
}

/** A copy in another float dtype (or the same one). The gradient is cast back. @throws DTypeError for int32 */
export function cast(x: Tensor, dtype: Exclude<DType, 'int32'>): Tensor {
  floatCode('cast', 'x', x)
  const y = copyInto(x.device.empty(x.shape, dtype), x)
  if (recording(x))
    x.device.tape!.record({
      name: 'cast',
      inputs: [x],
      outputs: [y],
      backward: ([dy]) => [dy ? copyInto(x.device.empty(x.shape, x.dtype), dy) : null],
    })
  return y
}

/**
 * Columns [start, end) of the last dimension, as a tensor of their own.
 * @param x [..., cols]
 * @returns [..., end - start], x's dtype
 * @throws ShapeError when the range is not within the columns
 */
export function columns(x: Tensor, start: number, end: number): Tensor {
  const stride = x.dim(-1)
  if (!Number.isInteger(start) || !Number.isInteger(end) || start < 0 || end > stride || start > end)
    throw new ShapeError(`columns: [${start}, ${end}) is not within the last dimension of ${shapeText(x.shape)}`)
  const { device } = x
  const cols = end - start
  const rows = stride === 0 ? 0 : x.size / stride
  const dtype = dtypeCode(x.dtype)
  const offset = start * (x.bytes / Math.max(1, x.size))
  const y = device.empty([...x.shape.slice(0, -1), cols], x.dtype)
  x.assertLive()
  device.launch('copy', { x: x.address + offset, y, rows, cols, xStride: stride, yStride: cols, xDtype: dtype, dtype })
  if (recording(x))
    device.tape!.record({
      name: 'columns',
      inputs: [x],
      outputs: [y],
      backward: ([dy]) => {
        if (!dy) return [null]
        const dx = device.zeros(x.shape, x.dtype)
        device.launch('copy', {
          x: dy,
          y: dx.address + offset,
          rows,
          cols,
          xStride: cols,
          yStride: stride,
          xDtype: dtype,
          dtype,
        })
        return [dx]
      },
    })
  return y
}

/**
 * alpha * a + beta * b, of a's dtype.
 * @throws ShapeError or DTypeError when a and b are not alike, or are int32
 */
export function addScaled(a: Tensor, alpha: number, b: Tensor, beta: number): Tensor {
  checkAlike('addScaled', 'a', a, 'b', b)
  const { device } = a
  const dtype = floatCode('addScaled', 'a', a)
  const y = launchScaled(a, alpha, b, beta, dtype)
  if (recording(a, b))
    device.tape!.record({
      name: 'addScaled',
      inputs: [a, b],
      outputs: [y],
      backward: ([dy]) => (dy ? [scaledGradient(dy, alpha), scaledGradient(dy, beta)] : [null, null]),
    })
  return y
}

/** a + b. @throws ShapeError or DTypeError when they are not alike, or are int32 */
export function add(a: Tensor, b: Tensor): Tensor {
  return addScaled(a, 1, b, 1)
}

/** factor * x. @throws DTypeError for int32 */
export function scale(x: Tensor, factor: number): Tensor {
  const y = launchScaled(x, factor, null, 0, floatCode('scale', 'x', x))
  if (recording(x))
    x.device.tape!.record({
      name: 'scale',
      inputs: [x],
      outputs: [y],
      backward: ([dy]) => [dy ? scaledGradient(dy, factor) : null],
    })
  return y
}

function launchScaled(a: Tensor, alpha: number, b: Tensor | null, beta: number, dtype: number): Tensor {
  const y = a.device.empty(a.shape, a.dtype)
  a.device.launch('addScaled', { a, b, y, count: y.size, aDtype: dtype, bDtype: dtype, dtype, alpha, beta })
  return y
}

/** The tape may be handed the incoming gradient itself where nothing changes it. */
const scaledGradient = (dy: Tensor, factor: number): Tensor =>
  factor === 1 ? dy : launchScaled(dy, factor, null, 0, dtypeCode(dy.dtype))

/** How many elements are NaN or infinite: int32 [1]. @throws DTypeError for int32 */
export function countNonFinite(x: Tensor): Tensor {
  const dtype = floatCode('countNonFinite', 'x', x)
  const found = x.device.empty([1], 'int32')
  x.device.launch('countNonFinite', { x, found, count: x.size, dtype })
  return found
}
