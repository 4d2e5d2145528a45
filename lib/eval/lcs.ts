/**
 * Longest common subsequence of token sequences, bit-parallel: one bit per reference token, 32 cells of the classic
 * table per machine operation (Hyyro, "Bit-parallel LCS-length computation revisited", 2004).
 *
 * After candidate token j the bit vector V has bit i clear exactly where table[i + 1][j] = table[i][j] + 1, so the
 * number of clear bits is the length, and the path can be read back from the vectors alone.
 */

/** Positions of every token in the reference, and the scratch vectors of one run. */
class BitLcs {
  private readonly positions = new Map<string, number[]>()
  private readonly mask: Uint32Array
  readonly words: number

  constructor(reference: readonly string[]) {
    this.words = (reference.length + 31) >>> 5
    this.mask = new Uint32Array(this.words)
    for (const [i, token] of reference.entries()) {
      const known = this.positions.get(token)
      if (known) known.push(i)
      else this.positions.set(token, [i])
    }
  }

  /** One column of the table: `next` [words] from `current` [words], which may be the same array. */
  step(token: string, current: Uint32Array, next: Uint32Array): void {
    const hits = this.positions.get(token)
    if (hits === undefined) {
      if (next !== current) next.set(current)
      return
    }
    const { mask } = this
    for (const i of hits) mask[i >>> 5]! |= 1 << (i & 31)
    let carry = 0
    for (let w = 0; w < this.words; w++) {
      const v = current[w]!
      const matched = (v & mask[w]!) >>> 0
      const sum = v + matched + carry
      carry = sum > 0xffffffff ? 1 : 0
      next[w] = sum | (v & ~matched)
    }
    for (const i of hits) mask[i >>> 5] = 0
  }
}

function clearBits(vector: Uint32Array, bits: number): number {
  let count = 0
  for (let i = 0; i < bits; i++) if (((vector[i >>> 5]! >>> (i & 31)) & 1) === 0) count++
  return count
}

/**
 * Length of the longest common subsequence.
 * Time O(candidate * reference / 32), memory O(reference).
 */
export function lcsLength(reference: readonly string[], candidate: readonly string[]): number {
  const lcs = new BitLcs(reference)
  const vector = new Uint32Array(lcs.words).fill(0xffffffff)
  for (const token of candidate) lcs.step(token, vector, vector)
  return clearBits(vector, reference.length)
}

/**
 * Reference positions of one longest common subsequence, ascending. Of several it takes the one that `rouge_score`
 * takes: walking back from the ends, a match is used; else the candidate is shortened only where that loses nothing
 * and shortening the reference would.
 * Memory O(candidate * reference / 8) bytes, for lines, not for whole corpora.
 */
export function lcsPositions(reference: readonly string[], candidate: readonly string[]): number[] {
  const lcs = new BitLcs(reference)
  const columns = new Uint32Array(lcs.words * (candidate.length + 1)).fill(0xffffffff, 0, lcs.words)
  const column = (j: number): Uint32Array => columns.subarray(j * lcs.words, (j + 1) * lcs.words)
  for (const [j, token] of candidate.entries()) lcs.step(token, column(j), column(j + 1))

  const found: number[] = []
  let i = reference.length
  let j = candidate.length
  while (i > 0 && j > 0) {
    const bit = i - 1
    if (reference[bit] === candidate[j - 1]) {
      found.push(bit)
      i--
      j--
    } else if (((columns[j * lcs.words + (bit >>> 5)]! >>> (bit & 31)) & 1) === 0) {
      j--
    } else {
      i--
    }
  }
  return found.reverse()
}
