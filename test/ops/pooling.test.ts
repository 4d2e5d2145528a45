import { describe, expect, test } from 'vitest'
import { DTypeError, ShapeError } from '../../lib/errors.js'
import { gatherRows, l2Normalize, lastToken, meanPooling } from '../../lib/ops/pooling.js'
import { Tape } from '../../lib/tensor/tape.js'
import type { Tensor } from '../../lib/tensor/tensor.js'
import { asStored, FLOATS, normal, openTestDevice, relativeError, TOLERANCE, testDevice, uniform } from '../support.js'

const device = testDevice()

/** Runs an op on x with gradient dy; y and dx as the device gives them. */
async function both(op: (x: Tensor) => Tensor, x: Tensor, dy: (shape: readonly number[]) => Tensor) {
  x.requiresGrad = true
  const tape = new Tape(device)
  const y = op(x)
  tape.backward(y, dy(y.shape))
  return { y: await y.floats(), dx: await x.grad!.floats() }
}

const LENGTHS = [[1], [5, 1, 17], [3, 200, 64, 2], [1000, 1]]
const COLS = [1, 7, 64, 300]

describe.each(FLOATS)('pooling by sequence, %s', (dtype) => {
  describe.each(COLS)('%i columns', (cols) => {
    test.each(LENGTHS.map((l) => [l]))('lengths %j', async (lengths) => {
      const cu = [0]
      for (const l of lengths) cu.push(cu.at(-1)! + l)
      const tokens = cu.at(-1)! + 3 // rows behind the last sequence get no gradient
      const data = asStored(normal(1, tokens * cols, { outliers: 5 }), dtype)
      const dyData = asStored(normal(2, lengths.length * cols), dtype)
      const cuSeqlens = device.tensor(Int32Array.from(cu))
      const dy = (shape: readonly number[]) => device.tensor(dyData, shape, dtype)

      const last = await both((x) => lastToken(x, cuSeqlens), device.tensor(data, [tokens, cols], dtype), dy)
      const mean = await both((x) => meanPooling(x, cuSeqlens), device.tensor(data, [tokens, cols], dtype), dy)
      const lastY = new Float32Array(lengths.length * cols)
      const lastDx = new Float32Array(tokens * cols)
      const meanY = new Float64Array(lengths.length * cols)
      const meanDx = new Float64Array(tokens * cols)
      lengths.forEach((length, s) => {
        for (let k = 0; k < cols; k++) {
          const at = (cu[s + 1]! - 1) * cols + k
          lastY[s * cols + k] = data[at]!
          lastDx[at] = dyData[s * cols + k]!
          for (let t = cu[s]!; t < cu[s + 1]!; t++) {
            meanY[s * cols + k]! += data[t * cols + k]! / length
            meanDx[t * cols + k] = dyData[s * cols + k]! / length
          }
        }
      })
      expect(relativeError(last.y, lastY)).toBe(0)
      expect(relativeError(last.dx, lastDx)).toBe(0)
      expect(relativeError(mean.y, meanY)).toBeLessThan(TOLERANCE[dtype])
      expect(relativeError(mean.dx, meanDx)).toBeLessThan(TOLERANCE[dtype])
    })
  })
})

describe.each(FLOATS)('gatherRows %s', (dtype) => {
  test.each([
    [1, 1, 1],
    [10, 0, 5],
    [10, 4, 33],
    [6, 500, 70], // every row many times: summed in float32, rounded once
    [400, 37, 129],
  ])('of %i rows, %i of %i columns', async (n, count, cols) => {
    const next = uniform(8)
    const rows = Int32Array.from({ length: count }, () => Math.floor(next() * n))
    const data = asStored(normal(1, n * cols), dtype)
    const dyData = asStored(normal(2, count * cols, { outliers: 5 }), dtype)
    const got = await both(
      (x) => gatherRows(x, device.tensor(rows)),
      device.tensor(data, [n, cols], dtype),
      (shape) => device.tensor(dyData, shape, dtype),
    )
    const y = new Float32Array(count * cols)
    const dx = new Float64Array(n * cols)
    rows.forEach((r, i) => {
      for (let k = 0; k < cols; k++) {
        y[i * cols + k] = data[r * cols + k]!
        dx[r * cols + k]! += dyData[i * cols + k]!
      }
    })
    expect(relativeError(got.y, y)).toBe(0)
    expect(relativeError(got.dx, dx)).toBeLessThan(dtype === 'float32' ? 1e-6 : 4e-3)
  })
})

