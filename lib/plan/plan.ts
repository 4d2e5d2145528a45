import { changesOf, type PlanRequest, stepOf } from './changes.js'
import type { Machine } from './machine.js'
import type { MemoryPlan, PlannedStep } from './step.js'
import { type TimeBound, timeBound } from './time.js'

/** One way to make a training fit. */
export interface Remedy {
  /** What to change, in words. */
  change: string
  request: PlanRequest
  /** What it would need. */
  bytes: number
  fits: boolean
  /** The least time per token, as a multiple of the plan's. */
  slowdown: number
}

/** What a training needs. */
export interface Plan {
  request: PlanRequest
  machine: Machine
  memory: MemoryPlan
  /** The same with recomputation the other way. */
  other: MemoryPlan
  time: TimeBound
  fits: boolean
  /** Ways to make it fit, the least costly first; empty where it does. */
  remedies: readonly Remedy[]
}

const timeOf = (request: PlanRequest, machine: Machine, planned: PlannedStep): TimeBound => {
  const { batch, microBatch, length } = request
  return timeBound(planned.ledger.work, machine, batch / microBatch, batch * length)
}

/** Plans a training from the configs alone. */
export async function planTraining(request: PlanRequest, machine: Machine): Promise<Plan> {
  const planned = stepOf(request, machine)
  const { memory } = planned
  const other = stepOf({ ...request, recompute: !request.recompute }, machine).memory
  const time = timeOf(request, machine, planned)
  const fits = memory.needed <= machine.memory
  const remedies = fits ? [] : await remediesOf(request, machine, time)
  return { request, machine, memory, other, time, fits, remedies }
}

async function remediesOf(request: PlanRequest, machine: Machine, before: TimeBound): Promise<Remedy[]> {
  return (await changesOf(request, machine)).map(({ words, request: changed }) => {
    const planned = stepOf(changed, machine)
    const { tokensPerSecond } = timeOf(changed, machine, planned)
    const bytes = planned.memory.needed
    const slowdown = before.tokensPerSecond / tokensPerSecond
    return { change: words, request: changed, bytes, fits: bytes <= machine.memory, slowdown }
  })
}
