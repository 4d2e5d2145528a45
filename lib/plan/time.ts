import type { Part, Work } from './ledger.js'
import type { Machine } from './machine.js'

// A lower bound of a step's time (roofline; Williams et al. 2009, doi 10.1145/1498765.1498785): kernels run one after another, and none is faster
// than its floating-point operations at the peak of their dtype or its bytes at the bandwidth, whichever takes longer. What a real step takes
// beyond it is what kernels reach of the peaks. Where a cache holds what one kernel leaves for the next, as a processor's does of small models, the
// memory's share can be less than is told here.

/** What limits a part of a step. */
export interface TimePart {
  part: Part
  /** At least, in a step. */
  seconds: number
  /** What most of that time waits for. */
  limit: 'compute' | 'memory'
  flops: number
  bytes: number
}

/** The least time of a step. */
export interface TimeBound {
  parts: readonly TimePart[]
  seconds: number
  limit: 'compute' | 'memory'
  tokensPerSecond: number
}

/**
 * The bound of a step.
 * @param work of one micro-batch, and the optimiser's
 * @param microBatches of a step; the last may be a part of one
 */
export function timeBound(work: readonly Work[], machine: Machine, microBatches: number, tokens: number): TimeBound {
  const parts = new Map<Part, { compute: number; memory: number; flops: number; bytes: number }>()
  for (const { part, flops, dtype, bytes } of work) {
    const times = part === 'optimiser' ? 1 : microBatches
    const [compute, memory] = [flops / machine.flops[dtype], bytes / machine.bandwidth]
    const sums = parts.get(part) ?? { compute: 0, memory: 0, flops: 0, bytes: 0 }
    if (compute > memory) sums.compute += times * compute
    else sums.memory += times * memory
    sums.flops += times * flops
    sums.bytes += times * bytes
    parts.set(part, sums)
  }
  const limitOf = (compute: number, memory: number) => (compute > memory ? 'compute' : 'memory')
  const all = [...parts].map(([part, { compute, memory, flops, bytes }]): TimePart => {
    return { part, seconds: compute + memory, limit: limitOf(compute, memory), flops, bytes }
  })
  const total = (of: 'compute' | 'memory') => [...parts.values()].reduce((n, sums) => n + sums[of], 0)
  const seconds = total('compute') + total('memory')
  const limit = limitOf(total('compute'), total('memory'))
  return { parts: all, seconds, limit, tokensPerSecond: tokens / seconds }
}
