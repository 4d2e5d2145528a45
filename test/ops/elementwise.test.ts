import { describe, expect, test } from 'vitest'
import { DTypeError, ShapeError } from '../../lib/errors.js'
import {
  add,
  addScaled,
  cast,
  columns,
  concat,
  copyInto,
  countNonFinite,
  fill,
  multiply,
  scale,
} from '../../lib/ops/elementwise.js'
import { Device } from '../../lib/tensor/device.js'
import { Tape } from '../../lib/tensor/tape.js'
import { dtypeCode } from '../../lib/tensor/tensor.js'
import { asStored, FLOATS, normal, relativeError, roundBf16, TOLERANCE, testDevice } from '../support.js'

const device = testDevice()
const SIZES = [0, 1, 7, 33, 16384, 40001]

describe.each(FLOATS)('%s', (dtype) => {
  test.each(SIZES)('add, addScaled and scale of %i elements, with gradients', async (n) => {
    const aData = asStored(normal(1, n, { outliers: 5 }), dtype)
    const bData = asStored(normal(2, n), dtype)
    const dyData = asStored(normal(3, n), dtype)
    const a = device.tensor(aData, [n], dtype)
    const b = device.tensor(bData, [n], dtype)
    a.requiresGrad = b.requiresGrad = true
    const tape = new Tape(device)
    const sum = add(a, b)
    const mixed = addScaled(sum, 0.5, b, -3)
    const y = scale(mixed, 0.25)
    const [sumRead, mixedRead] = [sum.floats(), mixed.floats()]
    tape.backward(y, device.tensor(dyData, [n], dtype))

    const wantSum = asStored(
      aData.map((v, i) => v + bData[i]!),
      dtype,
    )
    const wantMixed = asStored(
      wantSum.map((v, i) => 0.5 * v - 3 * bData[i]!),
      dtype,
    )
    expect(relativeError(await sumRead, wantSum)).toBeLessThan(1e-7)
    expect(relativeError(await mixedRead, wantMixed)).toBeLessThan(TOLERANCE[dtype])
    expect(
      relativeError(
        await y.floats(),
        wantMixed.map((v) => v / 4),
      ),
    ).toBeLessThan(TOLERANCE[dtype])
    expect(
      relativeError(
        await a.grad!.floats(),
        dyData.map((v) => v / 8),
      ),
    ).toBeLessThan(TOLERANCE[dtype])
    expect(
      relativeError(
        await b.grad!.floats(),
        dyData.map((v) => v / 8 - 0.75 * v),
      ),
    ).toBeLessThan(TOLERANCE[dtype])
  })

  test.each(SIZES)('multiply of %i elements, with gradients', async (n) => {
    const [aData, bData, dyData] = [1, 2, 3].map((seed) => asStored(normal(seed, n, { outliers: 5 }), dtype))
    const [a, b] = [aData!, bData!].map((data) => device.tensor(data, [n], dtype))
    a!.requiresGrad = b!.requiresGrad = true
    const tape = new Tape(device)
    const y = multiply(a!, b!)
    tape.backward(y, device.tensor(dyData!, [n], dtype))
    const product = (p: Float32Array, q: Float32Array) => Float64Array.from(p, (v, i) => v * q[i]!)
    expect(relativeError(await y.floats(), product(aData!, bData!))).toBeLessThan(TOLERANCE[dtype])
    expect(relativeError(await a!.grad!.floats(), product(dyData!, bData!))).toBeLessThan(TOLERANCE[dtype])
    expect(relativeError(await b!.grad!.floats(), product(dyData!, aData!))).toBeLessThan(TOLERANCE[dtype])
  })

  test.each([
    [3, 7, 5],
    [50, 401, 16],
    [0, 4, 4],
  ])('concat of [%i, %i] and %i columns, with gradients', async (rows, n, m) => {
    const [aData, bData] = [asStored(normal(1, rows * n), dtype), asStored(normal(2, rows * m), dtype)]
    const [a, b] = [device.tensor(aData, [rows, n], dtype), device.tensor(bData, [rows, m], dtype)]
    a.requiresGrad = b.requiresGrad = true
    const tape = new Tape(device)
    const y = concat(a, b)
    expect(y.shape).toEqual([rows, n + m])
    const joined = Float32Array.from({ length: rows * (n + m) }, (_, i) => {
      const [row, col] = [Math.floor(i / (n + m)), i % (n + m)]
      return col < n ? aData[row * n + col]! : bData[row * m + col - n]!
    })
    tape.backward(y, device.tensor(joined, [rows, n + m], dtype)) // its own gradient: each comes back as it was
    expect(await y.floats()).toEqual(joined)
    expect(await a.grad!.floats()).toEqual(aData)
    expect(await b.grad!.floats()).toEqual(bData)
  })

  test.each(SIZES)('fill of %i elements', async (n) => {
    expect(relativeError(await fill(device.empty([n], dtype), 1.5).floats(), new Float32Array(n).fill(1.5))).toBe(0)
  })

  test.each(SIZES)('countNonFinite of %i elements', async (n) => {
    const data = normal(5, n)
    for (let i = 0; i < n; i += 11) data[i] = [NaN, Infinity, -Infinity][i % 3]!
    const found = countNonFinite(device.tensor(data, [n], dtype))
    expect(await found.item()).toBe(data.filter((x) => !Number.isFinite(x)).length)
  })

  test('countNonFinite of a part that is not aligned', async () => {
    const data = normal(10, 3 * 401)
    for (let i = 0; i < data.length; i += 5) data[i] = NaN
    const part = data.slice(401, 802)
    const found = countNonFinite(device.tensor(data, [3, 401], dtype).rows(1, 2))
    expect(await found.item()).toBe(part.filter((x) => !Number.isFinite(x)).length)
  })

  test.each([
    [3, 7, 0, 7],
    [3, 7, 2, 3],
    [50, 401, 17, 400],
    [1, 9, 9, 9],
    [0, 9, 1, 4],
  ])('columns of [%i, %i] from %i to %i', async (rows, cols, start, end) => {
    const data = asStored(normal(6, rows * cols), dtype)
    const width = end - start
    const dyData = asStored(normal(7, rows * width), dtype)
    const x = device.tensor(data, [rows, cols], dtype)
    x.requiresGrad = true
    const tape = new Tape(device)
    const y = columns(x, start, end)
    tape.backward(y, device.tensor(dyData, [rows, width], dtype))
    const gradient = new Float32Array(rows * cols)
    const want = new Float32Array(rows * width)
    for (let r = 0; r < rows; r++) {
      want.set(data.subarray(r * cols + start, r * cols + end), r * width)
      gradient.set(dyData.subarray(r * width, (r + 1) * width), r * cols + start)
    }
    expect(relativeError(await y.floats(), want)).toBe(0)
    expect(relativeError(await x.grad!.floats(), gradient)).toBe(0)
  })
})

