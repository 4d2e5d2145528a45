import { describe, expect, test } from 'vitest'
import { ArgumentError, ShapeError } from '../../lib/errors.js'
import { DIVERGENCES, type DivergenceKind } from '../../lib/ops/divergence.js'
import { type TopKTeacher, topKDivergence } from '../../lib/ops/topKDivergence.js'
import { Tape } from '../../lib/tensor/tape.js'
import { divergenceRow, logSoftmax, matmulTransposed } from '../oracle.js'
import { asStored, normal, QUICK, relativeError, TOLERANCE, testDevice } from '../support.js'

const device = testDevice()
const hiddenSize = 16
const [tokens, scored] = [7, Int32Array.of(5, 0, 3, 6)] // not in order, and some tokens without a teacher

interface Case {
  vocab: number
  k: number
  std?: number
  temperature?: number
  vocabulary?: number
  /** Inputs as bfloat16 holds them. */
  narrow?: boolean
}

/** A student and the top k of a teacher, each from seeded logits. */
function inputs({ vocab, k, std = 4, temperature = 1, vocabulary = vocab, narrow = false }: Case) {
  const stored = (x: Float32Array) => asStored(x, narrow ? 'bfloat16' : 'float32')
  const hidden = stored(normal(1, tokens * hiddenSize))
  const weight = stored(normal(2, vocab * hiddenSize, { std: std / Math.sqrt(hiddenSize) }))
  const full = Array.from(scored, (_, row) => normal(10 + row, vocabulary, { std }))
  const ids = new Int32Array(scored.length * k)
  const logProbabilities = new Float32Array(scored.length * (k + 1))
  full.forEach((logits, row) => {
    const l = logSoftmax(logits, temperature)
    const order = Array.from(l.keys()).sort((a, b) => l[b]! - l[a]!)
    ids.set(order.slice(0, k), row * k)
    const rest = order.slice(k).reduce((n, v) => n + Math.exp(l[v]!), 0)
    logProbabilities.set([...order.slice(0, k).map((v) => l[v]!), Math.log(rest)], row * (k + 1))
  })
  return { hidden, weight, full, teacher: { k, tokens: scored, ids, logProbabilities } satisfies TopKTeacher }
}

/** The definition, in float64: k + 1 classes, then the chain rule through the log-sum-exp and the head. */
function want(kind: DivergenceKind, c: Case, scale: number) {
  const { vocab, k, temperature = 1, vocabulary = vocab } = c
  const { hidden, weight, teacher } = inputs(c)
  const logits = matmulTransposed(hidden, weight, tokens, vocab, hiddenSize)
  const dhidden = new Float64Array(hidden.length)
  const dweight = new Float64Array(weight.length)
  let sum = 0
  scored.forEach((token, row) => {
    const z = logits.subarray(token * vocab, token * vocab + vocabulary).map((x) => x / temperature)
    const top = Array.from(teacher.ids.subarray(row * k, row * k + k))
    const others = Array.from(z.keys()).filter((v) => !top.includes(v))
    const max = Math.max(...others.map((v) => z[v]!))
    const rest = max + Math.log(others.reduce((n, v) => n + Math.exp(z[v]! - max), 0))
    const given = teacher.logProbabilities.subarray(row * (k + 1), (row + 1) * (k + 1))
    const { loss, grad } = divergenceRow(kind, [...top.map((v) => z[v]!), rest], given, { beta: 0.3 })
    sum += loss
    const d = new Float64Array(vocabulary)
    for (const v of others) d[v] = grad[k]! * Math.exp(z[v]! - rest)
    top.forEach((v, i) => {
      d[v] = grad[i]!
    })
    for (let v = 0; v < vocabulary; v++)
      for (let i = 0; i < hiddenSize; i++) {
        dhidden[token * hiddenSize + i]! += (scale / temperature) * d[v]! * weight[v * hiddenSize + i]!
        dweight[v * hiddenSize + i]! += (scale / temperature) * d[v]! * hidden[token * hiddenSize + i]!
      }
  })
  return { sum, dhidden, dweight }
}

async function got(kind: DivergenceKind, c: Case, scale: number) {
  using _scope = device.scope()
  const { hidden, weight, teacher } = inputs(c)
  const h = device.tensor(hidden, [tokens, hiddenSize])
  const w = device.tensor(weight, [c.vocab, hiddenSize])
  h.requiresGrad = w.requiresGrad = true
  using tape = new Tape(device)
  const options = { temperature: c.temperature, vocabulary: c.vocabulary, beta: 0.3, scale }
  const { loss, sum } = topKDivergence({ hidden: h, weight: w, teacher, divergence: kind, ...options })
  tape.backward(loss)
  const [l, s] = [await loss.item(), await sum.item()]
  return { loss: l, sum: s, dhidden: await h.grad!.floats(), dweight: await w.grad!.floats() }
}

describe.each(DIVERGENCES)('%s', (kind) => {
  test.each<Case>([
    { vocab: 40, k: 1 },
    { vocab: 101, k: 8 },
    { vocab: 101, k: 100 },
    { vocab: 101, k: 8, temperature: 2.5 },
    { vocab: 101, k: 8, vocabulary: 97 },
    { vocab: 3001, k: 64, std: 10 },
    { vocab: 3001, k: 16, std: 30 },
  ])('against float64: %o', async (c) => {
    const [g, w] = [await got(kind, c, 0.5), want(kind, c, 0.5)]
    expect(relativeError([g.sum], [w.sum])).toBeLessThan(1e-5)
    expect(g.loss).toBeCloseTo(0.5 * g.sum, 5)
    expect(relativeError(g.dhidden, w.dhidden)).toBeLessThan(1e-5)
    expect(relativeError(g.dweight, w.dweight)).toBeLessThan(1e-5)
  })
})

