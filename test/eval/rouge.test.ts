import { describe, expect, it } from 'vitest'
import { EvaluationError } from '../../lib/errors.js'
import { lcsLength, lcsPositions } from '../../lib/eval/lcs.js'
import { corpusRouge, rouge, tokenizeForRouge } from '../../lib/eval/rouge.js'

function words(seed: number, length: number, alphabet: number): string[] {
  let state = seed
  return Array.from({ length }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return `w${(state >>> 12) % alphabet}`
  })
}

/** The textbook table and the walk back that defines which of several subsequences is taken. */
function tablePositions(reference: readonly string[], candidate: readonly string[]): number[] {
  const table = Array.from({ length: reference.length + 1 }, () => new Array<number>(candidate.length + 1).fill(0))
  for (let i = 1; i <= reference.length; i++) {
    for (let j = 1; j <= candidate.length; j++) {
      table[i]![j] =
        reference[i - 1] === candidate[j - 1]
          ? table[i - 1]![j - 1]! + 1
          : Math.max(table[i - 1]![j]!, table[i]![j - 1]!)
    }
  }
  const found: number[] = []
  let i = reference.length
  let j = candidate.length
  while (i > 0 && j > 0) {
    if (reference[i - 1] === candidate[j - 1]) {
      found.unshift(--i)
      j--
    } else if (table[i]![j - 1]! > table[i - 1]![j]!) j--
    else i--
  }
  return found
}

describe('longest common subsequence', () => {
  const lengths = [0, 1, 2, 31, 32, 33, 63, 64, 65, 97, 200]
  for (const alphabet of [1, 2, 5, 40]) {
    it(`equals the textbook table over an alphabet of ${alphabet}`, () => {
      for (const [a, n] of lengths.entries()) {
        for (const [b, m] of lengths.entries()) {
          const reference = words(a * 31 + 7, n, alphabet)
          const candidate = words(b * 17 + 1001, m, alphabet)
          const expected = tablePositions(reference, candidate)
          expect(lcsPositions(reference, candidate)).toEqual(expected)
          expect(lcsLength(reference, candidate)).toBe(expected.length)
        }
      }
    })
  }

  it('handles 50,000 words against 50,000', () => {
    const reference = words(1, 50_000, 5000)
    expect(lcsLength(reference, reference)).toBe(50_000)
    const other = words(2, 50_000, 5000)
    const length = lcsLength(reference, other)
    expect(length).toBe(lcsLength(other, reference))
    expect(length).toBeGreaterThan(1000)
  })
})

describe('rouge', () => {
  const cases = [
    {
      target: 'The quick brown fox jumps over the lazy dog',
      prediction: 'The quick brown dog jumps on the log.',
      useStemmer: false,
      f1: { rouge1: 0.70588, rouge2: 0.26667, rougeL: 0.58824 },
    },
    {
      target: 'Candidate has 5+ years of Python; no C++ experience.',
      prediction: 'The candidate has five years of Python experience, not C++.',
      useStemmer: false,
      f1: { rouge1: 0.73684, rouge2: 0.35294, rougeL: 0.63158 },
    },
    {
      target: 'Strong match.\nSkills matched: Java, Kafka.',
      prediction: 'Skills matched: Kafka, Java.\nStrong matching.',
      useStemmer: false,
      f1: { rouge1: 0.83333, rouge2: 0.2, rougeL: 0.5, rougeLsum: 0.66667 },
    },
    {
      target: 'Strong match.\nSkills matched: Java, Kafka.',
      prediction: 'Skills matched: Kafka, Java.\nStrong matching.',
      useStemmer: true,
      f1: { rouge1: 1, rouge2: 0.4, rougeL: 0.5, rougeLsum: 0.83333 },
    },
  ] as const
  for (const { target, prediction, useStemmer, f1 } of cases) {
    it(`gives the reference scores for "${prediction.slice(0, 24)}"${useStemmer ? ', stemmed' : ''}`, () => {
      const scores = rouge(target, prediction, { useStemmer })
      for (const [kind, value] of Object.entries(f1)) {
        expect(scores[kind as keyof typeof scores].f1).toBeCloseTo(value, 5)
      }
    })
  }

  it('tells precision from recall', () => {
    const { rouge1, rougeL } = rouge('a b c d', 'a b')
    expect(rouge1).toEqual({ precision: 1, recall: 0.5, f1: 2 / 3 })
    expect(rougeL).toEqual({ precision: 1, recall: 0.5, f1: 2 / 3 })
  })

  it('clips repeated n-grams', () => {
    expect(rouge('the cat', 'the the the the').rouge1).toEqual({ precision: 0.25, recall: 0.5, f1: 1 / 3 })
  })

  it('counts a word of the union once, also when two candidate lines hold it', () => {
    const { rougeLsum } = rouge('w1 w2 w3 w4 w5', 'w1 w2 w6 w7 w8\nw1 w3 w8 w9 w5') // Lin 2004, section 3.2: 4/5
    expect(rougeLsum.recall).toBeCloseTo(4 / 5, 12)
    expect(rougeLsum.precision).toBeCloseTo(4 / 10, 12)
  })

  it('scores 0, not NaN, for empty texts and for texts without a latin word', () => {
    for (const [target, prediction] of [
      ['', ''],
      ['some words', ''],
      ['', 'some words'],
      ['履歴書', '履歴書'],
      ['...', '\n\n'],
    ] as const) {
      for (const score of Object.values(rouge(target, prediction))) {
        expect(score).toEqual({ precision: 0, recall: 0, f1: 0 })
      }
    }
  })

  it('splits as the reference does: case, accents, punctuation, digits', () => {
    expect(tokenizeForRouge('Café  C++/C#, 3.5x — NODE.js_v20')).toEqual([
      'caf',
      'c',
      'c',
      '3',
      '5x',
      'node',
      'js',
      'v20',
    ])
  })

  it('stems only words longer than three letters', () => {
    expect(tokenizeForRouge('was using years', true)).toEqual(['was', 'use', 'year'])
  })
})

describe('corpusRouge', () => {
  const targets = ['a b c', 'd e f', 'g h i', 'j k l']
  const predictions = ['a b c', 'd e x', 'g x x', 'x x x']

  it('is the plain mean over samples, inside its interval', () => {
    const { scores, samples, perSample } = corpusRouge(targets, predictions, { seed: 3 })
    expect(samples).toBe(4)
    expect(perSample.map((s) => s.rouge1.f1)).toEqual([1, 2 / 3, 1 / 3, 0].map((v) => expect.closeTo(v, 12)))
    expect(scores.rouge1.f1).toBeCloseTo(0.5, 12)
    expect(scores.rouge1.precision).toBeCloseTo(0.5, 12)
    expect(scores.rouge1.interval.low).toBeLessThan(0.5)
    expect(scores.rouge1.interval.high).toBeGreaterThan(0.5)
  })

  it('gives the same intervals for the same seed', () => {
    const interval = (seed: number) =>
      corpusRouge(targets, predictions, { seed, resamples: 200 }).scores.rouge2.interval
    expect(interval(5)).toEqual(interval(5))
  })

  it('refuses different lengths and empty corpora', () => {
    expect(() => corpusRouge(['a'], [])).toThrow(EvaluationError)
    expect(() => corpusRouge(['a'], [])).toThrow(/1 targets but 0 predictions/)
    expect(() => corpusRouge([], [])).toThrow(/no samples/)
  })
})
