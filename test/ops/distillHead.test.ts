import { describe, expect, test } from 'vitest'
import { ArgumentError, DeviceError, DTypeError, ShapeError } from '../../lib/errors.js'
import { type DistillLoss, distillHead, linearCrossEntropy } from '../../lib/ops/distillHead.js'
import { DIVERGENCES, type DivergenceKind } from '../../lib/ops/divergence.js'
import { Tape } from '../../lib/tensor/tape.js'
import type { Tensor } from '../../lib/tensor/tensor.js'
import { type HeadCase, headOracle } from '../oracle.js'
import { asStored, FLOATS, normal, QUICK, relativeError, testDevice, uniform } from '../support.js'

const device = testDevice()
const TOLERANCE = { float32: 1e-5, bfloat16: 4e-3 } as const
type Float = (typeof FLOATS)[number]

const LARGE = QUICK ? 9001 : 32_003 // a vocabulary

/** Random tensors whose logits have standard deviation `std`; every third label is missing when masked. */
function makeCase(
  seed: number,
  tokens: number,
  vocab: number,
  hs: number,
  ht: number,
  std: number,
  options: { dtype?: Float; masked?: boolean; teacherVocab?: number } = {},
) {
  const { dtype = 'float32', masked = false, teacherVocab = vocab } = options
  const make = (k: number, rows: number, cols: number, scale = 1) =>
    asStored(normal(seed * 10 + k, rows * cols, { std: scale }), dtype)
  const next = uniform(seed)
  return {
    hidden: make(1, tokens, hs),
    weight: make(2, vocab, hs, std / Math.sqrt(hs)),
    hiddenSize: hs,
    vocab,
    labels: Int32Array.from({ length: tokens }, (_, i) => (masked && i % 3 === 1 ? -100 : Math.floor(next() * vocab))),
    teacher: {
      hidden: make(3, tokens, ht),
      weight: make(4, teacherVocab, ht, std / Math.sqrt(ht)),
      hiddenSize: ht,
      vocab: teacherVocab,
    },
  }
}

/** Runs the head on the device, with gradients. */
async function run(
  c: HeadCase,
  options: Partial<DistillLoss> = {},
  dtypes: Partial<Record<'hidden' | 'weight' | 'teacherHidden' | 'teacherWeight', Float>> = {},
) {
  const tokens = c.labels.length
  using _scope = device.scope()
  const hidden = device.tensor(c.hidden, [tokens, c.hiddenSize], dtypes.hidden ?? 'float32')
  const weight = device.tensor(c.weight, [c.vocab, c.hiddenSize], dtypes.weight ?? 'float32')
  hidden.requiresGrad = weight.requiresGrad = true
  const labels = device.tensor(Int32Array.from(c.labels))
  using tape = new Tape(device)
  const common = { labels, scale: c.scale, perToken: true }
  const result =
    c.teacher && c.kind
      ? distillHead({
          hidden,
          weight,
          teacher: {
            hidden: device.tensor(c.teacher.hidden, [tokens, c.teacher.hiddenSize], dtypes.teacherHidden ?? 'float32'),
            weight: device.tensor(
              c.teacher.weight,
              [c.teacher.vocab, c.teacher.hiddenSize],
              dtypes.teacherWeight ?? 'float32',
            ),
          },
          divergence: c.kind,
          lambdaSft: c.lambdaSft,
          lambdaKd: c.lambdaKd,
          temperature: c.temperature,
          beta: c.beta,
          vocabularyPolicy: c.policy,
          ...common,
          ...options,
        })
      : linearCrossEntropy(hidden, weight, labels, common)
  tape.backward(result.loss)
  return {
    loss: await result.loss.item(),
    parts: await result.parts.floats(),
    tokenLoss: await result.tokenLoss!.floats(),
    dhidden: await hidden.grad!.floats(),
    dweight: await weight.grad!.floats(),
  }
}

