import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { ArgumentError, DTypeError, ShapeError } from '../../lib/errors.js'
import { readSafetensorsSync } from '../../lib/models/safetensors.js'
import { type AdamWStep, adamw, type ParameterEntry, parameterTable } from '../../lib/ops/adamw.js'
import { embedding } from '../../lib/ops/embedding.js'
import { gradNorm } from '../../lib/ops/gradNorm.js'
import type { Device } from '../../lib/tensor/device.js'
import { normal, openTestDevice, relativeError, roundBf16, TOLERANCE, testDevice } from '../support.js'

const device = testDevice()
const FOLDER = new URL('../fixtures/adamw/', import.meta.url)
const SETTINGS = { learningRate: 1e-2, betas: [0.9, 0.95], eps: 1e-8, weightDecay: 0.1 } as const

/** State of one tensor in float64, updated as the paper's algorithm 2 reads. */
interface State {
  p: Float64Array
  m: Float64Array
  v: Float64Array
}

function reference({ p, m, v }: State, grad: ArrayLike<number>, o: AdamWStep, clip: number, decay: boolean): State {
  const [b1, b2] = o.betas
  const m2 = m.map((x, i) => b1 * x + (1 - b1) * clip * grad[i]!)
  const v2 = v.map((x, i) => b2 * x + (1 - b2) * (clip * grad[i]!) ** 2)
  const p2 = p.map((x, i) => {
    const mHat = m2[i]! / (1 - b1 ** o.step)
    const vHat = v2[i]! / (1 - b2 ** o.step)
    return x * (1 - (decay ? o.learningRate * o.weightDecay : 0)) - (o.learningRate * mHat) / (Math.sqrt(vHat) + o.eps)
  })
  return { p: p2, m: m2, v: v2 }
}

const SIZES = [1, 5, 896, 16384, 16385, 40001, 0, 7]

/** Tensors of many sizes, every second one with a bfloat16 copy, every third one without decay. */
function model(d: Device) {
  return SIZES.map((n, i): Required<ParameterEntry> => {
    const shape = n === 40001 ? [1, n] : [n]
    return {
      parameter: d.tensor(normal(i, n), shape),
      grad: d.tensor(normal(100 + i, n, { outliers: 5 }), shape),
      m: d.zeros(shape),
      v: d.zeros(shape),
      copy: i % 2 ? d.empty(shape, 'bfloat16') : null,
      decay: i % 3 !== 0,
    }
  })
}

test('five steps of PyTorch in float64', async () => {
  const stored = readSafetensorsSync(new URL('adamw.safetensors', FOLDER).pathname)
  const made = JSON.parse(readFileSync(new URL('adamw.json', FOLDER), 'utf8')) as {
    lr: number
    betas: [number, number]
    eps: number
    weight_decay: number
    steps: number
  }
  const values = (name: string) => Float32Array.from(stored[name]!.data as Float32Array)
  const parameter = device.tensor(values('param.0'))
  const [grad, m, v] = [device.empty(parameter.shape), device.zeros(parameter.shape), device.zeros(parameter.shape)]
  const table = parameterTable([{ parameter, grad, m, v }])
  const settings = { learningRate: made.lr, betas: made.betas, eps: made.eps, weightDecay: made.weight_decay }
  expect(made.steps).toBe(5)
  for (let step = 1; step <= made.steps; step++) {
    grad.write(values(`grad.${step}`))
    adamw(table, { ...settings, step })
    expect(relativeError(await parameter.floats(), values(`param.${step}`))).toBeLessThan(TOLERANCE.float32)
  }
})

