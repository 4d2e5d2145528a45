import { LanternError } from '../errors.js'

/** Tokens of one block of the KV cache. */
export const BLOCK_SIZE = 16

/** Hands out the blocks of a paged KV cache. Block tables of sequences grow as their contexts do. */
export class BlockPool {
  readonly total: number
  #free: number[]

  constructor(total: number) {
    if (!Number.isInteger(total) || total < 1)
      throw new LanternError(
        'ERR_CACHE',
        `a KV cache of ${total} blocks holds nothing; give it room for one sequence at least`,
      )
    this.total = total
    this.#free = Array.from({ length: total }, (_, i) => total - 1 - i)
  }

  get free(): number {
    return this.#free.length
  }

  /** Blocks that a context of `tokens` needs. */
  static needed(tokens: number): number {
    return Math.ceil(tokens / BLOCK_SIZE)
  }

  /** Makes `table` long enough for `tokens`; false (and nothing taken) when there are not enough free blocks. */
  grow(table: number[], tokens: number): boolean {
    const more = BlockPool.needed(tokens) - table.length
    if (more > this.#free.length) return false
    for (let i = 0; i < more; i++) table.push(this.#free.pop()!)
    return true
  }

  /** Takes the blocks of `table` back and empties it. */
  release(table: number[]): void {
    this.#free.push(...table.splice(0).reverse())
  }
}