function expectClose(
  got: Awaited<ReturnType<typeof run>>,
  want: ReturnType<typeof headOracle>,
  tolerance: number,
): void {
  const { ce, kd, entropy, agreement, valid } = want.parts
  expect(relativeError(got.dhidden, want.dhidden)).toBeLessThan(tolerance)
  expect(relativeError(got.dweight, want.dweight)).toBeLessThan(tolerance)
  expect(relativeError([got.loss], [want.loss])).toBeLessThan(tolerance)
  expect(relativeError(got.tokenLoss, want.tokenLoss)).toBeLessThan(tolerance)
  expect(relativeError(got.parts.slice(0, 3), [ce, kd, entropy])).toBeLessThan(tolerance)
  expect([got.parts[3], got.parts[4]]).toEqual([agreement, valid])
}
const LAMBDAS = { lambdaSft: 0.1, lambdaKd: 0.9, beta: 0.1 }

describe.each(DIVERGENCES)('%s', (kind) => {
  describe.each([1, 10, 30])('logit std %i', (std) => {
    test.each([
      [33, 11, 40, 24],
      [4099, 7, 64, 40],
    ])('vocabulary %i: loss, parts and gradients', async (vocab, tokens, hs, ht) => {
      const c = {
        ...makeCase(vocab + std, tokens, vocab, hs, ht, std, { masked: true }),
        kind,
        ...LAMBDAS,
        scale: 1 / 8,
      }
      expectClose(await run(c), headOracle(c), TOLERANCE.float32)
    })

    test('bfloat16', async () => {
      const c = { ...makeCase(50 + std, 9, 211, 40, 24, std, { dtype: 'bfloat16' }), kind, ...LAMBDAS, scale: 1 / 9 }
      const b = 'bfloat16'
      const got = await run(c, {}, { hidden: b, weight: b, teacherHidden: b, teacherWeight: b })
      expectClose(got, headOracle(c), TOLERANCE.bfloat16)
    })
  })

  test('hidden size 896, logit std 30', async () => {
    const c = { ...makeCase(14, 6, 1009, 896, 512, 30), kind, ...LAMBDAS }
    expectClose(await run(c), headOracle(c), TOLERANCE.float32)
  })

  test(`vocabulary ${LARGE}`, async () => {
    const c = { ...makeCase(3, 4, LARGE, 24, 17, 10), kind, ...LAMBDAS, scale: 1 / 4 }
    expectClose(await run(c), headOracle(c), TOLERANCE.float32)
  })

  test('temperature, with and without its square', async () => {
    const c = { ...makeCase(4, 9, 101, 40, 24, 5), kind, ...LAMBDAS, temperature: 2 }
    expectClose(await run(c), headOracle(c), TOLERANCE.float32)
    const squared = await run(c, { scaleByTemperatureSquared: true })
    const want = headOracle({ ...c, lambdaKd: 0.9 * 4 })
    expect(relativeError(squared.dhidden, want.dhidden)).toBeLessThan(TOLERANCE.float32)
    expect(relativeError([squared.loss], [want.loss])).toBeLessThan(TOLERANCE.float32)
  })

  test('bfloat16 with a temperature', async () => {
    const c = { ...makeCase(15, 150, 211, 40, 24, 5, { dtype: 'bfloat16' }), kind, ...LAMBDAS, temperature: 2 }
    const b = 'bfloat16'
    const got = await run(c, {}, { hidden: b, weight: b, teacherHidden: b, teacherWeight: b })
    expectClose(got, headOracle(c), TOLERANCE.bfloat16)
  })

  test('identical student and teacher: exactly zero', async () => {
    for (const dtype of FLOATS) {
      const c = makeCase(5, 20, 333, 48, 48, 30, { dtype, masked: true })
      const same = {
        ...c,
        teacher: { ...c.teacher, hidden: c.hidden, weight: c.weight },
        kind,
        lambdaSft: 0,
        lambdaKd: 1,
        beta: 0.3,
      }
      const got = await run(same, {}, { hidden: dtype, weight: dtype, teacherHidden: dtype, teacherWeight: dtype })
      expect(got.loss).toBe(0)
      expect(got.parts[1]).toBe(0)
      expect(got.parts[3]).toBe(got.parts[4])
      expect(got.dhidden.every((x) => x === 0)).toBe(true)
      expect(got.dweight.every((x) => x === 0)).toBe(true)
    }
  })

  test('nearly disjoint distributions: finite and right', async () => {
    const vocab = 70
    const c = makeCase(6, 5, vocab, 16, 16, 1)
    // logits around +-2000: the student on the lower half of the classes, the teacher on the upper
    c.hidden.fill(1)
    c.teacher.hidden.fill(1)
    c.weight = c.weight.map((w, i) => w + (i < (vocab / 2) * 16 ? 125 : -125))
    c.teacher.weight = c.teacher.weight.map((w, i) => w + (i < (vocab / 2) * 16 ? -125 : 125))
    const disjoint = { ...c, kind, ...LAMBDAS }
    // the logits themselves carry a float32 rounding of 2000: compare as far as that allows
    expectClose(await run(disjoint), headOracle(disjoint), 2e-3)
  })

  test.each(['truncate', 'mask'] as const)('vocabularies of different size: %s', async (policy) => {
    for (const [vocab, teacherVocab] of [
      [97, 131],
      [131, 97],
    ] as const) {
      const c = { ...makeCase(7, 9, vocab, 40, 24, 3, { teacherVocab }), kind, ...LAMBDAS, policy }
      for (const temperature of [1, 1.5]) {
        const t = { ...c, temperature }
        expectClose(await run(t), headOracle(t), TOLERANCE.float32)
      }
    }
  })
})

