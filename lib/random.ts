/**
 * Seeded random numbers for data generation: xoshiro128** (Blackman and Vigna, 2018), its state filled by splitmix32.
 * Integer arithmetic only up to the last division, so that a seed gives the same data on every machine.
 */
export class Random {
  readonly #state: Uint32Array

  /** @param seed a number or any string; both are hashed, so neighbouring seeds give unrelated streams */
  constructor(seed: number | string) {
    let mixed = hash(String(seed))
    this.#state = new Uint32Array(4)
    for (let i = 0; i < 4; i++) {
      mixed = (mixed + 0x9e3779b9) >>> 0
      let z = mixed
      z = Math.imul(z ^ (z >>> 16), 0x21f0aaad)
      z = Math.imul(z ^ (z >>> 15), 0x735a2d97)
      this.#state[i] = (z ^ (z >>> 15)) >>> 0
    }
    if (this.#state.every((word) => word === 0)) this.#state[0] = 1 // the all-zero state is a fixed point
  }

  /** Next 32 random bits, as an unsigned integer. */
  next(): number {
    const s = this.#state
    const [a, b, c, d] = [s[0]!, s[1]!, s[2]!, s[3]!]
    const result = Math.imul(rotateLeft(Math.imul(b, 5), 7), 9) >>> 0
    s[2] = c ^ a
    s[3] = d ^ b
    s[1] = b ^ s[2]!
    s[0] = a ^ s[3]!
    s[2] = s[2]! ^ (b << 9)
    s[3] = rotateLeft(s[3]!, 11)
    return result
  }

  /** Uniform in [0, 1), 24 bits of resolution. */
  float(): number {
    return (this.next() >>> 8) / 0x1000000
  }

  /** Uniform integer in [low, high], both included. */
  int(low: number, high: number): number {
    return low + Math.floor(this.float() * (high - low + 1))
  }

  /** True with the given probability. */
  chance(probability: number): boolean {
    return this.float() < probability
  }

  /** One element, uniformly. @throws RangeError on an empty list */
  pick<T>(items: readonly T[]): T {
    if (items.length === 0) throw new RangeError('Random.pick: the list is empty; pass at least one element')
    return items[this.int(0, items.length - 1)] as T
  }

  /** Up to `count` different elements in random order. */
  sample<T>(items: readonly T[], count: number): T[] {
    return this.shuffle(items).slice(0, Math.max(0, count))
  }

  /** A shuffled copy (Fisher-Yates). */
  shuffle<T>(items: readonly T[]): T[] {
    const copy = [...items]
    for (let i = copy.length - 1; i > 0; i--) {
      const j = this.int(0, i)
      const held = copy[i] as T
      copy[i] = copy[j] as T
      copy[j] = held
    }
    return copy
  }
}

function rotateLeft(word: number, bits: number): number {
  return (word << bits) | (word >>> (32 - bits))
}

/** FNV-1a over UTF-16 code units, [string] -> uint32. */
function hash(text: string): number {
  let h = 0x811c9dc5
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193)
  return h >>> 0
}
