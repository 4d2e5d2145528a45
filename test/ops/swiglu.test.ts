import { describe, expect, test } from 'vitest'
import { DTypeError, ShapeError } from '../../lib/errors.js'
import { swiglu, swigluPacked } from '../../lib/ops/swiglu.js'
import { Tape } from '../../lib/tensor/tape.js'
import { asStored, FLOATS, testDevice } from '../support.js'
import { gatedUnitTests } from './gatedUnit.js'

const device = testDevice()

gatedUnitTests('swiglu', { apart: swiglu, packed: swigluPacked }, (z) => {
  const s = 1 / (1 + Math.exp(-z))
  return { value: z * s, slope: s * (1 + z * (1 - s)) }
})

describe.each(FLOATS)('swiglu %s', (dtype) => {
  test('gates far from 0 saturate without NaN', async () => {
    const g = Float32Array.of(-1e30, -1000, -90, -88, 88, 90, 1000, 1e30)
    const gateData = asStored(g, dtype)
    const ones = new Float32Array(g.length).fill(1)
    const gate = device.tensor(gateData, [1, g.length], dtype)
    gate.requiresGrad = true
    const tape = new Tape(device)
    const y = swiglu(gate, device.tensor(ones, [1, g.length], dtype))
    tape.backward(y, device.tensor(ones, [1, g.length], dtype))
    const values = await y.floats()
    const gradient = await gate.grad!.floats()
    gateData.forEach((v, i) => {
      expect(values[i]).toBeCloseTo(Math.max(v, 0), 30)
      expect(gradient[i]).toBeCloseTo(v > 0 ? 1 : 0, 30)
    })
  })
})

test('operands that are not alike are named', () => {
  expect(() => swiglu(device.zeros([2, 8]), device.zeros([2, 9]))).toThrow(ShapeError)
  expect(() => swiglu(device.zeros([2, 8]), device.zeros([2, 9]))).toThrow('gate is [2, 8] but up is [2, 9]')
  expect(() => swiglu(device.zeros([2, 8]), device.zeros([2, 8], 'bfloat16'))).toThrow(DTypeError)
  expect(() => swigluPacked(device.zeros([2, 7]))).toThrow('the last dimension is 7')
})
