import { describe, expect, test } from 'vitest'
import { ArgumentError, ShapeError } from '../../lib/errors.js'
import { type RowSampling, sample } from '../../lib/ops/sampling.js'
import { asStored, FLOATS, normal, openTestDevice, QUICK, testDevice } from '../support.js'

const device = testDevice()

/** Vocabularies: one slice of a row, several, and many; the last two hold more than the candidates that are kept at hand. */
const VOCABULARIES = [33, 128, 4099, QUICK ? 10_007 : 151_936]
const DRAWS = { rounds: 10, perRound: QUICK ? 60 : 4000 }

/** Philox4x32-10 as its paper states it, on BigInt. */
function philox(key: [bigint, bigint], counter: [bigint, bigint, bigint, bigint]): bigint[] {
  const mask = 0xffffffffn
  let [k0, k1] = key
  let [a, b, c, d] = counter
  for (let round = 0; round < 10; round++) {
    const [x, y] = [0xd2511f53n * a, 0xcd9e8d57n * c]
    ;[a, b, c, d] = [(y >> 32n) ^ b ^ k0, y & mask, (x >> 32n) ^ d ^ k1, x & mask]
    k0 = (k0 + 0x9e3779b9n) & mask
    k1 = (k1 + 0xbb67ae85n) & mask
  }
  return [a, b, c, d]
}

/** The number in [0, 1) that a draw uses. */
function uniformOf({ seed = 0, sequence = 0, step = 0 }: RowSampling): number {
  const s = BigInt.asUintN(64, BigInt(seed))
  const bits = philox([s & 0xffffffffn, s >> 32n], [BigInt(step), BigInt(sequence), 0n, 0n])
  return Number((bits[0]! << 21n) | (bits[1]! >> 11n)) / 2 ** 53
}

/** The distribution that a row is drawn from, in float64, by sorting: id to probability. */
function distribution(logits: ArrayLike<number>, row: RowSampling, limit = logits.length): Map<number, number> {
  const { temperature = 0, topK = 0, topP = 1, repetitionPenalty: r = 1, previous = [] } = row
  const z = Float64Array.from(Array.from(logits).slice(0, limit))
  for (const id of new Set(previous)) if (id < limit) z[id] = z[id]! > 0 ? z[id]! / r : z[id]! * r
  const order = Array.from(z.keys()).sort((a, b) => z[b]! - z[a]! || a - b)
  const top = z[order[0]!]!
  let kept = (topK > 0 ? order.slice(0, topK) : order).map((id) => ({
    id,
    weight: Math.exp((z[id]! - top) / temperature),
  }))
  const mass = () => kept.reduce((t, k) => t + k.weight, 0)
  if (topP < 1) {
    let [cumulative, count] = [0, 0]
    for (const target = topP * mass(); cumulative < target; ) cumulative += kept[count++]!.weight
    kept = kept.slice(0, Math.max(1, count))
  }
  const total = mass()
  return new Map(kept.map(({ id, weight }) => [id, weight / total]))
}

const logProbability = (logits: ArrayLike<number>, id: number, limit = logits.length): number => {
  const z = Array.from(logits).slice(0, limit)
  const top = z.reduce((a, b) => Math.max(a, b))
  return z[id]! - top - Math.log(z.reduce((t, v) => t + Math.exp(v - top), 0))
}

/** Rows of the same logits, all with one setting, drawn at steps 0, 1, 2... */
async function draw(logits: Float32Array, row: RowSampling, count: number, limit?: number): Promise<Int32Array> {
  const repeated = new Float32Array(logits.length * count)
  for (let i = 0; i < count; i++) repeated.set(logits, i * logits.length)
  const rows = Array.from({ length: count }, (_, step) => ({ ...row, step }))
  const drawn = sample(device.tensor(repeated, [count, logits.length]), {
    rows,
    ...(limit ? { vocabularyLimit: limit } : {}),
  })
  return drawn.ids.ints()
}

test('the reference generator gives the published numbers for key 0 and counter 0', () => {
  expect(philox([0n, 0n], [0n, 0n, 0n, 0n])).toEqual([0x6627e8d5n, 0xe169c58dn, 0xbc57ac4cn, 0x9b00dbd8n])
})

