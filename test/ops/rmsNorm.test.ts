import { describe, expect, test } from 'vitest'
import { ShapeError } from '../../lib/errors.js'
import { addRmsNorm, rmsNorm } from '../../lib/ops/rmsNorm.js'
import { Tape } from '../../lib/tensor/tape.js'
import { asStored, normal, relativeError, TOLERANCE, testDevice } from '../support.js'
import { MIXES, SHAPES, STREAMS } from './residualNorm.js'

const device = testDevice()
const EPS = 1e-6

/** float64 reference: y, and the gradients for dy (and dsum, which reaches h directly). */
function reference(h: Float32Array, weight: Float32Array, dy: Float32Array, dsum: Float32Array | null) {
  const cols = weight.length
  const y = new Float64Array(h.length)
  const dh = new Float64Array(h.length)
  const dweight = new Float64Array(cols)
  for (let at = 0; at < h.length; at += cols) {
    let square = 0
    for (let i = 0; i < cols; i++) square += h[at + i]! ** 2
    const r = 1 / Math.sqrt(square / cols + EPS)
    let dot = 0
    for (let i = 0; i < cols; i++) dot += dy[at + i]! * weight[i]! * h[at + i]!
    for (let i = 0; i < cols; i++) {
      y[at + i] = h[at + i]! * r * weight[i]!
      dh[at + i] = dy[at + i]! * weight[i]! * r - (h[at + i]! * r ** 3 * dot) / cols + (dsum?.[at + i] ?? 0)
      dweight[i]! += dy[at + i]! * h[at + i]! * r
    }
  }
  return { y, dh, dweight }
}

test.each(MIXES)('rmsNorm of %s to %s with a weight of %s', async (streamDtype, dtype, weightDtype) => {
  const [rows, cols] = [5, 72]
  const data = asStored(normal(21, rows * cols), streamDtype)
  const w = asStored(normal(22, cols), weightDtype)
  const dyData = asStored(normal(23, rows * cols), dtype)
  const x = device.tensor(data, [rows, cols], streamDtype)
  const weight = device.tensor(w, [cols], weightDtype)
  x.requiresGrad = weight.requiresGrad = true
  const tape = new Tape(device)
  const y = rmsNorm(x, weight, EPS, { dtype })
  tape.backward(y, device.tensor(dyData, [rows, cols], dtype))
  const want = reference(data, w, dyData, null)
  expect(relativeError(await y.floats(), want.y)).toBeLessThan(TOLERANCE[dtype])
  expect(relativeError(await x.grad!.floats(), want.dh)).toBeLessThan(TOLERANCE[streamDtype])
  expect(relativeError(await weight.grad!.floats(), want.dweight)).toBeLessThan(TOLERANCE.float32)
})

