import { DTypeError, ShapeError } from '../errors.js'
import { recording } from '../tensor/tape.js'
import { type DType, dtypeBytes, dtypeCode, shapeText, type Tensor } from '../tensor/tensor.js'
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

/** a * b, element by element. @throws ShapeError or DTypeError when they are not alike, or are int32 */
export function multiply(a: Tensor, b: Tensor): Tensor {
  checkAlike('multiply', 'a', a, 'b', b)
  const dtype = floatCode('multiply', 'a', a)
  const product = (x: Tensor, z: Tensor): Tensor => {
    const y = x.device.empty(x.shape, x.dtype)
    x.device.launch('multiply', { a: x, b: z, y, count: y.size, dtype })
    return y
  }
  const y = product(a, b)
  if (recording(a, b))
    a.device.tape!.record({
      name: 'multiply',
      inputs: [a, b],
      outputs: [y],
      backward: ([dy]) => (dy ? [product(dy, b), product(dy, a)] : [null, null]),
    })
  return y
}

/**
 * Rows of a and b side by side: y = [a; b] over the last dimension.
 * @param a [..., n]
 * @param b [..., m], of a's dtype and other dimensions
 * @returns [..., n + m]
 * @throws ShapeError, DTypeError when they do not fit
 */
export function concat(a: Tensor, b: Tensor): Tensor {
  const [n, m] = [a.dim(-1), b.dim(-1)]
  const outer = a.shape.slice(0, -1)
  if (shapeText(outer) !== shapeText(b.shape.slice(0, -1)))
    throw new ShapeError(
      `concat: a is ${shapeText(a.shape)} but b is ${shapeText(b.shape)}; only the last dimension may differ`,
    )
  if (a.dtype !== b.dtype) throw new DTypeError(`concat: a is ${a.dtype} but b is ${b.dtype}; they must be alike`)
  const { device } = a
  const dtype = floatCode('concat', 'a', a)
  const y = device.empty([...outer, n + m], a.dtype)
  const rows = n + m === 0 ? 0 : y.size / (n + m)
  const second = n * dtypeBytes(a.dtype)
  const put = (x: Tensor, cols: number, to: number) =>
    device.launch('copy', { x, y: to, rows, cols, xStride: cols, yStride: n + m, xDtype: dtype, dtype })
  put(a, n, y.address)
  put(b, m, y.address + second)
  if (recording(a, b))
    device.tape!.record({
      name: 'concat',
      inputs: [a, b],
      outputs: [y],
      backward: ([dy]) => {
        if (!dy) return [null, null]
        const take = (x: Tensor, cols: number, from: number) => {
          const dx = device.empty(x.shape, x.dtype)
          device.launch('copy', { x: from, y: dx, rows, cols, xStride: n + m, yStride: cols, xDtype: dtype, dtype })
          return dx
        }
        return [take(a, n, dy.address), take(b, m, dy.address + second)]
      },
    })
  return y
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
