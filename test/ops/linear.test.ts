import { describe, expect, test } from 'vitest'
import { DTypeError, ShapeError } from '../../lib/errors.js'
import { type Activation, linear } from '../../lib/ops/linear.js'
import { Tape } from '../../lib/tensor/tape.js'
import { asStored, type FLOATS, normal, relativeError, TOLERANCE, testDevice } from '../support.js'

const device = testDevice()

type Float = (typeof FLOATS)[number]

/** Abramowitz & Stegun 7.1.5 and 7.1.14: the series of erf, and the continued fraction of erfc where it converges faster. */
function erfc(x: number): number {
  if (x < 0) return 2 - erfc(-x)
  if (x < 2.5) {
    let term = x
    let sum = x
    for (let n = 1; Math.abs(term) > 1e-18 * sum; n++) {
      term *= (-x * x) / n
      sum += term / (2 * n + 1)
    }
    return 1 - (2 / Math.sqrt(Math.PI)) * sum
  }
  let f = x
  for (let n = 120; n > 0; n--) f = x + n / 2 / f
  return Math.exp(-x * x) / Math.sqrt(Math.PI) / f
}

/** f(z) and f'(z). */
const ACTIVATIONS: Record<Activation | 'none', (z: number) => [number, number]> = {
  none: (z) => [z, 1],
  silu: (z) => {
    const s = 1 / (1 + Math.exp(-z))
    return [z * s, s * (1 + z * (1 - s))]
  },
  gelu: (z) => {
    const phi = erfc(-z / Math.SQRT2) / 2
    return [z * phi, phi + (z * Math.exp((-z * z) / 2)) / Math.sqrt(2 * Math.PI)]
  },
}

interface Case {
  m: number
  n: number
  k: number
  x: Float32Array
  weight: Float32Array
  bias?: Float32Array
  residual?: Float32Array
  dy: Float32Array
  activation?: Activation
}

/** float64 forward and gradients. */
function reference({ m, n, k, x, weight, bias, residual, dy, activation = 'none' as Activation }: Case) {
  const y = new Float64Array(m * n)
  const dx = new Float64Array(m * k)
  const dweight = new Float64Array(n * k)
  const dbias = new Float64Array(n)
  const f = ACTIVATIONS[activation]
  for (let i = 0; i < m; i++)
    for (let j = 0; j < n; j++) {
      let z = bias?.[j] ?? 0
      for (let q = 0; q < k; q++) z += x[i * k + q]! * weight[j * k + q]!
      const [value, slope] = f(z)
      y[i * n + j] = value + (residual?.[i * n + j] ?? 0)
      const dz = dy[i * n + j]! * slope
      dbias[j]! += dz
      for (let q = 0; q < k; q++) {
        dx[i * k + q]! += dz * weight[j * k + q]!
        dweight[j * k + q]! += dz * x[i * k + q]!
      }
    }
  return { y, dx, dweight, dbias }
}

/** Inputs with outliers, as their dtypes hold them. */
function makeCase(m: number, n: number, k: number, dtype: Float, weightDtype: Float, activation?: Activation): Case {
  return {
    m,
    n,
    k,
    x: asStored(normal(1, m * k, { outliers: 3 }), dtype),
    weight: asStored(normal(2, n * k, { std: 1 / Math.sqrt(k || 1) }), weightDtype),
    bias: asStored(normal(3, n), weightDtype),
    residual: asStored(normal(4, m * n, { outliers: 3 }), dtype),
    dy: asStored(normal(5, m * n), dtype),
    ...(activation ? { activation } : {}),
  }
}

async function check(c: Case, dtype: Float, weightDtype: Float) {
  const { m, n, k } = c
  const x = device.tensor(c.x, [m, k], dtype)
  const weight = device.tensor(c.weight, [n, k], weightDtype)
  const bias = c.bias ? device.tensor(c.bias, [n], weightDtype) : null
  const residual = c.residual ? device.tensor(c.residual, [m, n], dtype) : null
  for (const t of [x, weight, bias, residual]) if (t) t.requiresGrad = true
  const tape = new Tape(device)
  const y = linear(x, weight, { bias, residual, activation: c.activation ?? null })
  tape.backward(y, device.tensor(c.dy, [m, n], dtype))
  const want = reference(c)
  const off = async (t: { floats(): Promise<Float32Array> }, ref: ArrayLike<number>) =>
    relativeError(await t.floats(), ref)
  // Weight gradients are float32: only what was rounded on the way (an activation's gradient) may show in them.
  const sums = c.activation ? TOLERANCE[dtype] : TOLERANCE.float32
  expect(await off(y, want.y)).toBeLessThan(TOLERANCE[dtype])
  expect(await off(x.grad!, want.dx)).toBeLessThan(TOLERANCE[dtype])
  expect(await off(weight.grad!, want.dweight)).toBeLessThan(sums)
  if (bias) expect(await off(bias.grad!, want.dbias)).toBeLessThan(sums)
  if (residual) expect(await off(residual.grad!, c.dy)).toBe(0)
}