describe.each(STREAMS)('rmsNorm %s, stream %s', (dtype, streamDtype) => {
  test.each(SHAPES)('[%i, %i] forward and gradients', async (rows, cols) => {
    const data = asStored(normal(1, rows * cols, { outliers: 5 }), streamDtype)
    const w = asStored(normal(2, cols), dtype)
    const dyData = asStored(normal(3, rows * cols), dtype)
    const x = device.tensor(data, [rows, cols], streamDtype)
    const weight = device.tensor(w, [cols], dtype)
    x.requiresGrad = weight.requiresGrad = true
    const tape = new Tape(device)
    const y = rmsNorm(x, weight, EPS, { dtype })
    expect(y.dtype).toBe(dtype)
    tape.backward(y, device.tensor(dyData, [rows, cols], dtype))
    const want = reference(data, w, dyData, null)
    expect(relativeError(await y.floats(), want.y)).toBeLessThan(TOLERANCE[dtype])
    expect(relativeError(await x.grad!.floats(), want.dh)).toBeLessThan(TOLERANCE[dtype])
    expect(relativeError(await weight.grad!.floats(), want.dweight)).toBeLessThan(TOLERANCE[dtype])
  })

  test('with the residual addition fused', async () => {
    const [rows, cols] = [19, 96]
    const a = asStored(normal(4, rows * cols), dtype)
    const b = asStored(normal(5, rows * cols), streamDtype)
    const w = asStored(normal(6, cols), dtype)
    const x = device.tensor(a, [rows, cols], dtype)
    const residual = device.tensor(b, [rows, cols], streamDtype)
    const weight = device.tensor(w, [cols], dtype)
    x.requiresGrad = residual.requiresGrad = weight.requiresGrad = true
    const tape = new Tape(device)
    const first = addRmsNorm(x, residual, weight, EPS)
    const second = addRmsNorm(first.y, first.sum, weight, EPS) // both outputs carry a gradient back
    const dyData = asStored(normal(7, rows * cols), dtype)
    tape.backward(second.y, device.tensor(dyData, [rows, cols], dtype))

    const h1 = asStored(
      a.map((v, i) => v + b[i]!),
      streamDtype,
    )
    const r1 = reference(h1, w, new Float32Array(h1.length), null)
    const y1 = asStored(Float32Array.from(r1.y), dtype)
    const h2 = asStored(
      y1.map((v, i) => v + h1[i]!),
      streamDtype,
    )
    const r2 = reference(h2, w, dyData, null)
    const d2 = Float32Array.from(r2.dh)
    const back = reference(h1, w, d2, d2)
    expect(relativeError(await second.y.floats(), r2.y)).toBeLessThan(TOLERANCE[dtype])
    expect(relativeError(await x.grad!.floats(), back.dh)).toBeLessThan(TOLERANCE[dtype])
    expect(relativeError(await residual.grad!.floats(), back.dh)).toBeLessThan(TOLERANCE[dtype])
    const dweight = r2.dweight.map((v, i) => v + back.dweight[i]!)
    expect(relativeError(await weight.grad!.floats(), dweight)).toBeLessThan(TOLERANCE[dtype])
    expect([first.sum.dtype, second.y.dtype]).toEqual([streamDtype, dtype])
  })

  test('rows near epsilon, and rows of zeros', async () => {
    const [rows, cols] = [3, 40]
    const data = asStored(normal(12, rows * cols, { std: 1e-3 }), streamDtype).fill(0, 2 * cols)
    const w = asStored(normal(13, cols), dtype)
    const dyData = asStored(normal(14, rows * cols), dtype)
    const x = device.tensor(data, [rows, cols], streamDtype)
    const weight = device.tensor(w, [cols], dtype)
    x.requiresGrad = true
    const tape = new Tape(device)
    const y = rmsNorm(x, weight, EPS, { dtype })
    tape.backward(y, device.tensor(dyData, [rows, cols], dtype))
    const want = reference(data, w, dyData, null)
    expect(relativeError(await y.floats(), want.y)).toBeLessThan(TOLERANCE[dtype])
    expect(relativeError(await x.grad!.floats(), want.dh)).toBeLessThan(TOLERANCE[dtype])
  })

  test('the norm of a fused sum is the norm of the sum as it is stored, to the bit', async () => {
    const [rows, cols] = [9, 100]
    const weight = device.tensor(normal(15, cols), [cols], dtype)
    const x = device.tensor(normal(16, rows * cols), [rows, cols], dtype)
    const residual = device.tensor(normal(17, rows * cols), [rows, cols], streamDtype)
    const { y, sum } = addRmsNorm(x, residual, weight, EPS)
    expect(await y.floats()).toEqual(await rmsNorm(sum, weight, EPS, { dtype }).floats())
  })

  test('rows longer than a block holds in registers', async () => {
    const [rows, cols] = [2, 16501]
    const data = asStored(normal(18, rows * cols), streamDtype)
    const w = asStored(normal(19, cols), dtype)
    const dyData = asStored(normal(20, rows * cols), dtype)
    const x = device.tensor(data, [rows, cols], streamDtype)
    const weight = device.tensor(w, [cols], dtype)
    x.requiresGrad = weight.requiresGrad = true
    const tape = new Tape(device)
    const y = rmsNorm(x, weight, EPS, { dtype })
    tape.backward(y, device.tensor(dyData, [rows, cols], dtype))
    const want = reference(data, w, dyData, null)
    expect(relativeError(await y.floats(), want.y)).toBeLessThan(TOLERANCE[dtype])
    expect(relativeError(await x.grad!.floats(), want.dh)).toBeLessThan(TOLERANCE[dtype])
    expect(relativeError(await weight.grad!.floats(), want.dweight)).toBeLessThan(TOLERANCE[dtype])
  })

  test('a sum that is used without its norm hands the gradient on', async () => {
    const x = device.tensor(normal(8, 24), [2, 12], dtype)
    const residual = device.tensor(normal(9, 24), [2, 12], streamDtype)
    x.requiresGrad = residual.requiresGrad = true
    const tape = new Tape(device)
    const { sum } = addRmsNorm(x, residual, device.tensor(normal(10, 12)), EPS)
    const dsum = asStored(normal(11, 24), streamDtype)
    tape.backward(sum, device.tensor(dsum, [2, 12], streamDtype))
    expect(relativeError(await x.grad!.floats(), asStored(dsum, dtype))).toBe(0)
    expect(relativeError(await residual.grad!.floats(), dsum)).toBe(0)
  })
})

test('shapes that do not fit are named', () => {
  const x = device.zeros([2, 8])
  expect(() => rmsNorm(x, device.zeros([9]), EPS)).toThrow(ShapeError)
  expect(() => rmsNorm(x, device.zeros([9]), EPS)).toThrow('x is [2, 8] but weight is [9]')
  expect(() => addRmsNorm(x, device.zeros([2, 9]), device.zeros([8]), EPS)).toThrow('residual is float32 [2, 9]')
})
