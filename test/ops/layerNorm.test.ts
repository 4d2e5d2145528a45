import { describe, expect, test } from 'vitest'
import { DTypeError, ShapeError } from '../../lib/errors.js'
import { addLayerNorm, layerNorm } from '../../lib/ops/layerNorm.js'
import { Tape } from '../../lib/tensor/tape.js'
import type { FloatDType, Tensor } from '../../lib/tensor/tensor.js'
import { asStored, normal, relativeError, TOLERANCE, testDevice } from '../support.js'
import { MIXES, SHAPES, STREAMS } from './residualNorm.js'

const device = testDevice()
const EPS = 1e-5

/** float64 reference: y, and the gradients for dy (and dsum, which reaches h directly). */
function reference(
  h: Float32Array,
  weight: Float32Array,
  bias: Float32Array | null,
  dy: Float32Array,
  dsum?: Float32Array,
) {
  const cols = weight.length
  const mean = (of: (i: number) => number) => Array.from(weight, (_, i) => of(i)).reduce((a, b) => a + b, 0) / cols
  const [y, dh] = [new Float64Array(h.length), new Float64Array(h.length)]
  const [dweight, dbias] = [new Float64Array(cols), new Float64Array(cols)]
  for (let at = 0; at < h.length; at += cols) {
    const m = mean((i) => h[at + i]!)
    const r = 1 / Math.sqrt(mean((i) => (h[at + i]! - m) ** 2) + EPS)
    const z = (i: number) => (h[at + i]! - m) * r
    const g = (i: number) => dy[at + i]! * weight[i]!
    const [ofG, ofGz] = [mean(g), mean((i) => g(i) * z(i))]
    for (let i = 0; i < cols; i++) {
      y[at + i] = z(i) * weight[i]! + (bias?.[i] ?? 0)
      dh[at + i] = r * (g(i) - ofG - z(i) * ofGz) + (dsum?.[at + i] ?? 0)
      dweight[i]! += dy[at + i]! * z(i)
      dbias[i]! += dy[at + i]!
    }
  }
  return { y, dh, dweight, dbias }
}

/** A tensor that wants a gradient, and its values as they are stored. */
function input(data: Float32Array, shape: readonly number[], dtype: FloatDType): [Tensor, Float32Array] {
  const t = device.tensor(data, shape, dtype)
  t.requiresGrad = true
  return [t, asStored(data, dtype)]
}

interface Case {
  data: Float32Array
  cols: number
  bias?: boolean
  streamDtype: FloatDType
  dtype: FloatDType
  weightDtype: FloatDType
}

/** Forward and gradients against the reference. */
async function check({ data, cols, bias: biased = true, streamDtype, dtype, weightDtype }: Case): Promise<void> {
  const shape = [data.length / cols, cols]
  const [x, h] = input(data, shape, streamDtype)
  const [weight, w] = input(normal(2, cols), [cols], weightDtype)
  const [bias, b] = input(normal(3, cols), [cols], weightDtype)
  const [dy, dyData] = input(normal(4, data.length), shape, dtype)
  const tape = new Tape(device)
  const y = layerNorm(x, weight, EPS, { bias: biased ? bias : null, dtype })
  expect(y.dtype).toBe(dtype)
  tape.backward(y, dy)
  const want = reference(h, w, biased ? b : null, dyData)
  expect(relativeError(await y.floats(), want.y), 'y').toBeLessThan(TOLERANCE[dtype])
  expect(relativeError(await x.grad!.floats(), want.dh), 'dx').toBeLessThan(TOLERANCE[streamDtype])
  expect(relativeError(await weight.grad!.floats(), want.dweight), 'dweight').toBeLessThan(TOLERANCE.float32)
  if (biased) expect(relativeError(await bias.grad!.floats(), want.dbias), 'dbias').toBeLessThan(TOLERANCE.float32)
  else expect(bias.grad).toBeNull()
}

test.each(MIXES)('layerNorm of %s to %s with a weight of %s', async (streamDtype, dtype, weightDtype) => {
  await check({ data: normal(1, 5 * 72), cols: 72, streamDtype, dtype, weightDtype })
})

