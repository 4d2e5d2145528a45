import { describe, expect, test } from 'vitest'
import { DTypeError, ShapeError } from '../../lib/errors.js'
import { geglu, gegluPacked } from '../../lib/ops/geglu.js'
import { Tape } from '../../lib/tensor/tape.js'
import { normalCdf } from '../oracle.js'
import { asStored, FLOATS, relativeError, TOLERANCE, testDevice } from '../support.js'
import { gatedUnitTests } from './gatedUnit.js'

const device = testDevice()

gatedUnitTests('geglu', { apart: geglu, packed: gegluPacked }, (z) => {
  const cdf = normalCdf(z)
  return { value: cdf === 0 ? 0 : z * cdf, slope: cdf + (z * Math.exp((-z * z) / 2)) / Math.sqrt(2 * Math.PI) }
})

describe.each(FLOATS)('geglu %s', (dtype) => {
  test('gates far from 0 saturate without NaN', async () => {
    const g = Float32Array.of(-1e30, -1000, -90, -88, 88, 90, 1000, 1e30)
    const gateData = asStored(g, dtype)
    const ones = new Float32Array(g.length).fill(1)
    const gate = device.tensor(gateData, [1, g.length], dtype)
    gate.requiresGrad = true
    const tape = new Tape(device)
    const y = geglu(gate, device.tensor(ones, [1, g.length], dtype))
    tape.backward(y, device.tensor(ones, [1, g.length], dtype))
    const values = await y.floats()
    const gradient = await gate.grad!.floats()
    gateData.forEach((v, i) => {
      expect(values[i]).toBeCloseTo(Math.max(v, 0), 30)
      expect(gradient[i]).toBeCloseTo(v > 0 ? 1 : 0, 30)
    })
  })
})

describe.each(FLOATS)('gelu %s', (dtype) => {
  test.each([-10, -6, -3, -1, -0.1, 0.1, 1, 3, 6])('of gates about %d keeps its digits', async (middle) => {
    const data = asStored(
      Float32Array.from({ length: 100 }, (_, i) => middle * (1 + i / 1000)),
      dtype,
    )
    const ones = device.tensor(new Float32Array(data.length).fill(1), [data.length], dtype)
    const y = await geglu(device.tensor(data, [data.length], dtype), ones).floats()
    expect(
      relativeError(
        y,
        Array.from(data, (z) => z * normalCdf(z)),
      ),
    ).toBeLessThan(TOLERANCE[dtype])
  })
})

test('operands that are not alike are named', () => {
  expect(() => geglu(device.zeros([2, 8]), device.zeros([2, 9]))).toThrow(ShapeError)
  expect(() => geglu(device.zeros([2, 8]), device.zeros([2, 9]))).toThrow('gate is [2, 8] but up is [2, 9]')
  expect(() => geglu(device.zeros([2, 8]), device.zeros([2, 8], 'bfloat16'))).toThrow(DTypeError)
  expect(() => gegluPacked(device.zeros([2, 7]))).toThrow('the last dimension is 7')
})