// As gradients of one tensor are summed that come from ops of different dtypes.
const MIXES = FLOATS.flatMap((a) => FLOATS.flatMap((b) => FLOATS.map((y) => [a, b, y] as const)))

test.each(MIXES)('the kernel addScaled of %s and %s to %s', async (aDtype, bDtype, dtype) => {
  const count = 1031
  const [aData, bData] = [asStored(normal(11, count), aDtype), asStored(normal(12, count), bDtype)]
  const [a, b, y] = [
    device.tensor(aData, [count], aDtype),
    device.tensor(bData, [count], bDtype),
    device.empty([count], dtype),
  ]
  const dtypes = { aDtype: dtypeCode(aDtype), bDtype: dtypeCode(bDtype), dtype: dtypeCode(dtype) }
  device.launch('addScaled', { a, b, y, count, ...dtypes, alpha: 2, beta: -0.5 })
  const want = aData.map((v, i) => 2 * v - bData[i]! / 2)
  expect(relativeError(await y.floats(), want)).toBeLessThan(TOLERANCE[dtype])
})

test.each(SIZES)('cast of %i elements rounds to nearest even, its gradient goes back', async (n) => {
  const data = normal(8, n, { outliers: 5 })
  const x = device.tensor(data)
  x.requiresGrad = true
  const dy = roundBf16(normal(9, n))
  const tape = new Tape(device)
  const y = cast(x, 'bfloat16')
  tape.backward(y, device.tensor(dy, [n], 'bfloat16'))
  expect(y.dtype).toBe('bfloat16')
  expect(relativeError(await y.floats(), roundBf16(data))).toBe(0)
  expect(relativeError(await cast(device.tensor(data, [n], 'bfloat16'), 'float32').floats(), roundBf16(data))).toBe(0)
  expect(relativeError(await x.grad!.floats(), dy)).toBe(0)
})

test('cast keeps NaN, infinities, zeros and what rounds up to infinity', async () => {
  const x = Float32Array.of(NaN, Infinity, -Infinity, -0, 3.4e38, 1.00390625, 1.01171875, 2 ** -126, -(2 ** -126))
  const y = await cast(device.tensor(x), 'bfloat16').floats()
  expect(y).toEqual(roundBf16(x))
  expect(Array.from(y.slice(0, 7))).toEqual([NaN, Infinity, -Infinity, -0, Infinity, 1, 1.015625])
})

test('cast rounds numbers below the smallest normal one, or makes them zero where the instruction does', async () => {
  const x = Float32Array.of(1e-40, -1e-40, 2e-39)
  const y = await cast(device.tensor(x), 'bfloat16').floats()
  const zero = device.kind === 'cpu' && Device.describe().instructionSet === 'avx512bf16'
  expect(y).toEqual(zero ? Float32Array.of(0, -0, 0) : roundBf16(x))
})

test('int32: fill and copy', async () => {
  const x = fill(device.empty([1000], 'int32'), -7)
  expect(await copyInto(device.empty([1000], 'int32'), x).ints()).toEqual(new Int32Array(1000).fill(-7))
  expect(() => fill(x, 0.5)).toThrow(DTypeError)
})

test('operands that do not fit are named', () => {
  const [a, b] = [device.zeros([2, 3]), device.zeros([3, 2])]
  expect(() => add(a, b)).toThrow(ShapeError)
  expect(() => add(a, b)).toThrow('a is [2, 3] but b is [3, 2]')
  expect(() => add(a, device.zeros([2, 3], 'bfloat16'))).toThrow(DTypeError)
  expect(() => copyInto(a, b)).toThrow(ShapeError)
  expect(() => copyInto(device.zeros([2, 3], 'int32'), a)).toThrow(DTypeError)
  expect(() => cast(device.zeros([2], 'int32'), 'float32')).toThrow(DTypeError)
  expect(() => columns(a, 1, 4)).toThrow('[1, 4) is not within the last dimension of [2, 3]')
})
