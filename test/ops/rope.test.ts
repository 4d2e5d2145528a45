import { describe, expect, test } from 'vitest'
import { DTypeError, ShapeError } from '../../lib/errors.js'
import { rope, ropeTable } from '../../lib/ops/rope.js'
import { Tape } from '../../lib/tensor/tape.js'
import { asStored, FLOATS, normal, relativeError, TOLERANCE, testDevice } from '../support.js'

const device = testDevice()

/** float64 rotation by position * theta^(-2j / headDim), or back. */
function reference(
  x: Float32Array,
  positions: Int32Array,
  heads: number,
  headDim: number,
  theta: number,
  direction: 1 | -1,
) {
  const half = headDim / 2
  const y = new Float64Array(x.length)
  positions.forEach((position, t) => {
    for (let h = 0; h < heads; h++)
      for (let j = 0; j < half; j++) {
        const at = (t * heads + h) * headDim + j
        const angle = direction * position * theta ** (-j / half)
        y[at] = x[at]! * Math.cos(angle) - x[at + half]! * Math.sin(angle)
        y[at + half] = x[at + half]! * Math.cos(angle) + x[at]! * Math.sin(angle)
      }
  })
  return y
}

describe.each(FLOATS)('rope %s', (dtype) => {
  test.each([
    [1, 1, 1, 8],
    [19, 4, 2, 16],
    [37, 3, 1, 40],
    [50, 14, 2, 64],
    [9, 2, 2, 128],
  ])('%i tokens, %i and %i heads of %i: forward and gradients', async (tokens, heads, kvHeads, headDim) => {
    const theta = 1e6
    const positions = Int32Array.from({ length: tokens }, (_, i) => (i * 37) % 700)
    const table = ropeTable(device, { headDim, theta, maxPositions: 700 })
    const make = (seed: number, h: number) => asStored(normal(seed, tokens * h * headDim, { outliers: 3 }), dtype)
    const [qData, kData, dqData] = [make(1, heads), make(2, kvHeads), make(3, heads)]
    const q = device.tensor(qData, [tokens, heads * headDim], dtype)
    const k = device.tensor(kData, [tokens, kvHeads, headDim], dtype)
    q.requiresGrad = k.requiresGrad = true
    const tape = new Tape(device)
    const y = rope({ q, k, positions: device.tensor(positions), table, headDim })
    tape.backward(y.q, device.tensor(dqData, q.shape, dtype))
    expect(y.k.shape).toEqual(k.shape)
    expect(relativeError(await y.q.floats(), reference(qData, positions, heads, headDim, theta, 1))).toBeLessThan(
      TOLERANCE[dtype],
    )
    expect(relativeError(await q.grad!.floats(), reference(dqData, positions, heads, headDim, theta, -1))).toBeLessThan(
      TOLERANCE[dtype],
    )
    expect(k.grad).toBeNull() // no gradient reached it
  })

  test('keys get their gradient too', async () => {
    const [tokens, headDim] = [21, 32]
    const positions = Int32Array.from({ length: tokens }, (_, i) => i)
    const table = ropeTable(device, { headDim, theta: 1e4, maxPositions: tokens })
    const data = asStored(normal(5, tokens * headDim), dtype)
    const q = device.tensor(data, [tokens, headDim], dtype)
    const k = device.tensor(data, [tokens, headDim], dtype)
    k.requiresGrad = true
    const tape = new Tape(device)
    const y = rope({ q, k, positions: device.tensor(positions), table, headDim })
    const got = await y.k.floats()
    tape.backward(y.k, device.tensor(data, k.shape, dtype))
    expect(relativeError(got, reference(data, positions, 1, headDim, 1e4, 1))).toBeLessThan(TOLERANCE[dtype])
    expect(relativeError(await k.grad!.floats(), reference(data, positions, 1, headDim, 1e4, -1))).toBeLessThan(
      TOLERANCE[dtype],
    )
  })
})

describe('ropeTable', () => {
  test('is the float32 nearest to the float64 value, far out too', async () => {
    const [headDim, theta, maxPositions] = [16, 1e6, 33_000]
    const table = await ropeTable(device, { headDim, theta, maxPositions }).floats()
    let worst = 0
    for (let position = 0; position < maxPositions; position += 97)
      for (let j = 0; j < headDim / 2; j++) {
        const angle = position * theta ** (-j / (headDim / 2))
        worst = Math.max(worst, Math.abs(table[position * headDim + j]! - Math.cos(angle)))
        worst = Math.max(worst, Math.abs(table[position * headDim + headDim / 2 + j]! - Math.sin(angle)))
      }
    expect(worst).toBeLessThan(6e-8) // half a unit in the last place of 1
  })

  test('frequencies and amplitude can be replaced', async () => {
    const table = await ropeTable(device, {
      headDim: 4,
      theta: 1,
      maxPositions: 3,
      frequency: (j) => j + 1,
      amplitude: 2,
    }).floats()
    const row = [2 * Math.cos(2), 2 * Math.cos(4), 2 * Math.sin(2), 2 * Math.sin(4)]
    expect(relativeError(table.slice(8), row)).toBeLessThan(1e-7)
  })

  test.each([
    [15, 10],
    [16, 0],
    [16, 1.5],
  ])('headDim %d with %d positions is refused', (headDim, maxPositions) => {
    expect(() => ropeTable(device, { headDim, theta: 1e4, maxPositions })).toThrow(ShapeError)
  })
})

describe('inputs that do not fit', () => {
  const base = () => ({
    q: device.zeros([3, 32]),
    k: device.zeros([3, 16]),
    positions: device.tensor(Int32Array.of(0, 1, 2)),
    table: ropeTable(device, { headDim: 16, theta: 1e4, maxPositions: 3 }),
    headDim: 16,
  })

  test('shapes and dtypes are named', () => {
    expect(() => rope({ ...base(), q: device.zeros([4, 32]) })).toThrow('q is [4, 32] with 3 positions and headDim 16')
    expect(() => rope({ ...base(), k: device.zeros([3, 24]) })).toThrow(ShapeError)
    expect(() => rope({ ...base(), headDim: 8 })).toThrow('the table is [3, 16] but headDim is 8')
    expect(() => rope({ ...base(), k: device.zeros([3, 16], 'bfloat16') })).toThrow(DTypeError)
    expect(() => rope({ ...base(), positions: device.zeros([3]) })).toThrow(DTypeError)
  })

  test.each([[-1], [3]])('position %i is outside the table', async (position) => {
    const { q } = rope({ ...base(), positions: device.tensor(Int32Array.of(0, position, 2)) })
    await expect(q.floats()).rejects.toThrow(`position ${position} of token 1 is outside the table of 3 positions`)
  })

  test('no tokens', async () => {
    const none = device.zeros([0, 32])
    const y = rope({ ...base(), q: none, k: none, positions: device.zeros([0], 'int32') })
    expect((await y.q.floats()).length).toBe(0)
  })
})