// Every path: one row, dot products, few rows with each number of vectors, packed with one and several blocks of the reduction.
const SHAPES = [
  [1, 1, 1],
  [1, 70, 129],
  [1, 30, 264],
  [2, 33, 40],
  [3, 65, 17],
  [4, 50, 65],
  [5, 3, 31],
  [6, 49, 300],
  [7, 20, 140],
  [8, 37, 258],
  [9, 49, 33],
  [17, 96, 130],
  [33, 40, 63],
  [64, 97, 128],
  [65, 33, 46],
  [131, 130, 301],
  [70, 19, 1030],
  [700, 7, 5],
  [12, 40, 520], // rows of whole 16 bytes, and several stages of the reduction
  [96, 136, 520],
  [70, 48, 64], // of those, one whose reduction is not cut into parts
] as const

describe.each([
  ['float32', 'float32'],
  ['bfloat16', 'bfloat16'],
  ['float32', 'bfloat16'],
  ['bfloat16', 'float32'],
] as const)('linear of %s with %s weights', (dtype, weightDtype) => {
  test.each(SHAPES)('%i rows, %i x %i: forward and gradients', async (m, n, k) => {
    const { bias, residual, ...plain } = makeCase(m, n, k, dtype, weightDtype)
    await check(plain, dtype, weightDtype)
    await check({ ...plain, bias: bias!, residual: residual! }, dtype, weightDtype)
  })

  test.each(['silu', 'gelu'] as const)('%s fused, forward and gradients', async (activation) => {
    for (const m of [1, 6, 40, 90]) await check(makeCase(m, 37, 50, dtype, weightDtype, activation), dtype, weightDtype)
    await check(makeCase(70, 48, 64, dtype, weightDtype, activation), dtype, weightDtype)
  })

  test.each([20, 80])('gradients of %i rows are added to what is there', async (m) => {
    const c = makeCase(m, 21, 30, dtype, weightDtype)
    const x = device.tensor(c.x, [m, 30], dtype)
    const weight = device.tensor(c.weight, [21, 30], weightDtype)
    const bias = device.tensor(c.bias!, [21], weightDtype)
    weight.requiresGrad = bias.requiresGrad = true
    for (let step = 0; step < 2; step++) {
      const tape = new Tape(device)
      tape.backward(linear(x, weight, { bias }), device.tensor(c.dy, [m, 21], dtype))
    }
    const want = reference(c)
    expect(
      relativeError(
        await weight.grad!.floats(),
        want.dweight.map((v) => 2 * v),
      ),
    ).toBeLessThan(TOLERANCE.float32)
    expect(
      relativeError(
        await bias.grad!.floats(),
        want.dbias.map((v) => 2 * v),
      ),
    ).toBeLessThan(TOLERANCE.float32)
    expect(x.grad).toBeNull()
  })

  test('float32 results of any input keep what a bfloat16 result rounds away', async () => {
    for (const m of [2, 20, 90]) {
      const { residual, ...c } = makeCase(m, 40, 64, dtype, weightDtype)
      const y = linear(device.tensor(c.x, [m, 64], dtype), device.tensor(c.weight, [40, 64], weightDtype), {
        bias: device.tensor(c.bias!, [40], weightDtype),
        dtype: 'float32',
      })
      expect(relativeError(await y.floats(), reference(c).y)).toBeLessThan(TOLERANCE.float32)
    }
  })
})

// A GPU takes larger tiles where an output has enough of them: y, the gradient of x and that of the weight in turn; and few rows take more
// columns at a time where there are many.
test.each([
  ['bfloat16', 448, 1984, 8],
  ['bfloat16', 448, 8, 1984],
  ['bfloat16', 8, 448, 1984],
  ['bfloat16', 1600, 1600, 8],
  ['bfloat16', 1600, 8, 1600],
  ['bfloat16', 8, 1600, 1600],
  ['float32', 1024, 2176, 8],
  ['bfloat16', 8, 6920, 8],
  ['bfloat16', 8, 13_832, 8],
  ['bfloat16', 16, 13_832, 8],
] as const)('large outputs of %s: %i rows, %i x %i', async (dtype, m, n, k) => {
  const { bias: _, residual: __, ...c } = makeCase(m, n, k, dtype, dtype)
  await check(c, dtype, dtype)
})

