import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { ArgumentError, DTypeError, ShapeError } from '../../lib/errors.js'
import { crossEntropy } from '../../lib/ops/crossEntropy.js'
import { DIVERGENCES, type DivergenceKind, type DivergenceOptions, divergence } from '../../lib/ops/divergence.js'
import { Tape } from '../../lib/tensor/tape.js'
import { divergenceRow } from '../oracle.js'
import { asStored, type FLOATS, normal, relativeError, testDevice } from '../support.js'

const device = testDevice()
const TOLERANCE = { float32: 1e-5, bfloat16: 4e-3 } as const
type Float = (typeof FLOATS)[number]

/** Values and the student's gradient for a dvalue of its own per row. */
async function run(
  student: Float32Array,
  teacher: Float32Array,
  rows: number,
  kind: DivergenceKind,
  options: DivergenceOptions = {},
  dtypes: [Float, Float] = ['float32', 'float32'],
) {
  using _scope = device.scope()
  const shape = [rows, student.length / rows]
  const s = device.tensor(student, shape, dtypes[0])
  s.requiresGrad = true
  using tape = new Tape(device)
  const value = divergence(s, device.tensor(teacher, shape, dtypes[1]), kind, options)
  const dvalue = Float32Array.from({ length: rows }, (_, i) => 1 - 0.25 * (i % 3))
  tape.backward(value, device.tensor(dvalue))
  return { value: await value.floats(), grad: await s.grad!.floats(), dvalue }
}

/** The same from the oracle. */
function want(
  student: Float32Array,
  teacher: Float32Array,
  rows: number,
  kind: DivergenceKind,
  options: DivergenceOptions = {},
) {
  const n = student.length / rows
  const value = new Float64Array(rows)
  const grad = new Float64Array(student.length)
  const factor = options.scaleByTemperatureSquared ? options.temperature! ** 2 : 1
  for (let i = 0; i < rows; i++) {
    const row = divergenceRow(kind, student.subarray(i * n, i * n + n), teacher.subarray(i * n, i * n + n), options)
    value[i] = row.loss * factor
    grad.set(
      row.grad.map((g) => g * factor * (1 - 0.25 * (i % 3))),
      i * n,
    )
  }
  return { value, grad }
}

