import { describe, expect, test } from 'vitest'
import { ArgumentError, DeviceError, DTypeError, ShapeError } from '../../lib/errors.js'
import { type CrossEntropyOptions, crossEntropy } from '../../lib/ops/crossEntropy.js'
import { Tape } from '../../lib/tensor/tape.js'
import type { Tensor } from '../../lib/tensor/tensor.js'
import { crossEntropyRow, logSoftmax } from '../oracle.js'
import { asStored, FLOATS, normal, relativeError, testDevice, uniform } from '../support.js'

const device = testDevice()
const TOLERANCE = { float32: 1e-5, bfloat16: 4e-3 } as const

async function run(
  logits: Float32Array,
  rows: number,
  labels: Tensor,
  options: CrossEntropyOptions = {},
  dtype: (typeof FLOATS)[number] = 'float32',
) {
  const x = device.tensor(logits, [rows, logits.length / rows], dtype)
  x.requiresGrad = true
  using tape = new Tape(device)
  const { loss, parts } = crossEntropy(x, labels, options)
  tape.backward(loss)
  return { loss: await loss.item(), parts: await parts.floats(), grad: await x.grad!.floats() }
}

const rowOf = (x: Float32Array, i: number, n: number): Float32Array => x.subarray(i * n, i * n + n)
const argmax = (x: Float32Array): number => x.reduce((best, v, i) => (v > x[best]! ? i : best), 0)

describe.each(FLOATS)('crossEntropy %s', (dtype) => {
  describe.each([1, 10, 30])('logit std %i', (std) => {
    test.each([
      [40, 3],
      [1, 1],
      [7, 33],
      [5, 4099],
    ])('[%i, %i] with masked rows and class weights', async (rows, classes) => {
      const logits = asStored(normal(rows + std, rows * classes, { std, outliers: 3 }), dtype)
      const next = uniform(classes)
      const labels = Int32Array.from({ length: rows }, (_, i) => (i % 4 === 2 ? -100 : Math.floor(next() * classes)))
      const weights = Float32Array.from({ length: classes }, () => 0.5 + next())
      const want = { sum: 0, correct: 0, valid: 0, grad: new Float64Array(logits.length) }
      labels.forEach((label, i) => {
        if (label === -100) return
        const { loss, grad } = crossEntropyRow(rowOf(logits, i, classes), label)
        want.sum += weights[label]! * loss
        want.correct += argmax(rowOf(logits, i, classes)) === label ? 1 : 0
        want.valid++
        want.grad.set(
          grad.map((g) => (g * weights[label]!) / 8),
          i * classes,
        )
      })
      const got = await run(
        logits,
        rows,
        device.tensor(labels),
        { scale: 1 / 8, classWeights: device.tensor(weights) },
        dtype,
      )
      expect(relativeError([got.loss], [want.sum / 8])).toBeLessThan(TOLERANCE.float32)
      expect(relativeError(got.parts, [want.sum, want.correct, want.valid])).toBeLessThan(TOLERANCE.float32)
      expect(relativeError(got.grad, want.grad)).toBeLessThan(TOLERANCE[dtype])
    })
  })

  test.each(FLOATS)('target probabilities in %s', async (targetDtype) => {
    const [rows, classes] = [9, 3]
    const logits = asStored(normal(1, rows * classes, { std: 3 }), dtype)
    const targets = new Float32Array(rows * classes)
    for (let i = 0; i < rows; i++) targets.set(logSoftmax(normal(50 + i, classes)).map(Math.exp), i * classes)
    targets.set([1, 0, 0], 0) // a hard one among them
    const q = asStored(targets, targetDtype)
    let sum = 0
    const grad = new Float64Array(logits.length)
    for (let i = 0; i < rows; i++) {
      const row = crossEntropyRow(rowOf(logits, i, classes), rowOf(q, i, classes))
      sum += row.loss
      grad.set(row.grad, i * classes)
    }
    const got = await run(logits, rows, device.tensor(q, [rows, classes], targetDtype), {}, dtype)
    expect(relativeError([got.loss], [sum])).toBeLessThan(TOLERANCE.float32)
    expect(relativeError(got.grad, grad)).toBeLessThan(TOLERANCE[dtype])
    expect(got.parts[2]).toBe(rows)
  })
})