describe('distribution of many draws against the exact one (chi-square)', () => {
  const previous = [3, 3, 7, 11, 40]
  test.each<[string, RowSampling]>([
    ['temperature 1', { temperature: 1 }],
    ['temperature 0.5', { temperature: 0.5 }],
    ['temperature 3', { temperature: 3 }],
    ['topK', { temperature: 1, topK: 7 }],
    ['topK above the vocabulary', { temperature: 1, topK: 1000 }],
    ['topP', { temperature: 1, topP: 0.8 }],
    ['topP close to 1', { temperature: 1, topP: 0.999 }],
    ['topK, topP and penalty', { temperature: 1.5, topK: 20, topP: 0.9, repetitionPenalty: 1.3, previous }],
    ['penalty below 1', { temperature: 1, repetitionPenalty: 0.8, previous }],
  ])('%s', async (_, row) => {
    const logits = normal(3, 61, { std: 1.5 })
    logits[5] = -Infinity
    const { rounds, perRound } = DRAWS
    const counts = new Map<number, number>()
    for (let seed = 0; seed < rounds; seed++)
      for (const id of await draw(logits, { ...row, seed }, perRound)) counts.set(id, (counts.get(id) ?? 0) + 1)
    const want = distribution(logits, row)
    let [chiSquare, cells, restWanted, restSeen] = [0, 0, 0, 0]
    for (const [id, p] of want) {
      const expected = p * rounds * perRound
      const seen = counts.get(id) ?? 0
      counts.delete(id)
      if (expected < 10) {
        restWanted += expected
        restSeen += seen
        continue
      }
      cells++
      chiSquare += (seen - expected) ** 2 / expected
    }
    if (restWanted > 0) expect(Math.abs(restSeen - restWanted)).toBeLessThan(4 * Math.sqrt(restWanted) + 3)
    expect([...counts.keys()]).toEqual([]) // nothing outside what stays
    expect(chiSquare).toBeLessThan(cells + 3.5 * Math.sqrt(2 * cells)) // about 1 in 1,000 by chance; the seeds are fixed
  })
})

describe.each(FLOATS)('%s logits', (dtype) => {
  test.each(VOCABULARIES)(
    'vocabulary of %i: draws and log probabilities, each row with its own settings',
    async (vocab) => {
      const rows: RowSampling[] = [
        {},
        { temperature: 1, seed: 5 },
        { temperature: 0.7, seed: -3, sequence: 4, step: 9 },
        { temperature: 2, seed: 2 ** 40 + 17, step: 1 },
        { temperature: 0.9, repetitionPenalty: 1.5, previous: [1, 2, 3], step: 4 },
      ]
      const limit = vocab - 2
      const logits = asStored(normal(vocab, rows.length * vocab, { std: 3 }), dtype)
      for (let i = 0; i < rows.length; i++) logits[(i + 1) * vocab - 1] = 1000 // masked by the limit
      const drawn = sample(device.tensor(logits, [rows.length, vocab], dtype), { rows, vocabularyLimit: limit })
      const [ids, logProbs] = [await drawn.ids.ints(), await drawn.logProbabilities.floats()]
      rows.forEach((row, i) => {
        const z = logits.subarray(i * vocab, (i + 1) * vocab)
        if (!row.temperature)
          expect(ids[i]).toBe(z.subarray(0, limit).reduce((best, v, id) => (v > z[best]! ? id : best), 0))
        else {
          // The draw inverts the cumulative sum by id.
          const p = distribution(z, row, limit)
          let left = uniformOf(row)
          let want = -1
          for (let id = 0; id < limit && left >= 0; id++) {
            left -= p.get(id)!
            want = id
          }
          expect(ids[i]).toBe(want)
        }
        expect(logProbs[i]).toBeCloseTo(logProbability(z, ids[i]!, limit), 4)
      })
    },
  )

  test.each(VOCABULARIES.slice(2))('top-k and top-p of %i columns keep exactly what sorting keeps', async (vocab) => {
    const logits = asStored(normal(9, vocab, { std: 2, outliers: 0.2 }), dtype)
    for (const row of [
      { temperature: 1e5, topK: 3 }, // all that stay are about equally likely: 24 draws see each
      { temperature: 40, topK: 4 },
      { temperature: 5, topP: 0.2 },
      { temperature: 5, topP: 0.2, topK: 5000 },
      { temperature: 1, topP: 0.9 },
      { temperature: 1e4, topP: 0.9999 },
    ]) {
      const stays = distribution(logits, row)
      const rows = Array.from({ length: 24 }, (_, step) => ({ ...row, step }))
      const stacked = new Float32Array(vocab * rows.length)
      for (let i = 0; i < rows.length; i++) stacked.set(logits, i * vocab)
      const ids = await sample(device.tensor(stacked, [rows.length, vocab], dtype), { rows }).ids.ints()
      const seen = new Set(ids)
      for (const id of seen) expect(stays.has(id)).toBe(true)
      if (row.topK && row.topK < 10) expect(seen.size).toBe(row.topK)
    }
  })
})