describe('dtypes', () => {
  test.each([
    ['float32', 'bfloat16', 'bfloat16', 'bfloat16'],
    ['bfloat16', 'float32', 'bfloat16', 'float32'],
    ['float32', 'bfloat16', 'float32', 'bfloat16'],
  ] as const)('hidden %s, weight %s, teacher %s and %s', async (hidden, weight, teacherHidden, teacherWeight) => {
    const c = { ...makeCase(8, 21, 211, 37, 23, 10, { dtype: 'bfloat16' }), kind: 'symmetricKL' as const, ...LAMBDAS }
    expectClose(await run(c, {}, { hidden, weight, teacherHidden, teacherWeight }), headOracle(c), TOLERANCE.bfloat16)
  })
})

describe('linearCrossEntropy', () => {
  test.each([
    [1, 1, 1],
    [1, 33, 5],
    [50, 4099, 64],
    [1700, 65, 11],
  ])('%i tokens, vocabulary %i, hidden size %i', async (tokens, vocab, hs) => {
    for (const std of [1, 30]) {
      const { teacher: _, ...c } = makeCase(tokens + std, tokens, vocab, hs, 1, std, { masked: true })
      const scaled = { ...c, scale: 1 / tokens }
      expectClose(await run(scaled), headOracle(scaled), TOLERANCE.float32)
    }
  })

  test('a confident, right row keeps the digits of p - 1', async () => {
    const hs = 8
    const c = { ...makeCase(9, 6, 50, hs, 1, 1), teacher: undefined }
    c.labels.forEach((label, i) => {
      for (let k = 0; k < hs; k++) c.hidden[i * hs + k] = c.weight[label * hs + k]! * (160 / hs)
    })
    expectClose(await run(c), headOracle(c), TOLERANCE.float32)
  })

  test('no tokens, and no labels at all', async () => {
    const none = await run({ ...makeCase(10, 0, 9, 4, 1, 1), teacher: undefined })
    expect([none.loss, ...none.parts]).toEqual([0, 0, 0, 0, 0, 0])
    const c = { ...makeCase(10, 5, 9, 4, 1, 1), teacher: undefined, labels: new Int32Array(5).fill(-100) }
    const ignored = await run(c)
    expect([ignored.loss, ...ignored.parts]).toEqual([0, 0, 0, 0, 0, 0])
    expect([...ignored.dhidden, ...ignored.dweight].every((x) => x === 0)).toBe(true)
    expect([...ignored.tokenLoss]).toEqual([0, 0, 0, 0, 0])
  })
})