describe('over many tensors', () => {
  test.each([
    ['no clipping', 0],
    ['clipping', 0.5],
    ['a bound above the norm', 1e6],
  ])('three steps with %s', async (_, maxGradNorm) => {
    const entries = model(device)
    const table = parameterTable(entries)
    let states = entries.map(
      ({ parameter: { size } }, i): State => ({
        p: Float64Array.from(normal(i, size)),
        m: new Float64Array(size),
        v: new Float64Array(size),
      }),
    )
    for (let step = 1; step <= 3; step++) {
      const grads = entries.map((e, i) => normal(100 * step + i, e.parameter.size, { outliers: 5 }))
      entries.forEach((e, i) => void e.grad.write(grads[i]!))
      const norm = gradNorm(table)
      const options = { ...SETTINGS, step, norm, maxGradNorm, zeroGrad: true }
      adamw(table, options)
      const wantNorm = Math.sqrt(grads.reduce((total, g) => g.reduce((t, x) => t + x * x, total), 0))
      expect(Math.abs((await norm.item()) / wantNorm - 1)).toBeLessThan(1e-7)
      const clip = maxGradNorm > 0 ? Math.min(1, maxGradNorm / (wantNorm + 1e-6)) : 1
      states = states.map((s, i) => reference(s, grads[i]!, options, clip, entries[i]!.decay))
    }
    for (const [i, e] of entries.entries()) {
      const got = await e.parameter.floats()
      expect(relativeError(got, states[i]!.p)).toBeLessThan(1e-6)
      expect(relativeError(await e.m.floats(), states[i]!.m)).toBeLessThan(1e-6)
      expect(relativeError(await e.v.floats(), states[i]!.v)).toBeLessThan(1e-6)
      expect(relativeError(await e.grad.floats(), new Float32Array(SIZES[i]!))).toBe(0)
      if (e.copy) expect(relativeError(await e.copy.floats(), roundBf16(got))).toBe(0)
    }
  })

  test.each([NaN, Infinity, -Infinity])('%d in one gradient: nothing is touched', async (value) => {
    const entries = model(device)
    const table = parameterTable(entries)
    const before = await Promise.all(entries.map((e) => e.grad.floats()))
    const bad = normal(1, 40001)
    bad[40000] = value
    entries[5]!.grad.write(bad)
    const norm = gradNorm(table)
    adamw(table, { ...SETTINGS, step: 1, norm, maxGradNorm: 1, zeroGrad: true })
    expect(Number.isFinite(await norm.item())).toBe(false)
    for (const [i, e] of entries.entries()) {
      expect(relativeError(await e.parameter.floats(), normal(i, SIZES[i]!))).toBe(0)
      for (const t of [e.m, e.v]) expect(relativeError(await t.floats(), new Float32Array(SIZES[i]!))).toBe(0)
      expect(await e.grad.floats()).toEqual(i === 5 ? bad : before[i])
    }
  })

  test('a bad id in the work before, unknown as yet: nothing is touched', async () => {
    const entries = model(device)
    const table = parameterTable(entries)
    const before = await Promise.all(entries.map((e) => e.grad.floats()))
    embedding(device.tensor(Int32Array.of(4)), device.zeros([4, 8]))
    const read = device.synchronize()
    adamw(table, { ...SETTINGS, step: 1, zeroGrad: true })
    await expect(read).rejects.toThrow('embedding: id 4')
    for (const [i, e] of entries.entries()) {
      expect(relativeError(await e.parameter.floats(), normal(i, SIZES[i]!))).toBe(0)
      for (const t of [e.m, e.v]) expect(relativeError(await t.floats(), new Float32Array(SIZES[i]!))).toBe(0)
      expect(await e.grad.floats()).toEqual(before[i])
    }
    adamw(table, { ...SETTINGS, step: 1, zeroGrad: true })
    expect(await entries[1]!.grad.floats()).toEqual(new Float32Array(5))
  })

  test('more tensors than a block has threads', async () => {
    const sizes = Array.from({ length: 600 }, (_, i) => (i % 7 === 3 ? 0 : 1 + (i % 5)))
    const entries = sizes.map((n, i) => ({
      parameter: device.tensor(normal(i, n)),
      grad: device.tensor(normal(1000 + i, n)),
      m: device.zeros([n]),
      v: device.zeros([n]),
    }))
    const table = parameterTable(entries)
    const wantNorm = Math.sqrt(sizes.reduce((t, n, i) => normal(1000 + i, n).reduce((u, x) => u + x * x, t), 0))
    expect(Math.abs((await gradNorm(table).item()) / wantNorm - 1)).toBeLessThan(1e-7)
    const options = { ...SETTINGS, step: 1 }
    adamw(table, options)
    const got = await Promise.all(entries.map((e) => e.parameter.floats()))
    sizes.forEach((n, i) => {
      const start = { p: Float64Array.from(normal(i, n)), m: new Float64Array(n), v: new Float64Array(n) }
      expect(relativeError(got[i]!, reference(start, normal(1000 + i, n), options, 1, true).p)).toBeLessThan(1e-6)
    })
  })

  test('gradients of zero and near epsilon', async () => {
    const grad = Float32Array.of(0, 1e-9, -1e-8, 1e-7, -1e-6)
    const start = { p: new Float64Array(5), m: new Float64Array(5), v: new Float64Array(5) }
    const [parameter, m, v] = [device.zeros([5]), device.zeros([5]), device.zeros([5])]
    const options = { ...SETTINGS, step: 1 }
    adamw(parameterTable([{ parameter, grad: device.tensor(grad), m, v }]), options)
    const got = await parameter.floats()
    reference(start, grad, options, 1, true).p.forEach((p, i) => {
      expect(Math.abs(got[i]! - p)).toBeLessThanOrEqual(1e-6 * Math.abs(p))
    })
  })

  test('a copy that is not aligned where the parameter is', async () => {
    const copies = device.zeros([2, 7], 'bfloat16')
    const parameter = device.tensor(normal(1, 7))
    const [grad, m, v] = [device.tensor(normal(2, 7)), device.zeros([7]), device.zeros([7])]
    const copy = copies.rows(1, 2).view([7])
    adamw(parameterTable([{ parameter, grad, m, v, copy }]), { ...SETTINGS, step: 1 })
    const want = new Float32Array(14)
    want.set(roundBf16(await parameter.floats()), 7)
    expect(await copies.floats()).toEqual(want)
  })

  test('gradients stay where zeroGrad is off', async () => {
    const entries = model(device)
    adamw(parameterTable(entries), { ...SETTINGS, step: 1 })
    expect(relativeError(await entries[3]!.grad.floats(), normal(103, 16384, { outliers: 5 }))).toBe(0)
  })
})