describe.each(DIVERGENCES)('%s', (kind) => {
  const options = { beta: 0.1 }
  describe.each([1, 10, 30])('logit std %i', (std) => {
    test.each([33, 4099, 32003])('vocabulary %i', async (vocab) => {
      const rows = 5
      const s = normal(vocab + std, rows * vocab, { std })
      const t = normal(vocab + std + 1, rows * vocab, { std })
      const got = await run(s, t, rows, kind, options)
      const expected = want(s, t, rows, kind, options)
      expect(relativeError(got.value, expected.value)).toBeLessThan(TOLERANCE.float32)
      expect(relativeError(got.grad, expected.grad)).toBeLessThan(TOLERANCE.float32)
    })

    test('a student close to its teacher', async () => {
      const rows = 6
      const t = normal(std, rows * 1000, { std })
      const s = t.map((x, i) => Math.fround(x + normal(std + i, 1)[0]! * 1e-3))
      const got = await run(s, t, rows, kind, options)
      const expected = want(s, t, rows, kind, options)
      expect(relativeError(got.grad, expected.grad)).toBeLessThan(1e-4) // of a gradient a thousand times smaller than the softmax
    })
  })

  test.each([
    ['float32', 'bfloat16'],
    ['bfloat16', 'float32'],
    ['bfloat16', 'bfloat16'],
  ] as [Float, Float][])('student %s, teacher %s', async (a, b) => {
    const s = asStored(normal(1, 7 * 301, { std: 10, outliers: 5 }), a)
    const t = asStored(normal(2, 7 * 301, { std: 10, outliers: 5 }), b)
    const got = await run(s, t, 7, kind, options, [a, b])
    const expected = want(s, t, 7, kind, options)
    expect(relativeError(got.value, expected.value)).toBeLessThan(TOLERANCE.float32)
    expect(relativeError(got.grad, expected.grad)).toBeLessThan(TOLERANCE[a])
  })

  test('temperature and its square', async () => {
    for (const squared of [false, true]) {
      const o = { ...options, temperature: 3, scaleByTemperatureSquared: squared }
      const s = normal(3, 3 * 50, { std: 5 })
      const t = normal(4, 3 * 50, { std: 5 })
      const got = await run(s, t, 3, kind, o)
      const expected = want(s, t, 3, kind, o)
      expect(relativeError(got.value, expected.value)).toBeLessThan(TOLERANCE.float32)
      expect(relativeError(got.grad, expected.grad)).toBeLessThan(TOLERANCE.float32)
    }
  })

  test('identical rows: exactly zero', async () => {
    const s = normal(5, 4 * 4099, { std: 30 })
    s[7] = Number.NEGATIVE_INFINITY
    const got = await run(s, s, 4, kind, options)
    expect(got.value.every((x) => x === 0)).toBe(true)
    expect(got.grad.every((x) => x === 0)).toBe(true)
  })

  test('disjoint rows: finite and right', async () => {
    const n = 41
    const s = normal(6, 2 * n).map((x, i) => x + (i % n < 20 ? 3000 : -3000))
    const t = normal(7, 2 * n).map((x, i) => x + (i % n < 20 ? -3000 : 3000))
    const got = await run(s, t, 2, kind, options)
    const expected = want(s, t, 2, kind, options)
    expect(relativeError(got.value, expected.value)).toBeLessThan(TOLERANCE.float32)
    expect(relativeError(got.grad, expected.grad)).toBeLessThan(TOLERANCE.float32)
  })

  test('-inf columns: in both, in one, in all', async () => {
    const n = 37
    const s = normal(8, 4 * n, { std: 3 })
    const t = normal(9, 4 * n, { std: 3 })
    const mask = (x: Float32Array, row: number, from: number, to: number) =>
      x.fill(Number.NEGATIVE_INFINITY, row * n + from, row * n + to)
    mask(s, 0, 3, 9)
    mask(t, 0, 3, 9)
    mask(s, 1, 30, n)
    mask(t, 2, 0, 5)
    const got = await run(s, t, 4, kind, options)
    const expected = want(s, t, 4, kind, options)
    expect(relativeError(got.value, expected.value)).toBeLessThan(TOLERANCE.float32)
    expect(relativeError(got.grad, expected.grad)).toBeLessThan(TOLERANCE.float32)
    mask(s, 3, 0, n)
    const masked = await run(s, t, 4, kind, options)
    expect([...masked.value, ...masked.grad].every(Number.isFinite)).toBe(true)
  })

  test('NaN is not hidden', async () => {
    const s = normal(10, 2 * 9)
    s[4] = Number.NaN
    const got = await run(s, normal(11, 2 * 9), 2, kind, options)
    expect(got.value[0]).toBeNaN()
    expect(got.grad.slice(0, 9).some(Number.isNaN)).toBe(true)
    expect(Number.isFinite(got.value[1]!)).toBe(true)
  })
})

describe('golden values', () => {
  const s = Float32Array.of(0.5, -1, 2, 0)
  const t = Float32Array.of(3, 0, -2, 1)
  test.each<[DivergenceKind, number, number[] | null]>([
    ['forwardKL', 1.397104, [-0.68058, -0.006419, 0.704447, -0.017448]],
    ['reverseKL', 3.145998, [-0.762568, -0.117121, 1.198057, -0.318368]],
    ['jensenShannon', 0.359433, [-0.114091, -0.006724, 0.139091, -0.018277]],
    ['generalizedJS', 0.12319, null],
    ['totalVariation', 0.704447, [-0.112512, -0.025105, 0.205858, -0.068242]],
  ])('%s', async (kind, value, grad) => {
    const got = await run(s, t, 1, kind, { beta: 0.1 })
    expect(got.value[0]).toBeCloseTo(value, 5)
    for (const [i, g] of (grad ?? []).entries()) expect(got.grad[i]).toBeCloseTo(g, 5)
  })
})

