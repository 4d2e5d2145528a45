import { describe, expect, test } from 'vitest'
import { ShapeError } from '../../lib/errors.js'
import { addLayerNorm, layerNorm } from '../../lib/ops/layerNorm.js'
import { Tape } from '../../lib/tensor/tape.js'
import { asStored, FLOATS, normal, relativeError, TOLERANCE, testDevice } from '../support.js'

const device = testDevice()
const EPS = 1e-6

/** float64 reference: y, and the gradients for dy (and dsum, which reaches h directly). */
function reference(
  h: Float32Array,
  weight: Float32Array,
  dy: Float32Array,
  dsum: Float32Array | null,
  bias: Float32Array | null = null,
) {
  const cols = weight.length
  const y = new Float64Array(h.length)
  const dh = new Float64Array(h.length)
  const dweight = new Float64Array(cols)
  const dbias = new Float64Array(cols)
  for (let at = 0; at < h.length; at += cols) {
    let [mean, variance, sum, dot] = [0, 0, 0, 0]
    for (let i = 0; i < cols; i++) mean += h[at + i]! / cols
    for (let i = 0; i < cols; i++) variance += (h[at + i]! - mean) ** 2 / cols
    const r = 1 / Math.sqrt(variance + EPS)
    const z = (i: number) => (h[at + i]! - mean) * r
    for (let i = 0; i < cols; i++) {
      sum += dy[at + i]! * weight[i]!
      dot += dy[at + i]! * weight[i]! * z(i)
    }
    for (let i = 0; i < cols; i++) {
      y[at + i] = z(i) * weight[i]! + (bias?.[i] ?? 0)
      dh[at + i] = r * (dy[at + i]! * weight[i]! - sum / cols - (z(i) * dot) / cols) + (dsum?.[at + i] ?? 0)
      dweight[i]! += dy[at + i]! * z(i)
      dbias[i]! += dy[at + i]!
    }
  }
  return { y, dh, dweight, dbias }
}

const SHAPES = [
  [1, 5],
  [3, 7],
  [17, 64],
  [130, 33],
  [257, 200],
  [110, 1051], // more rows than blocks of several warps run at a time
] as const

/** dtypes of the branches and of the residual stream. */
const STREAMS = [
  ['float32', 'float32'],
  ['bfloat16', 'bfloat16'],
  ['bfloat16', 'float32'],
] as const

const MIXES = FLOATS.flatMap((a) => FLOATS.flatMap((b) => FLOATS.map((c) => [a, b, c] as const)))

test.each(MIXES)('layerNorm of %s to %s with a weight of %s', async (streamDtype, dtype, weightDtype) => {
  const [rows, cols] = [5, 72]
  const data = asStored(normal(21, rows * cols), streamDtype)
  const w = asStored(normal(22, cols), weightDtype)
  const dyData = asStored(normal(23, rows * cols), dtype)
  const x = device.tensor(data, [rows, cols], streamDtype)
  const weight = device.tensor(w, [cols], weightDtype)
  x.requiresGrad = weight.requiresGrad = true
  const tape = new Tape(device)
  const y = layerNorm(x, weight, EPS, { dtype })
  tape.backward(y, device.tensor(dyData, [rows, cols], dtype))
  const want = reference(data, w, dyData, null)
  expect(relativeError(await y.floats(), want.y)).toBeLessThan(TOLERANCE[dtype])
  expect(relativeError(await x.grad!.floats(), want.dh)).toBeLessThan(TOLERANCE[streamDtype])
  expect(relativeError(await weight.grad!.floats(), want.dweight)).toBeLessThan(TOLERANCE.float32)
})