test('a weight row that no bfloat16 pair fits, at an odd address', async () => {
  const [m, n, k] = [20, 30, 33]
  const data = asStored(normal(8, (n + 1) * k), 'bfloat16')
  const x = asStored(normal(9, m * k), 'bfloat16')
  const weight = device.tensor(data, [n + 1, k], 'bfloat16').rows(1, n + 1)
  const y = linear(device.tensor(x, [m, k], 'bfloat16'), weight)
  const want = reference({ m, n, k, x, weight: data.subarray(k), dy: new Float32Array(m * n) })
  expect(relativeError(await y.floats(), want.y)).toBeLessThan(TOLERANCE.bfloat16)
})

test('dimensions before the last stay, and a saved activation input leaves nothing behind', async () => {
  const device = testDevice() // its own, and every tensor held to the end: what nobody holds may be collected meanwhile
  using x = device.tensor(normal(10, 2 * 3 * 8), [2, 3, 8])
  using weight = device.tensor(normal(11, 5 * 8), [5, 8])
  weight.requiresGrad = true
  using first = linear(x, weight)
  expect(first.shape).toEqual([2, 3, 5])
  weight.grad ??= device.zeros([5, 8])
  await device.synchronize()
  const before = device.memory().live
  const tape = new Tape(device)
  const y = linear(x, weight, { activation: 'gelu' })
  const dy = device.tensor(normal(12, y.size), y.shape)
  tape.backward(y, dy)
  y.dispose()
  dy.dispose()
  await device.synchronize()
  expect(device.memory().live).toBe(before)
})

test('results do not depend on the number of threads', async () => {
  const [m, n, k] = [300, 200, 700]
  const run = async (threads: number) => {
    const d = testDevice({ threads })
    const x = d.tensor(normal(13, m * k), [m, k])
    const weight = d.tensor(normal(14, n * k), [n, k])
    x.requiresGrad = weight.requiresGrad = true
    const tape = new Tape(d)
    const y = linear(x, weight)
    tape.backward(y, d.tensor(normal(15, m * n), [m, n]))
    return [await y.floats(), await x.grad!.floats(), await weight.grad!.floats()]
  }
  const one = await run(1)
  for (const [i, three] of (await run(3)).entries())
    expect(Buffer.from(three.buffer).equals(Buffer.from(one[i]!.buffer))).toBe(true)
})

test('no rows, and nothing to sum', async () => {
  const weight = device.zeros([4, 8])
  weight.requiresGrad = true
  const tape = new Tape(device)
  const y = linear(device.empty([0, 8]), weight)
  expect(y.shape).toEqual([0, 4])
  tape.backward(y, device.empty([0, 4]))
  expect(await weight.grad!.floats()).toEqual(new Float32Array(32))
  const bias = device.tensor([1, 2, 3])
  expect(await linear(device.empty([2, 0]), device.empty([3, 0]), { bias }).floats()).toEqual(
    Float32Array.of(1, 2, 3, 1, 2, 3),
  )
})

test('inputs that do not fit are named', () => {
  const x = device.zeros([7, 896])
  const weight = device.zeros([10, 896])
  expect(() => linear(x, device.zeros([4864, 1024]))).toThrow(ShapeError)
  expect(() => linear(x, device.zeros([4864, 1024]))).toThrow('linear: input is [7, 896] but weight is [4864, 1024]')
  expect(() => linear(x, device.zeros([896]))).toThrow('weight is [896]; it must have two dimensions')
  expect(() => linear(x, weight, { bias: device.zeros([11]) })).toThrow('bias must be [10]')
  expect(() => linear(x, weight, { residual: device.zeros([7, 11]) })).toThrow(
    'the output is [7, 10] but residual is [7, 11]',
  )
  expect(() => linear(x, device.zeros([10, 896], 'int32'))).toThrow(DTypeError)
  expect(() => linear(x, weight, { residual: device.zeros([7, 10], 'bfloat16') })).toThrow(
    'the output is float32 but residual is bfloat16',
  )
})