/** Every tensor of a small safetensors file that holds float32 and int32 alone. */
function readTensors(file: string): Map<string, { shape: number[]; data: Float32Array | Int32Array }> {
  const bytes = readFileSync(new URL(`../fixtures/divergence/${file}`, import.meta.url))
  const length = Number(bytes.readBigUInt64LE(0))
  const header = JSON.parse(bytes.toString('utf8', 8, 8 + length)) as Record<
    string,
    { dtype: string; shape: number[]; data_offsets: [number, number] }
  >
  return new Map(
    Object.entries(header).map(
      ([
        name,
        {
          dtype,
          shape,
          data_offsets: [start, end],
        },
      ]) => {
        const copy = Uint8Array.from(bytes.subarray(8 + length + start, 8 + length + end)).buffer
        return [name, { shape, data: dtype === 'I32' ? new Int32Array(copy) : new Float32Array(copy) }]
      },
    ),
  )
}

const CASES = JSON.parse(readFileSync(new URL('../fixtures/divergence/cases.json', import.meta.url), 'utf8')) as {
  file: string
  temperature: number
}[]

describe.each(CASES)('float64 PyTorch, $file', ({ file, temperature }) => {
  const tensors = readTensors(file)
  const get = (name: string): Float32Array => tensors.get(name)!.data as Float32Array
  const [rows, vocab] = tensors.get('student')!.shape as [number, number]

  test.each<[string, DivergenceKind, number?]>([
    ['fkl', 'forwardKL'],
    ['rkl', 'reverseKL'],
    ['skl', 'symmetricKL'],
    ['js', 'jensenShannon'],
    ['tvd', 'totalVariation'],
    ['gjs0.1', 'generalizedJS', 0.1],
    ['gjs0.9', 'generalizedJS', 0.9],
  ])('%s', async (name, kind, beta) => {
    const got = await run(get('student'), get('teacher'), rows, kind, { temperature, beta })
    // the run weights its rows: take that out again
    const grad = got.grad.map((g, i) => g / got.dvalue[Math.floor(i / vocab)]!)
    expect(relativeError(got.value, get(`${name}.loss`))).toBeLessThan(TOLERANCE.float32)
    expect(relativeError(grad, get(`${name}.grad`))).toBeLessThan(TOLERANCE.float32)
  })

  test('ce', async () => {
    const logits = device.tensor(get('student'), [rows, vocab])
    logits.requiresGrad = true
    using tape = new Tape(device)
    const { loss } = crossEntropy(logits, device.tensor(tensors.get('labels')!.data as Int32Array))
    tape.backward(loss)
    const total = get('ce.loss').reduce((a, b) => a + b, 0)
    expect(relativeError([await loss.item()], [total])).toBeLessThan(TOLERANCE.float32)
    expect(relativeError(await logits.grad!.floats(), get('ce.grad'))).toBeLessThan(TOLERANCE.float32)
  })
})

test('what does not fit is refused', () => {
  const s = device.zeros([2, 5])
  expect(() => divergence(s, device.zeros([2, 6]), 'forwardKL')).toThrow(ShapeError)
  expect(() => divergence(s, device.zeros([2, 6]), 'forwardKL')).toThrow('student is [2, 5] but teacher is [2, 6]')
  expect(() => divergence(device.zeros([2, 0]), device.zeros([2, 0]), 'forwardKL')).toThrow('at least one class')
  expect(() => divergence(s, device.zeros([2, 5], 'int32'), 'forwardKL')).toThrow(DTypeError)
  expect(() => divergence(s, s, 'generalizedJS', { beta: 0 })).toThrow(ArgumentError)
  expect(() => divergence(s, s, 'forwardKL', { temperature: -1 })).toThrow(ArgumentError)
})

test('no rows', async () => {
  expect(await divergence(device.zeros([0, 4]), device.zeros([0, 4]), 'forwardKL').floats()).toHaveLength(0)
})