test('a class weight scales its share of the targets', async () => {
  const logits = normal(2, 3, { std: 2 })
  const q = Float32Array.of(0.2, 0.3, 0.5)
  const w = Float32Array.of(1, 2, 0.5)
  const l = logSoftmax(logits)
  const weighted = q.map((x, i) => x * w[i]!)
  const mass = weighted.reduce((a, b) => a + b)
  const got = await run(logits, 1, device.tensor(q, [1, 3]), { classWeights: device.tensor(w) })
  expect(got.loss).toBeCloseTo(
    weighted.reduce((sum, x, i) => sum + x * (Math.log(q[i]!) - l[i]!), 0),
    5,
  )
  for (let i = 0; i < 3; i++) expect(got.grad[i]).toBeCloseTo(mass * Math.exp(l[i]!) - weighted[i]!, 5)
})

test('-inf columns have probability 0 and no gradient', async () => {
  const logits = Float32Array.of(1, Number.NEGATIVE_INFINITY, 2, Number.NEGATIVE_INFINITY, 0)
  const want = crossEntropyRow(logits, 2)
  const got = await run(logits, 1, device.tensor(Int32Array.of(2)))
  expect(got.loss).toBeCloseTo(want.loss, 6)
  expect(relativeError(got.grad, want.grad)).toBeLessThan(1e-6)
  expect([got.grad[1], got.grad[3]]).toEqual([0, 0])
})

test('a confident, right row keeps the digits of p - 1', async () => {
  const logits = Float32Array.of(20, 0, -3)
  const want = crossEntropyRow(logits, 0)
  const got = await run(logits, 1, device.tensor(Int32Array.of(0)))
  expect(relativeError([got.loss], [want.loss])).toBeLessThan(1e-6)
  expect(relativeError(got.grad, want.grad)).toBeLessThan(1e-6)
})

test('no rows, and rows that are all left out', async () => {
  const none = crossEntropy(device.zeros([0, 3]), device.tensor(new Int32Array(0)))
  expect([await none.loss.item(), ...(await none.parts.floats())]).toEqual([0, 0, 0, 0])
  const ignored = await run(normal(3, 6), 2, device.tensor(Int32Array.of(9, 9)), { ignoreIndex: 9 })
  expect([ignored.loss, ...ignored.parts, ...ignored.grad]).toEqual(new Array(10).fill(0))
})

test('what does not fit is refused', async () => {
  const x = device.zeros([2, 3])
  const labels = device.tensor(Int32Array.of(0, 1))
  expect(() => crossEntropy(x, device.tensor(Int32Array.of(0)))).toThrow(ShapeError)
  expect(() => crossEntropy(x, device.zeros([2, 4]))).toThrow('labels are float32 [2, 4]')
  expect(() => crossEntropy(x, labels, { classWeights: device.zeros([4]) })).toThrow('give float32 [3]')
  expect(() => crossEntropy(x, labels, { scale: Number.POSITIVE_INFINITY })).toThrow(ArgumentError)
  expect(() => crossEntropy(device.zeros([2, 3], 'int32'), labels)).toThrow(DTypeError)
  expect(() => crossEntropy(device.zeros([2, 0]), labels)).toThrow('at least one class')
  const bad = crossEntropy(x, device.tensor(Int32Array.of(0, 3)))
  await expect(bad.loss.item()).rejects.toThrow(DeviceError)
  expect(await crossEntropy(x, labels).loss.item()).toBeCloseTo(2 * Math.log(3), 5)
})