describe.each(FLOATS)('l2Normalize %s', (dtype) => {
  test.each([
    [0, 4],
    [1, 1],
    [3, 7],
    [33, 300],
  ])('[%i, %i]', async (rows, cols) => {
    const data = asStored(normal(1, rows * cols, { outliers: 5 }), dtype)
    const dyData = asStored(normal(2, rows * cols), dtype)
    const got = await both(l2Normalize, device.tensor(data, [rows, cols], dtype), (shape) =>
      device.tensor(dyData, shape, dtype),
    )
    const want = normalizeReference(data, dyData, rows, cols, 1e-12)
    expect(relativeError(got.y, want.y)).toBeLessThan(TOLERANCE[dtype])
    // Along x the gradient cancels: with one column it is nothing but rounding.
    if (cols > 1) expect(relativeError(got.dx, want.dx)).toBeLessThan(TOLERANCE[dtype])
    else expect(Math.abs(got.dx[0]!)).toBeLessThan(TOLERANCE[dtype])
  })

  test('rows of zeros, tiny rows and rows whose squares overflow', async () => {
    const data = asStored(Float32Array.of(0, 0, 0, 3e-30, 4e-30, 0, 3e25, 4e25, 0, 3e-21, 4e-21, 0), dtype)
    const dyData = asStored(Float32Array.of(1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3), dtype)
    const eps = 1e-20
    const got = await both(
      (x) => l2Normalize(x, eps),
      device.tensor(data, [4, 3], dtype),
      (s) => device.tensor(dyData, s, dtype),
    )
    const want = normalizeReference(data, dyData, 4, 3, eps)
    for (let row = 0; row < 4; row++) {
      const part = (a: ArrayLike<number>) => Array.from(a).slice(row * 3, row * 3 + 3)
      expect(relativeError(part(got.y), part(want.y))).toBeLessThan(TOLERANCE[dtype])
      expect(relativeError(part(got.dx), part(want.dx))).toBeLessThan(TOLERANCE[dtype])
    }
  })
})

function normalizeReference(x: Float32Array, dy: Float32Array, rows: number, cols: number, eps: number) {
  const y = new Float64Array(x.length)
  const dx = new Float64Array(x.length)
  for (let at = 0; at < rows * cols; at += cols) {
    const length = Math.hypot(...x.subarray(at, at + cols))
    const n = Math.max(length, eps)
    let dot = 0
    for (let i = at; i < at + cols; i++) {
      y[i] = x[i]! / n
      dot += y[i]! * dy[i]!
    }
    for (let i = at; i < at + cols; i++) dx[i] = (dy[i]! - (length > eps ? y[i]! * dot : 0)) / n
  }
  return { y, dx }
}

test.each([
  [[0, 2, 2, 4], 'sequence 1 has no tokens'],
  [[0, 3, 2], 'sequence 1 is [3, 2) of 4 tokens'],
  [[0, 2, 9], 'sequence 1 is [2, 9) of 4 tokens'],
  [[1, 4], 'cuSeqlens starts at 1, not at 0'],
])('cuSeqlens %j fails on the device: %s', async (cu, message) => {
  for (const op of [lastToken, meanPooling]) {
    const d = openTestDevice()
    await expect(op(d.zeros([4, 5]), d.tensor(Int32Array.from(cu))).read()).rejects.toThrow(message)
    await d.close()
  }
})

test.each([-1, 4])('row %i out of range is named', async (row) => {
  const d = openTestDevice()
  await expect(gatherRows(d.zeros([4, 5]), d.tensor(Int32Array.of(0, row))).read()).rejects.toThrow(
    `row ${row} at position 1`,
  )
  await d.close()
})

test('operands of another kind are named', () => {
  const x = device.zeros([4, 5])
  expect(() => lastToken(x, device.zeros([2]))).toThrow(DTypeError)
  expect(() => meanPooling(x, device.empty([0], 'int32'))).toThrow(ShapeError)
  expect(() => gatherRows(device.zeros([4]), device.empty([1], 'int32'))).toThrow('x is [4]; give a matrix')
  expect(() => l2Normalize(device.empty([4, 4], 'int32'))).toThrow(DTypeError)
})
