import { describe, expect, test } from 'vitest'
import { DTypeError, ShapeError } from '../../lib/errors.js'
import { Tape } from '../../lib/tensor/tape.js'
import type { Tensor } from '../../lib/tensor/tensor.js'
import { asStored, FLOATS, normal, relativeError, TOLERANCE, testDevice } from '../support.js'

/** An activation in float64, and its derivative. */
type Activation = (z: number) => { value: number; slope: number }

/** A gated unit on the device, its operands apart or side by side. */
interface GatedUnit {
  apart(gate: Tensor, up: Tensor): Tensor
  packed(gateUp: Tensor): Tensor
}

/** What holds for every gated unit y = activation(gate) * up. Call it at the top of the file. */
export function gatedUnitTests(name: string, unit: GatedUnit, activation: Activation): void {
  const device = testDevice()
  const SHAPES = [
    [0, 4],
    [1, 1],
    [1, 5],
    [3, 7],
    [17, 64],
    [130, 33],
    [5, 20001],
  ] as const

  function reference(gate: Float32Array, up: Float32Array, dy: Float32Array) {
    const a = Array.from(gate, activation)
    return {
      y: a.map(({ value }, i) => value * up[i]!),
      dgate: a.map(({ slope }, i) => dy[i]! * up[i]! * slope),
      dup: a.map(({ value }, i) => dy[i]! * value),
    }
  }

  /** Rows of a and of b side by side. */
  function join(a: Float32Array, b: Float32Array, cols: number): Float32Array {
    const joined = new Float32Array(a.length * 2)
    for (let at = 0; at < a.length; at += cols) {
      joined.set(a.subarray(at, at + cols), at * 2)
      joined.set(b.subarray(at, at + cols), at * 2 + cols)
    }
    return joined
  }

  describe.each(FLOATS)(`${name} %s`, (dtype) => {
    const make = (rows: number, cols: number) =>
      [1, 2, 3].map((seed) => asStored(normal(seed, rows * cols, { std: 2, outliers: 20 }), dtype)) as [
        Float32Array,
        Float32Array,
        Float32Array,
      ]

    test.each(SHAPES)('[%i, %i] forward and gradients', async (rows, cols) => {
      const [gateData, upData, dyData] = make(rows, cols)
      const gate = device.tensor(gateData, [rows, cols], dtype)
      const up = device.tensor(upData, [rows, cols], dtype)
      gate.requiresGrad = up.requiresGrad = true
      const tape = new Tape(device)
      const y = unit.apart(gate, up)
      tape.backward(y, device.tensor(dyData, [rows, cols], dtype))
      const want = reference(gateData, upData, dyData)
      expect(relativeError(await y.floats(), want.y)).toBeLessThan(TOLERANCE[dtype])
      expect(relativeError(await gate.grad!.floats(), want.dgate)).toBeLessThan(TOLERANCE[dtype])
      expect(relativeError(await up.grad!.floats(), want.dup)).toBeLessThan(TOLERANCE[dtype])
    })

    test.each(SHAPES)('[%i, 2 x %i] of one projection gives the same bits', async (rows, cols) => {
      const [gateData, upData, dyData] = make(rows, cols)
      const gateUp = device.tensor(join(gateData, upData, cols), [rows, 2 * cols], dtype)
      const gate = device.tensor(gateData, [rows, cols], dtype)
      const up = device.tensor(upData, [rows, cols], dtype)
      gateUp.requiresGrad = gate.requiresGrad = up.requiresGrad = true
      const dy = device.tensor(dyData, [rows, cols], dtype)
      const tape = new Tape(device)
      const packed = unit.packed(gateUp)
      tape.backward(packed, dy)
      const other = new Tape(device)
      const apart = unit.apart(gate, up)
      other.backward(apart, dy)
      expect(relativeError(await packed.floats(), await apart.floats())).toBe(0)
      const [dgate, dup] = [await gate.grad!.floats(), await up.grad!.floats()]
      expect(relativeError(await gateUp.grad!.floats(), join(dgate, dup, cols))).toBe(0)
    })

    test('gates far from 0 saturate without NaN', async () => {
      const g = Float32Array.of(-1e30, -1000, -90, -88, 88, 90, 1000, 1e30)
      const gateData = asStored(g, dtype)
      const ones = new Float32Array(g.length).fill(1)
      const gate = device.tensor(gateData, [1, g.length], dtype)
      gate.requiresGrad = true
      const tape = new Tape(device)
      const y = unit.apart(gate, device.tensor(ones, [1, g.length], dtype))
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
    expect(() => unit.apart(device.zeros([2, 8]), device.zeros([2, 9]))).toThrow(ShapeError)
    expect(() => unit.apart(device.zeros([2, 8]), device.zeros([2, 9]))).toThrow('gate is [2, 8] but up is [2, 9]')
    expect(() => unit.apart(device.zeros([2, 8]), device.zeros([2, 8], 'bfloat16'))).toThrow(DTypeError)
    expect(() => unit.packed(device.zeros([2, 7]))).toThrow('the last dimension is 7')
  })
}