test('a row draws the same whatever else is in the batch and however many threads there are', async () => {
  const vocab = 3001
  const logits = normal(4, 9 * vocab, { std: 2 })
  const rows: RowSampling[] = Array.from({ length: 9 }, (_, i) => ({
    temperature: 0.5 + i / 4,
    topK: i % 3 ? 40 * i : 0,
    topP: i % 2 ? 0.9 : 1,
    repetitionPenalty: i % 4 ? 1.2 : 1,
    previous: Array.from({ length: i * 3 }, (_, k) => k * 7),
    seed: 99,
    sequence: i,
    step: i,
  }))
  const together = sample(device.tensor(logits, [9, vocab]), { rows })
  const want = Array.from(await together.ids.ints())
  for (const threads of [1, 3]) {
    const d = openTestDevice({ threads })
    const alone = []
    for (const [i, row] of rows.entries())
      alone.push(
        await sample(d.tensor(logits.subarray(i * vocab, (i + 1) * vocab), [1, vocab]), { rows: [row] }).ids.item(),
      )
    const reversed = new Float32Array(9 * vocab)
    for (let i = 0; i < 9; i++) reversed.set(logits.subarray(i * vocab, (i + 1) * vocab), (8 - i) * vocab)
    const backwards = await sample(d.tensor(reversed, [9, vocab]), { rows: [...rows].reverse() }).ids.ints()
    expect(alone).toEqual(want)
    expect(Array.from(backwards).reverse()).toEqual(want)
    await d.close()
  }
})

test('seed, sequence and step each change the draw', async () => {
  const flat = new Float32Array(100_000)
  const settings = [{}, { seed: 1 }, { seed: 2 ** 32 }, { sequence: 1 }, { step: 1 }].map((s) => ({
    temperature: 1,
    ...s,
  }))
  const stacked = new Float32Array(settings.length * flat.length)
  const ids = await sample(device.tensor(stacked, [settings.length, flat.length]), { rows: settings }).ids.ints()
  expect(new Set(ids).size).toBe(settings.length)
})

