import { describe, expect, test } from 'vitest'
import { DTypeError, ShapeError } from '../../lib/errors.js'
import { embedding } from '../../lib/ops/embedding.js'
import { gradOf, Tape } from '../../lib/tensor/tape.js'
import { asStored, FLOATS, normal, openTestDevice, relativeError, testDevice, uniform } from '../support.js'

const device = testDevice()

const SHAPES = [
  [0, 5, 7],
  [1, 1, 1],
  [3, 5, 7],
  [33, 17, 64],
  [257, 40, 130],
  [70, 3, 200], // ids repeat a lot
] as const

function inputs(tokens: number, vocab: number, hidden: number, dtype: 'float32' | 'bfloat16') {
  const next = uniform(4)
  const ids = Int32Array.from({ length: tokens }, () => Math.floor(next() * vocab))
  const table = asStored(normal(1, vocab * hidden, { outliers: 5 }), dtype)
  return { ids, table }
}

describe.each(FLOATS)('embedding of a %s table', (weightDtype) => {
  describe.each(FLOATS)('to %s', (dtype) => {
    test.each(SHAPES)('%i tokens of [%i, %i], forward and gradient', async (tokens, vocab, hidden) => {
      const { ids, table } = inputs(tokens, vocab, hidden, weightDtype)
      const dyData = asStored(normal(2, tokens * hidden, { outliers: 5 }), dtype)
      const weight = device.tensor(table, [vocab, hidden], weightDtype)
      weight.requiresGrad = true
      gradOf(weight).write(new Float32Array(vocab * hidden).fill(0.25)) // added to, not overwritten
      const tape = new Tape(device)
      const y = embedding(device.tensor(ids), weight, { dtype })
      tape.backward(y, device.tensor(dyData, [tokens, hidden], dtype))

      const wantY = new Float64Array(tokens * hidden)
      const wantGrad = new Float64Array(vocab * hidden).fill(0.25)
      ids.forEach((id, i) => {
        for (let k = 0; k < hidden; k++) {
          wantY[i * hidden + k] = table[id * hidden + k]!
          wantGrad[id * hidden + k]! += dyData[i * hidden + k]!
        }
      })
      expect(relativeError(await y.floats(), asStored(Float32Array.from(wantY), dtype))).toBe(0)
      expect(relativeError(await weight.grad!.floats(), wantGrad)).toBeLessThan(1e-6)
    })
  })
})

test('more ids than one block scans, of a vocabulary of two digits: each adds to its row, in order', async () => {
  const [tokens, vocab, hidden] = [20_000, 3000, 2]
  const { ids } = inputs(tokens, vocab, hidden, 'float32')
  const dy = normal(6, tokens * hidden, { outliers: 5 })
  const weight = device.zeros([vocab, hidden])
  weight.requiresGrad = true
  const tape = new Tape(device)
  tape.backward(embedding(device.tensor(ids), weight), device.tensor(dy, [tokens, hidden]))
  const want = new Float32Array(vocab * hidden)
  ids.forEach((id, i) => {
    for (let k = 0; k < hidden; k++) want[id * hidden + k] = want[id * hidden + k]! + dy[i * hidden + k]!
  })
  expect(relativeError(await weight.grad!.floats(), want)).toBe(0)
})

test('the gradient has the same bits for any number of threads', async () => {
  const { ids, table } = inputs(300, 9, 200, 'float32')
  const dy = normal(3, 300 * 200)
  const results = []
  for (const threads of [1, 2, 3]) {
    const d = openTestDevice({ threads })
    const weight = d.tensor(table, [9, 200])
    weight.requiresGrad = true
    const tape = new Tape(d)
    tape.backward(embedding(d.tensor(ids), weight), d.tensor(dy, [300, 200]))
    results.push(await weight.grad!.floats())
    await d.close()
  }
  expect(relativeError(results[1]!, results[0]!)).toBe(0)
  expect(relativeError(results[2]!, results[0]!)).toBe(0)
})

test.each([-1, 5, 2 ** 31 - 1])('id %i outside the table is named with its position', async (id) => {
  const d = openTestDevice()
  const y = embedding(d.tensor(Int32Array.of(0, 4, id)), d.zeros([5, 3]))
  await expect(y.read()).rejects.toThrow(`id ${id} at position 2 is outside [0, 5)`)
  await d.close()
})

test('operands of another kind are named', () => {
  const weight = device.zeros([5, 3])
  expect(() => embedding(device.zeros([2]), weight)).toThrow(DTypeError)
  expect(() => embedding(device.tensor(Int32Array.of(1, 2), [1, 2]), weight)).toThrow('ids is [1, 2]; give a vector')
  expect(() => embedding(device.tensor(Int32Array.of(1)), device.zeros([5]))).toThrow(ShapeError)
})
