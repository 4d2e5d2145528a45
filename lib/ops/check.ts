import { DTypeError, ShapeError } from '../errors.js'
import { dtypeCode, shapeText, type Tensor } from '../tensor/tensor.js'

/** The kernel's number for a float tensor's dtype. @throws DTypeError for int32 */
export function floatCode(op: string, name: string, t: Tensor): number {
  if (t.dtype === 'int32') throw new DTypeError(`${op}: ${name} is int32; give float32 or bfloat16`)
  return dtypeCode(t.dtype)
}

/** @throws DTypeError unless `t` is an int32 vector */
export function checkIndices(op: string, name: string, t: Tensor): void {
  if (t.dtype !== 'int32') throw new DTypeError(`${op}: ${name} is ${t.dtype}; give an int32 tensor`)
  if (t.shape.length !== 1) throw new ShapeError(`${op}: ${name} is ${shapeText(t.shape)}; give a vector`)
}

/** Rows and columns of a matrix. @throws ShapeError for any other number of dimensions */
export function matrix(op: string, name: string, t: Tensor): [rows: number, cols: number] {
  const [rows, cols] = t.shape
  if (t.shape.length !== 2 || rows === undefined || cols === undefined)
    throw new ShapeError(`${op}: ${name} is ${shapeText(t.shape)}; give a matrix`)
  return [rows, cols]
}

/** @throws ShapeError or DTypeError unless `a` and `b` have the same shape and dtype */
export function checkAlike(op: string, aName: string, a: Tensor, bName: string, b: Tensor): void {
  if (a.shape.length !== b.shape.length || a.shape.some((d, i) => d !== b.shape[i]))
    throw new ShapeError(
      `${op}: ${aName} is ${shapeText(a.shape)} but ${bName} is ${shapeText(b.shape)}; they must have the same shape`,
    )
  if (a.dtype !== b.dtype)
    throw new DTypeError(`${op}: ${aName} is ${a.dtype} but ${bName} is ${b.dtype}; cast one of them`)
}