test('the norm of huge and tiny gradients neither overflows nor vanishes, with the same bits for any number of threads', async () => {
  const norms = []
  for (const threads of [1, 2, 3]) {
    const d = openTestDevice({ threads })
    const tables = [1e-25, 1, 1e25].map((std) => {
      const parameter = d.zeros([100001])
      return parameterTable([{ parameter, grad: d.tensor(normal(1, 100001, { std })), m: parameter, v: parameter }])
    })
    norms.push(await Promise.all(tables.map((t) => gradNorm(t).item())))
    await d.close()
  }
  const unit = Math.sqrt(normal(1, 100001).reduce((t, x) => t + x * x, 0))
  norms[0]!.forEach((n, i) => {
    expect(Math.abs(n / (unit * [1e-25, 1, 1e25][i]!) - 1)).toBeLessThan(1e-6)
  })
  expect(norms[1]).toEqual(norms[0])
  expect(norms[2]).toEqual(norms[0])
})

test('what does not fit is named', () => {
  const x = device.zeros([3])
  const good = { parameter: x, grad: x, m: x, v: x }
  expect(() => parameterTable([])).toThrow(ShapeError)
  expect(() => parameterTable([good, { ...good, m: device.zeros([4]) }])).toThrow(
    'entry 1 has a parameter [3] but m is [4]',
  )
  expect(() => parameterTable([{ ...good, copy: x }])).toThrow(DTypeError)
  expect(() => parameterTable([{ ...good, grad: device.zeros([3], 'bfloat16') }])).toThrow(
    'grad of entry 0 is bfloat16',
  )
  const table = parameterTable([good])
  expect(() => adamw(table, { ...SETTINGS, step: 0 })).toThrow(ArgumentError)
  expect(() => adamw(table, { ...SETTINGS, step: 1, maxGradNorm: 1 })).toThrow('norm is missing')
  expect(() => adamw(table, { ...SETTINGS, step: 1, norm: x })).toThrow(ShapeError)
})