test.each(FLOATS)('%s: the weight gradient is added to what is there', async (dtype) => {
  const c = makeCase(11, 9, 40, 16, 1, 1, { dtype })
  const hidden = device.tensor(c.hidden, [9, 16], dtype)
  const weight = device.tensor(c.weight, [40, 16], dtype)
  const labels = device.tensor(c.labels)
  weight.requiresGrad = true
  for (let step = 0; step < 2; step++) {
    using tape = new Tape(device)
    tape.backward(linearCrossEntropy(hidden, weight, labels).loss)
  }
  const want = headOracle({ ...c, teacher: undefined, scale: 2 })
  expect(relativeError(await weight.grad!.floats(), want.dweight)).toBeLessThan(TOLERANCE[dtype])
  expect(hidden.grad).toBeNull()
})

test('without a tape: the same loss, and no gradient', async () => {
  const c = { ...makeCase(12, 30, 500, 32, 24, 5, { masked: true }), kind: 'jensenShannon' as const, ...LAMBDAS }
  const recorded = await run(c)
  const hidden = device.tensor(c.hidden, [30, 32])
  const weight = device.tensor(c.weight, [500, 32])
  weight.requiresGrad = true
  const teacher = {
    hidden: device.tensor(c.teacher.hidden, [30, 24]),
    weight: device.tensor(c.teacher.weight, [500, 24]),
  }
  const { loss, parts, tokenLoss } = distillHead({
    hidden,
    weight,
    teacher,
    labels: device.tensor(c.labels),
    divergence: c.kind,
  })
  expect(await loss.item()).toBe(recorded.loss)
  expect(await parts.floats()).toEqual(recorded.parts)
  expect(tokenLoss).toBeNull()
  expect(weight.grad).toBeNull()
})

test('the same bits at any number of threads', async () => {
  const c = { ...makeCase(13, 150, 1500, 40, 24, 10, { masked: true }), kind: 'symmetricKL' as const, ...LAMBDAS }
  const results = []
  for (const threads of [1, 2, 3]) {
    const other = testDevice({ threads })
    const hidden = other.tensor(c.hidden, [150, 40])
    const weight = other.tensor(c.weight, [1500, 40])
    hidden.requiresGrad = weight.requiresGrad = true
    using tape = new Tape(other)
    const teacher = {
      hidden: other.tensor(c.teacher.hidden, [150, 24]),
      weight: other.tensor(c.teacher.weight, [1500, 24]),
    }
    const { loss } = distillHead({ hidden, weight, teacher, labels: other.tensor(c.labels), divergence: c.kind })
    tape.backward(loss)
    results.push([await loss.item(), await hidden.grad!.floats(), await weight.grad!.floats()])
  }
  expect(results[1]).toEqual(results[0])
  expect(results[2]).toEqual(results[0])
})

// The CPU's chunks of logits fit its caches. A GPU's hold up to 1,536 tokens: each reads and writes the whole gradient of the weight.
const MEMORY =
  device.kind === 'cpu'
    ? { bound: 64e6, vocab: 151_936, tokens: [96, 480], growth: 0 }
    : { bound: 2.2 * 1536 * 9600 * 4, vocab: 9600, tokens: [1536, 4608], growth: 48 * (4608 - 1536) } // results by token

test('the working memory is bounded and does not grow with the tokens', async () => {
  const peaks: number[] = []
  for (const tokens of MEMORY.tokens) {
    const other = testDevice()
    // few columns: what is measured are the logits of all classes
    const make = (rows: number): Tensor => other.zeros([rows, 16], 'bfloat16')
    const hidden = make(tokens)
    const teacher = { hidden: make(tokens), weight: make(MEMORY.vocab) }
    const labels = other.tensor(new Int32Array(tokens).fill(-100).fill(7, 0, 480))
    const { loss } = distillHead({ hidden, weight: make(MEMORY.vocab), teacher, labels, divergence: 'totalVariation' })
    await loss.item()
    peaks.push(other.memory().workspace)
  }
  expect(peaks[0]).toBeLessThan(MEMORY.bound)
  expect(peaks[1]! - peaks[0]!).toBeLessThanOrEqual(MEMORY.growth)
})