describe('edges', () => {
  const logits = Float32Array.of(1, 5, 2, 5, -Infinity, 5, 0)
  test.each<[string, RowSampling]>([
    ['temperature 0', { temperature: 0 }],
    ['no settings', {}],
    ['temperature below the greedy bound', { temperature: 1e-9 }],
    ['topK 1', { temperature: 1, topK: 1 }],
    ['tiny topP', { temperature: 1, topP: 1e-30 }],
    ['tiny topP among topK', { temperature: 1, topK: 4, topP: 1e-6 }],
  ])('%s takes the best, of equals the lowest id', async (_, row) => {
    expect(new Set(await draw(logits, row, 50))).toEqual(new Set([1]))
  })

  test('equal logits are cut by id', async () => {
    expect(new Set(await draw(logits, { temperature: 1, topK: 2 }, 100))).toEqual(new Set([1, 3]))
    expect(new Set(await draw(new Float32Array(1000), { temperature: 1, topP: 0.0045 }, 200))).toEqual(
      new Set([0, 1, 2, 3, 4]),
    )
  })

  test('one column, one finite column, no rows', async () => {
    expect(Array.from(await draw(Float32Array.of(-3), { temperature: 1 }, 3))).toEqual([0, 0, 0])
    const masked = new Float32Array(500).fill(-Infinity)
    masked[417] = -1e30
    for (const row of [{ temperature: 1 }, { temperature: 1, topK: 9 }, { temperature: 1, topP: 0.5 }, {}])
      expect(Array.from(await draw(masked, row, 2))).toEqual([417, 417])
    expect((await sample(device.empty([0, 8]), { rows: [] }).ids.ints()).length).toBe(0)
  })

  test('the penalty counts an id once, and moves the best', async () => {
    const z = Float32Array.of(4, 3, -1)
    const penalised = { repetitionPenalty: 1.2, previous: [0, 0, 0, 0] }
    expect(Array.from(await draw(z, penalised, 1))).toEqual([0]) // 4 / 1.2 > 3
    expect(Array.from(await draw(z, { ...penalised, repetitionPenalty: 1.4 }, 1))).toEqual([1])
    expect(Array.from(await draw(Float32Array.of(-2, -3), { repetitionPenalty: 2, previous: [0] }, 1))).toEqual([1])
    expect(Array.from(await draw(z, { repetitionPenalty: 2, previous: [2] }, 1, 2))).toEqual([0]) // previous above the limit: masked anyway
  })
})

test.each(FLOATS)('%s logits: penalties in rows that start anywhere', async (dtype) => {
  const [rows, vocab] = [9, 37]
  const logits = new Float32Array(rows * vocab)
  for (let r = 0; r < rows; r++) logits.set([3.5, 3], r * vocab + (r % 3))
  const settings = Array.from({ length: rows }, (_, r) => ({ repetitionPenalty: 2, previous: [r % 3] }))
  const { ids } = sample(device.tensor(logits, [rows, vocab], dtype), { rows: settings })
  expect(Array.from(await ids.ints())).toEqual(settings.map(({ previous }) => previous[0]! + 1))
})

describe('errors', () => {
  test.each([
    ['NaN', [0, NaN, 1], 'row 1 of the logits holds NaN or +infinity'],
    ['+infinity', [0, Infinity, 1], 'row 1 of the logits holds NaN or +infinity'],
    ['-infinity everywhere', [-Infinity, -Infinity, -Infinity], 'row 1 of the logits is -infinity everywhere'],
  ])('a row of %s is named', async (_, bad, message) => {
    for (const row of [{}, { temperature: 1 }, { temperature: 1, topK: 2 }]) {
      const d = openTestDevice()
      const drawn = sample(d.tensor([1, 2, 3, ...bad], [2, 3]), { rows: [row, row] })
      await expect(drawn.ids.read()).rejects.toThrow(message)
      await d.close()
    }
  })

  test.each([-1, 3])('previous id %i outside the vocabulary is named', async (id) => {
    const d = openTestDevice()
    const drawn = sample(d.zeros([2, 3]), { rows: [{}, { repetitionPenalty: 1.1, previous: [0, id] }] })
    await expect(drawn.ids.read()).rejects.toThrow(`row 1 has the previous id ${id}, outside [0, 3)`)
    await d.close()
  })

  test.each<RowSampling>([
    { temperature: -1 },
    { temperature: NaN },
    { temperature: Infinity },
    { topP: 0 },
    { topP: 1.1 },
    { topK: -1 },
    { topK: 1.5 },
    { repetitionPenalty: 0 },
    { seed: 0.5 },
    { sequence: -1 },
    { step: 2 ** 32 },
  ])('%j is refused by name', (row) => {
    const run = () => sample(device.zeros([2, 3]), { rows: [{}, row] })
    expect(run).toThrow(ArgumentError)
    expect(run).toThrow(`${Object.keys(row)[0]} of row 1`)
  })

  test('shapes and limits that do not fit', () => {
    expect(() => sample(device.zeros([2, 3]), { rows: [{}] })).toThrow(ShapeError)
    expect(() => sample(device.zeros([3]), { rows: [{}] })).toThrow(ShapeError)
    expect(() => sample(device.zeros([1, 3]), { rows: [{}], vocabularyLimit: 4 })).toThrow(ArgumentError)
  })
})