describe('topKDivergence', () => {
  const c = { vocab: 101, k: 8 }

  test.skipIf(QUICK)('runs over chunks of tokens', async () => {
    const [rows, vocab, k] = [2500, 50, 4] // 1,024 rows at once
    using _scope = device.scope()
    const h = device.tensor(normal(1, rows * hiddenSize), [rows, hiddenSize])
    const w = device.tensor(normal(2, vocab * hiddenSize), [vocab, hiddenSize])
    const { teacher: four } = inputs({ vocab, k })
    const teacher = (from: number, to: number): TopKTeacher => {
      const of = Array.from({ length: to - from }, (_, i) => (from + i) % 4)
      const at = (width: number, all: ArrayLike<number>) =>
        of.flatMap((r) => Array.from(all).slice(r * width, (r + 1) * width))
      return {
        k,
        tokens: Int32Array.from(of, (_, i) => from + i),
        ids: Int32Array.from(at(k, four.ids)),
        logProbabilities: Float32Array.from(at(k + 1, four.logProbabilities)),
      }
    }
    const run = async (...parts: TopKTeacher[]) => {
      h.requiresGrad = w.requiresGrad = true
      h.grad = w.grad = null
      let total = 0
      for (const part of parts) {
        using tape = new Tape(device)
        const { loss } = topKDivergence({ hidden: h, weight: w, teacher: part, divergence: 'symmetricKL' })
        tape.backward(loss)
        total += await loss.item()
      }
      return { total, dh: await h.grad!.floats(), dw: await w.grad!.floats() }
    }
    const whole = await run(teacher(0, rows))
    const halves = await run(teacher(0, 700), teacher(700, 1400), teacher(1400, rows))
    expect(relativeError([whole.total], [halves.total])).toBeLessThan(1e-5)
    expect(relativeError(whole.dh, halves.dh)).toBeLessThan(1e-6)
    expect(relativeError(whole.dw, halves.dw)).toBeLessThan(1e-5)
  })

  test('is 0, with no gradient, for a student that agrees on the k and the rest', async () => {
    const { hidden, weight } = inputs(c)
    const logits = matmulTransposed(hidden, weight, tokens, c.vocab, hiddenSize)
    const l = logSoftmax(logits.subarray(0, c.vocab))
    const order = Array.from(l.keys()).sort((a, b) => l[b]! - l[a]!)
    const rest = order.slice(8).reduce((n, v) => n + Math.exp(l[v]!), 0)
    const teacher = {
      k: 8,
      tokens: Int32Array.of(0),
      ids: Int32Array.from(order.slice(0, 8)),
      logProbabilities: Float32Array.from([...order.slice(0, 8).map((v) => l[v]!), Math.log(rest)]),
    }
    using _scope = device.scope()
    const [h, w] = [device.tensor(hidden, [tokens, hiddenSize]), device.tensor(weight, [c.vocab, hiddenSize])]
    h.requiresGrad = true
    using tape = new Tape(device)
    const { loss } = topKDivergence({ hidden: h, weight: w, teacher, divergence: 'reverseKL' })
    tape.backward(loss)
    expect(Math.abs(await loss.item())).toBeLessThan(1e-6)
    for (const g of await h.grad!.floats()) expect(Math.abs(g)).toBeLessThan(1e-5)
  })

  test('takes bfloat16, and adds to gradients that are there', async () => {
    const narrow = { ...c, narrow: true }
    const { hidden, weight, teacher } = inputs(narrow)
    using _scope = device.scope()
    const [h, w] = [
      device.tensor(hidden, [tokens, hiddenSize], 'bfloat16'),
      device.tensor(weight, [c.vocab, hiddenSize], 'bfloat16'),
    ]
    h.requiresGrad = w.requiresGrad = true
    for (let i = 0; i < 2; i++) {
      using tape = new Tape(device)
      tape.backward(topKDivergence({ hidden: h, weight: w, teacher, divergence: 'jensenShannon' }).loss)
    }
    const expected = want('jensenShannon', narrow, 2)
    expect(relativeError(await w.grad!.floats(), expected.dweight)).toBeLessThan(TOLERANCE.float32)
    expect(relativeError(await h.grad!.floats(), expected.dhidden)).toBeLessThan(TOLERANCE.bfloat16)
    expect(device.tape).toBeNull()
  })

  test('refuses operands that do not fit', () => {
    const { hidden, weight, teacher } = inputs(c)
    using _scope = device.scope()
    const [h, w] = [device.tensor(hidden, [tokens, hiddenSize]), device.tensor(weight, [c.vocab, hiddenSize])]
    const call = (changes: object) => () =>
      topKDivergence({ hidden: h, weight: w, teacher, divergence: 'forwardKL', ...changes })
    expect(call({ teacher: { ...teacher, k: 7 } })).toThrow(ShapeError)
    expect(call({ hidden: device.zeros([tokens, 8]) })).toThrow(ShapeError)
    expect(call({ vocabulary: 8 })).toThrow(ArgumentError)
    expect(call({ vocabulary: 102 })).toThrow(ArgumentError)
    expect(call({ temperature: 0 })).toThrow(ArgumentError)
    expect(call({ divergence: 'generalizedJS' })).toThrow(ArgumentError)
    expect(call({ scale: Number.NaN })).toThrow(ArgumentError)
  })
})
