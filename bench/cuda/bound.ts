import { CARDS, type Card } from '../../lib/plan/cards.js'
import type { Counts } from './machine.js'

/** Bytes of shared memory that a multiprocessor moves in a clock (32 banks of 4 bytes: one wavefront), and warp instructions that it issues. */
const WAVEFRONTS_PER_CLOCK = 1
const ISSUES_PER_CLOCK = 4

/** What a kernel cannot be faster than, and because of what. */
export interface Bound {
  seconds: number
  resource: 'memory' | 'tensor cores' | 'shared memory' | 'float32' | 'special functions' | 'issue'
}

/** What a kernel asks of a card. */
export type Work = Pick<Counts, 'footprint' | 'multiplyAdds' | 'wavefronts' | 'issues' | 'float32' | 'special'>

/**
 * The least time of a kernel on a card: each resource alone, at the maker's peak and with nothing in its way; the slowest of them. All
 * multiprocessors share the work, as at sizes that fill the card. Memory: each sector that is touched crosses the bus once, however often it is asked for. Instructions are those of the PTX.
 */
export function bound(work: Work, card: Card): Bound {
  const clocks = card.multiprocessors * card.clock
  const seconds: Record<Bound['resource'], number> = {
    memory: work.footprint / card.bandwidth,
    'tensor cores': (2 * work.multiplyAdds) / card.tensor,
    'shared memory': work.wavefronts / (WAVEFRONTS_PER_CLOCK * clocks),
    float32: (32 * work.float32) / (card.float32 * clocks),
    'special functions': (32 * work.special) / (card.special * clocks),
    issue: work.issues / (ISSUES_PER_CLOCK * clocks),
  }
  const [resource, slowest] = (Object.entries(seconds) as [Bound['resource'], number][]).reduce((a, b) =>
    b[1] > a[1] ? b : a,
  )
  return { seconds: slowest, resource }
}

/** That of every card, by its name. */
export const bounds = (work: Work): Record<string, Bound> =>
  Object.fromEntries(CARDS.map((card) => [card.name, bound(work, card)]))