describe.each(STREAMS)('layerNorm %s, stream %s', (dtype, streamDtype) => {
  test.each(SHAPES)('[%i, %i] forward and gradients', async (rows, cols) => {
    const data = asStored(normal(1, rows * cols, { outliers: 5 }), streamDtype)
    const w = asStored(normal(2, cols), dtype)
    const dyData = asStored(normal(3, rows * cols), dtype)
    const x = device.tensor(data, [rows, cols], streamDtype)
    const weight = device.tensor(w, [cols], dtype)
    x.requiresGrad = weight.requiresGrad = true
    const tape = new Tape(device)
    const y = layerNorm(x, weight, EPS, { dtype })
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
    const first = addLayerNorm(x, residual, weight, EPS)
    const second = addLayerNorm(first.y, first.sum, weight, EPS) // both outputs carry a gradient back
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

  test('with a bias, whose gradient is the sum of dy', async () => {
    const [rows, cols] = [140, 72]
    const [data, dyData] = [1, 2].map((seed) => asStored(normal(seed, rows * cols), dtype))
    const [w, b] = [3, 4].map((seed) => asStored(normal(seed, cols), dtype))
    const [x, weight, bias] = [data!, w!, b!].map((values) =>
      device.tensor(values, values === data ? [rows, cols] : [cols], dtype),
    )
    for (const t of [x!, weight!, bias!]) t.requiresGrad = true
    const tape = new Tape(device)
    const y = layerNorm(x!, weight!, EPS, { bias: bias! })
    tape.backward(y, device.tensor(dyData!, [rows, cols], dtype))
    const want = reference(data!, w!, dyData!, null, b!)
    expect(relativeError(await y.floats(), want.y)).toBeLessThan(TOLERANCE[dtype])
    expect(relativeError(await x!.grad!.floats(), want.dh)).toBeLessThan(TOLERANCE[dtype])
    expect(relativeError(await weight!.grad!.floats(), want.dweight)).toBeLessThan(TOLERANCE.float32)
    expect(relativeError(await bias!.grad!.floats(), want.dbias)).toBeLessThan(TOLERANCE.float32)
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
    const y = layerNorm(x, weight, EPS, { dtype })
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
    const { y, sum } = addLayerNorm(x, residual, weight, EPS)
    expect(await y.floats()).toEqual(await layerNorm(sum, weight, EPS, { dtype }).floats())
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
    const y = layerNorm(x, weight, EPS, { dtype })
    tape.backward(y, device.tensor(dyData, [rows, cols], dtype))
    const want = reference(data, w, dyData, null)
    expect(relativeError(await y.floats(), want.y)).toBeLessThan(TOLERANCE[dtype])
    expect(relativeError(await x.grad!.floats(), want.dh)).toBeLessThan(TOLERANCE[dtype])
    expect(relativeError(await weight.grad!.floats(), want.dweight)).toBeLessThan(TOLERANCE[dtype])
  })

  test('a mean far larger than the deviation keeps its digits', async () => {
    const [rows, cols] = [4, 600]
    const data = asStored(
      normal(24, rows * cols).map((v) => v + 4096),
      'float32',
    )
    const w = asStored(normal(25, cols), dtype)
    const y = layerNorm(device.tensor(data, [rows, cols]), device.tensor(w, [cols], dtype), EPS, { dtype })
    const want = reference(data, w, new Float32Array(rows * cols), null)
    expect(relativeError(await y.floats(), want.y)).toBeLessThan(TOLERANCE[dtype])
  })

  test('a sum that is used without its norm hands the gradient on', async () => {
    const x = device.tensor(normal(8, 24), [2, 12], dtype)
    const residual = device.tensor(normal(9, 24), [2, 12], streamDtype)
    x.requiresGrad = residual.requiresGrad = true
    const tape = new Tape(device)
    const { sum } = addLayerNorm(x, residual, device.tensor(normal(10, 12)), EPS)
    const dsum = asStored(normal(11, 24), streamDtype)
    tape.backward(sum, device.tensor(dsum, [2, 12], streamDtype))
    expect(relativeError(await x.grad!.floats(), asStored(dsum, dtype))).toBe(0)
    expect(relativeError(await residual.grad!.floats(), dsum)).toBe(0)
  })
})

test('shapes that do not fit are named', () => {
  const x = device.zeros([2, 8])
  expect(() => layerNorm(x, device.zeros([9]), EPS)).toThrow(ShapeError)
  expect(() => layerNorm(x, device.zeros([9]), EPS)).toThrow(
    'x is [2, 8] but weight is float32 [9]; it must be float32 [8]',
  )
  expect(() => addLayerNorm(x, device.zeros([2, 9]), device.zeros([8]), EPS)).toThrow('residual is float32 [2, 9]')
})