describe.each(STREAMS)('layerNorm %s, stream %s', (dtype, streamDtype) => {
  const dtypes = { dtype, streamDtype, weightDtype: dtype }

  test.each(SHAPES)('[%i, %i] forward and gradients', async (rows, cols) => {
    await check({ data: normal(1, rows * cols, { outliers: 5 }), cols, ...dtypes })
  })

  test('without a bias', async () => {
    await check({ data: normal(1, 19 * 96, { outliers: 5 }), cols: 96, bias: false, ...dtypes })
  })

  test('a mean of as many standard deviations as the dtype can tell', async () => {
    const mean = streamDtype === 'float32' ? 1e6 : 200
    const data = normal(5, 31 * 300).map((v, i) => v + (i < 16 * 300 ? mean : -mean))
    await check({ data, cols: 300, ...dtypes })
  })

  test('rows near epsilon, and rows of one number', async () => {
    await check({ data: normal(6, 3 * 40, { std: 3e-3 }).fill(7, 0, 40), cols: 40, ...dtypes })
  })

  test('rows longer than a block holds in registers', async () => {
    await check({ data: normal(7, 2 * 16501).map((v) => v + 50), cols: 16501, ...dtypes })
  })

  test('with the residual addition fused', async () => {
    const shape = [19, 96]
    const [x, a] = input(normal(8, 19 * 96), shape, dtype)
    const [residual, b] = input(normal(9, 19 * 96), shape, streamDtype)
    const [weight, w] = input(normal(10, 96), [96], dtype)
    const [bias, c] = input(normal(11, 96), [96], dtype)
    const tape = new Tape(device)
    const first = addLayerNorm(x, residual, weight, EPS, { bias })
    const second = addLayerNorm(first.y, first.sum, weight, EPS, { bias }) // both outputs carry a gradient back
    const [dy, dyData] = input(normal(12, 19 * 96), shape, dtype)
    tape.backward(second.y, dy)

    const plus = (u: ArrayLike<number>, v: Float32Array) =>
      asStored(
        v.map((value, i) => value + u[i]!),
        streamDtype,
      )
    const h1 = plus(a, b)
    const y1 = asStored(Float32Array.from(reference(h1, w, c, dyData).y), dtype)
    const r2 = reference(plus(y1, h1), w, c, dyData)
    const d2 = Float32Array.from(r2.dh)
    const back = reference(h1, w, c, d2, d2)
    expect(relativeError(await second.y.floats(), r2.y)).toBeLessThan(TOLERANCE[dtype])
    expect(relativeError(await x.grad!.floats(), back.dh)).toBeLessThan(TOLERANCE[dtype])
    expect(relativeError(await residual.grad!.floats(), back.dh)).toBeLessThan(TOLERANCE[dtype])
    const dweight = r2.dweight.map((v, i) => v + back.dweight[i]!)
    const dbias = r2.dbias.map((v, i) => v + back.dbias[i]!)
    expect(relativeError(await weight.grad!.floats(), dweight)).toBeLessThan(TOLERANCE[dtype])
    expect(relativeError(await bias.grad!.floats(), dbias)).toBeLessThan(TOLERANCE[dtype])
    expect([first.sum.dtype, second.y.dtype]).toEqual([streamDtype, dtype])
  })

  test('the norm of a fused sum is the norm of the sum as it is stored, to the bit', async () => {
    const [rows, cols] = [9, 100]
    const weight = device.tensor(normal(15, cols), [cols], dtype)
    const x = device.tensor(normal(16, rows * cols), [rows, cols], dtype)
    const residual = device.tensor(normal(17, rows * cols), [rows, cols], streamDtype)
    const { y, sum } = addLayerNorm(x, residual, weight, EPS)
    expect(await y.floats()).toEqual(await layerNorm(sum, weight, EPS, { dtype }).floats())
  })

  test('a sum that is used without its norm hands the gradient on', async () => {
    const [x] = input(normal(8, 24), [2, 12], dtype)
    const [residual] = input(normal(9, 24), [2, 12], streamDtype)
    const tape = new Tape(device)
    const { sum } = addLayerNorm(x, residual, device.tensor(normal(10, 12)), EPS)
    const [dsum, dsumData] = input(normal(11, 24), [2, 12], streamDtype)
    tape.backward(sum, dsum)
    expect(relativeError(await x.grad!.floats(), asStored(dsumData, dtype))).toBe(0)
    expect(relativeError(await residual.grad!.floats(), dsumData)).toBe(0)
  })
})

test('a frozen weight beside a bias that learns, and the other way round', async () => {
  for (const learns of ['weight', 'bias'] as const) {
    const [x, h] = input(normal(1, 70 * 40), [70, 40], 'float32')
    const [weight, w] = input(normal(2, 40), [40], 'float32')
    const [bias, b] = input(normal(3, 40), [40], 'float32')
    const of = { weight, bias }
    for (const t of [weight, bias]) t.requiresGrad = t === of[learns]
    const [dy, dyData] = input(normal(4, 70 * 40), [70, 40], 'float32')
    const tape = new Tape(device)
    tape.backward(layerNorm(x, weight, EPS, { bias }), dy)
    const want = reference(h, w, b, dyData)
    expect(relativeError(await of[learns].grad!.floats(), want[`d${learns}`])).toBeLessThan(TOLERANCE.float32)
    expect(of[learns === 'weight' ? 'bias' : 'weight'].grad).toBeNull()
  }
})

test('no rows', async () => {
  const [x] = input(new Float32Array(0), [0, 8], 'float32')
  const [weight] = input(normal(1, 8), [8], 'float32')
  const tape = new Tape(device)
  const y = layerNorm(x, weight, EPS)
  tape.backward(y, device.zeros([0, 8]))
  expect(Array.from(await weight.grad!.floats())).toEqual(Array(8).fill(0))
})

test('shapes and dtypes that do not fit are named', () => {
  const x = device.zeros([2, 8])
  const weight = device.zeros([8])
  expect(() => layerNorm(x, device.zeros([9]), EPS)).toThrow(ShapeError)
  expect(() => layerNorm(x, device.zeros([9]), EPS)).toThrow('layerNorm: x is [2, 8] but weight is [9]')
  expect(() => layerNorm(x, weight, EPS, { bias: device.zeros([2, 4]) })).toThrow('bias must be [8]')
  expect(() => layerNorm(x, weight, EPS, { bias: device.zeros([8], 'bfloat16') })).toThrow(DTypeError)
  expect(() => addLayerNorm(x, device.zeros([2, 9]), weight, EPS)).toThrow('residual is float32 [2, 9]')
})
