/** A pair of adjacent symbols, how often it occurs, and the words that held it at some time (each at least once). */
export interface PairOccurrence {
  left: number
  right: number
  count: number
  words: Iterable<number>
}

/**
 * Counts of adjacent symbol pairs with a queue for the most frequent; of equals the pair with the smaller left, then
 * right symbol. The queue is lazy: a pair whose count fell is put right when it surfaces.
 */
export class PairQueue {
  private readonly slots = new Map<number, number>()
  private readonly keys: number[] = []
  private readonly counts: number[] = []
  private readonly words: number[][] = []
  /** Slots that gained a word since `refresh`, the only ones whose count can have risen. */
  private readonly risen = new Set<number>()
  /** Binary heap of [count as it was, slot]. */
  private readonly heapCounts: number[] = []
  private readonly heapSlots: number[] = []

  /** @param symbols one more than the largest symbol */
  constructor(private readonly symbols: number) {}

  /** Changes the count of a pair. */
  add(left: number, right: number, delta: number): void {
    this.counts[this.slot(left, right)]! += delta
  }

  /** Notes that a word holds a pair it did not hold before. */
  occursIn(left: number, right: number, word: number): void {
    const slot = this.slot(left, right)
    const words = this.words[slot]!
    if (words[words.length - 1] !== word) words.push(word)
    this.risen.add(slot)
  }

  /** Queues the pairs that became more frequent; call once all changes of a step are in. */
  refresh(): void {
    for (const slot of this.risen) this.push(this.counts[slot]!, slot)
    this.risen.clear()
  }

  /** Takes the most frequent pair out, or undefined when none is left. */
  pop(): PairOccurrence | undefined {
    while (this.heapSlots.length > 0) {
      const queued = this.heapCounts[0]!
      const slot = this.heapSlots[0]!
      this.removeTop()
      const count = this.counts[slot]!
      if (count !== queued) {
        if (count > 0 && count < queued) this.push(count, slot)
        continue
      }
      if (count <= 0) continue
      const key = this.keys[slot]!
      const words = new Set(this.words[slot])
      this.words[slot] = []
      return { left: Math.floor(key / this.symbols), right: key % this.symbols, count, words }
    }
    return undefined
  }

  private slot(left: number, right: number): number {
    const key = left * this.symbols + right
    const known = this.slots.get(key)
    if (known !== undefined) return known
    const slot = this.keys.push(key) - 1
    this.slots.set(key, slot)
    this.counts.push(0)
    this.words.push([])
    return slot
  }

  private push(count: number, slot: number): void {
    let at = this.heapSlots.length
    this.heapCounts.push(count)
    this.heapSlots.push(slot)
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (!this.before(at, parent)) break
      this.swap(at, parent)
      at = parent
    }
  }

  private removeTop(): void {
    const count = this.heapCounts.pop()!
    const slot = this.heapSlots.pop()!
    const size = this.heapSlots.length
    if (size === 0) return
    this.heapCounts[0] = count
    this.heapSlots[0] = slot
    for (let at = 0; ; ) {
      let best = at
      for (const child of [2 * at + 1, 2 * at + 2]) if (child < size && this.before(child, best)) best = child
      if (best === at) return
      this.swap(at, best)
      at = best
    }
  }

  private before(a: number, b: number): boolean {
    const difference = this.heapCounts[a]! - this.heapCounts[b]!
    return difference > 0 || (difference === 0 && this.keys[this.heapSlots[a]!]! < this.keys[this.heapSlots[b]!]!)
  }

  private swap(a: number, b: number): void {
    const count = this.heapCounts[a]!
    const slot = this.heapSlots[a]!
    this.heapCounts[a] = this.heapCounts[b]!
    this.heapSlots[a] = this.heapSlots[b]!
    this.heapCounts[b] = count
    this.heapSlots[b] = slot
  }
}