// A CPU keeps the gradients of several chunks' logits and multiplies them together; parts of a chunk are what the oracle has checked.
test.runIf(device.kind === 'cpu').each(FLOATS)(
  'many tokens of a large vocabulary: as a few at a time, %s',
  async (dtype) => {
    const [tokens, few, hs] = [165, 33, 4]
    const { teacher, ...c } = makeCase(17, tokens, 151_936, hs, 2, 10, { dtype, masked: true })
    const part = (from: number, to: number) =>
      run(
        {
          ...c,
          hidden: c.hidden.slice(from * hs, to * hs),
          labels: c.labels.slice(from, to),
          teacher: { ...teacher, hidden: teacher.hidden.slice(from * 2, to * 2) },
          kind: 'symmetricKL',
          ...LAMBDAS,
        },
        {},
        { hidden: dtype, weight: dtype, teacherHidden: dtype, teacherWeight: dtype },
      )
    const all = await part(0, tokens)
    const dweight = new Float64Array(all.dweight.length)
    for (let from = 0; from < tokens; from += few) {
      const got = await part(from, from + few)
      expect(relativeError(all.tokenLoss.slice(from, from + few), got.tokenLoss)).toBeLessThan(TOLERANCE.float32)
      expect(relativeError(all.dhidden.slice(from * hs, (from + few) * hs), got.dhidden)).toBeLessThan(TOLERANCE[dtype])
      for (const [i, g] of got.dweight.entries()) dweight[i]! += g
    }
    expect(relativeError(all.dweight, dweight)).toBeLessThan(TOLERANCE[dtype])
  },
)

describe('what does not fit is refused', () => {
  const base = (): DistillLoss => ({
    hidden: device.zeros([3, 8]),
    weight: device.zeros([20, 8]),
    teacher: { hidden: device.zeros([3, 12]), weight: device.zeros([20, 12]) },
    labels: device.tensor(Int32Array.of(1, -100, 3)),
    divergence: 'forwardKL',
  })
  test.each<[string, Partial<DistillLoss>, new (...a: never[]) => Error, string]>([
    ['weight', { weight: device.zeros([20, 9]) }, ShapeError, 'hidden is [3, 8] but weight is [20, 9]'],
    ['labels', { labels: device.tensor(Int32Array.of(1)) }, ShapeError, 'labels are [1]'],
    ['float labels', { labels: device.zeros([3]) }, DTypeError, 'labels is float32'],
    ['empty head', { weight: device.zeros([0, 8]), vocabularyPolicy: 'mask' }, ShapeError, 'at least one row'],
    [
      'teacher tokens',
      { teacher: { hidden: device.zeros([4, 12]), weight: device.zeros([20, 12]) } },
      ShapeError,
      'same tokens',
    ],
    [
      'teacher weight',
      { teacher: { hidden: device.zeros([3, 12]), weight: device.zeros([20, 8]) } },
      ShapeError,
      'second dimensions',
    ],
    [
      'vocabulary',
      { teacher: { hidden: device.zeros([3, 12]), weight: device.zeros([24, 12]) } },
      ArgumentError,
      "has 20 rows and the teacher's 24",
    ],
    ['policy', { vocabularyPolicy: 'pad' as never }, ArgumentError, "'pad'"],
    ['divergence', { divergence: 'js' as DivergenceKind }, ArgumentError, 'use one of forwardKL'],
    ['temperature', { temperature: 0 }, ArgumentError, 'temperature is 0'],
    ['beta missing', { divergence: 'generalizedJS' }, ArgumentError, 'beta'],
    ['beta', { divergence: 'generalizedJS', beta: 1 }, ArgumentError, 'between 0 and 1'],
    ['scale', { scale: Number.NaN }, ArgumentError, 'scale is NaN'],
  ])('%s', (_, change, type, message) => {
    expect(() => distillHead({ ...base(), ...change })).toThrow(type)
    expect(() => distillHead({ ...base(), ...change })).toThrow(message)
  })

  test('a label outside the vocabulary is an error of the device, which stays usable', async () => {
    const bad = distillHead({ ...base(), labels: device.tensor(Int32Array.of(1, 20, 3)) })
    await expect(bad.loss.item()).rejects.toThrow(DeviceError)
    const good = distillHead(base())
    expect(Number.isFinite(await good.loss.item())).toBe(true)
  })
})
