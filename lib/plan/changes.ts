import type { ModelConfig } from '../models/config.js'
import type { FloatDType } from '../tensor/tensor.js'
import type { Shape } from './forward.js'
import type { Machine } from './machine.js'
import { smallerModels } from './published.js'
import { type PlannedStep, planStep } from './step.js'

/** A training that is to be planned. */
export interface PlanRequest {
  student: ModelConfig
  /** Frozen; null: none. */
  teacher: ModelConfig | null
  /** Storage of the student's weights and of all activations. */
  precision: FloatDType
  recompute: boolean
  /** Whether a classifier trains its head alone; default false. */
  frozen?: boolean
  /** Tokens of a sequence; of two towers: of both texts of a pair. */
  length: number
  /** Sequences of an optimiser step; of two towers: pairs. */
  batch: number
  /** Sequences that are computed at once; gradients are accumulated over a step. */
  microBatch: number
  /** The largest micro-batch of validation; absent or null: none, or none that is larger. */
  validation?: Shape | null
}

/** What a plan's memory depends on of a machine. */
export type Place = Pick<Machine, 'name' | 'memory' | 'device'>

/** A change of a training. */
export interface Change {
  /** What to change, in words. */
  words: string
  request: PlanRequest
}

/** The books of a micro-batch of a training, and of its optimiser. */
export const stepOf = (request: PlanRequest, { device }: Pick<Place, 'device'>): PlannedStep =>
  planStep({ ...request, sequences: request.microBatch, device })

/** Whether a training's memory is there. */
export const fitsIn = (request: PlanRequest, place: Place): boolean =>
  stepOf(request, place).memory.needed <= place.memory

/**
 * Ways to make a training fit, the least costly first: what only takes time, then what changes what is learnt. Each of the later ones goes with as
 * much of the first as it needs. Master weights and moments stay float32 whatever happens: they are part of the contract of numbers.
 */
export async function changesOf(request: PlanRequest, place: Place): Promise<Change[]> {
  const fits = (r: PlanRequest) => fitsIn(r, place)
  const withTime = ({ words, request: changed }: Change): Change => {
    if (fits(changed)) return { words, request: changed }
    const options = onlyTime(changed, fits)
    const chosen = options.find((c) => fits(c.request)) ?? options.at(-1)
    return chosen ? { words: `${words}, ${chosen.words}`, request: chosen.request } : { words, request: changed }
  }
  const later = await differentTraining(request, (r) => fits(withTime({ words: '', request: r }).request))
  return [...onlyTime(request, fits), ...later.map(withTime)]
}

/** Changes that cost time alone: smaller micro-batches, which cost least while they fill the device; recomputation; both, where neither is enough. */
function onlyTime(request: PlanRequest, fits: (r: PlanRequest) => boolean): Change[] {
  const { microBatch: size, validation } = request
  const divisible = size > 1 || (validation?.sequences ?? 1) > 1
  const smaller = (r: PlanRequest): Change => {
    const most = validation ? size : size - 1 // validation alone may be what is too large
    const changed = resized(r, { microBatch: largest(most, (microBatch) => fits(resized(r, { microBatch }))) })
    return { words: `micro-batches of ${changed.microBatch.toLocaleString('en')}`, request: changed }
  }
  const changes: Change[] = []
  if (divisible) changes.push(smaller(request))
  if (request.recompute || request.frozen) return changes // of a frozen encoder nothing is recorded
  const recomputed = { ...request, recompute: true }
  changes.push({ words: 'recompute', request: recomputed })
  if (!divisible || changes.some((c) => fits(c.request))) return changes
  const both = smaller(recomputed)
  return [...changes, { words: `recompute, ${both.words}`, request: both.request }]
}

/** With other micro-batches. Those of validation hold no more tokens, but always one sequence. */
function resized(request: PlanRequest, change: Partial<Pick<PlanRequest, 'microBatch' | 'length'>>): PlanRequest {
  const changed = { ...request, ...change }
  const { validation: before, microBatch, length: most } = changed
  if (!before) return changed
  const length = Math.min(before.length, most)
  const sequences = Math.max(1, Math.min(before.sequences, Math.floor((microBatch * most) / length)))
  return { ...changed, validation: { sequences, length } }
}

/** The largest number from 1 to `most` that fits, else 1. */
function largest(most: number, fits: (n: number) => boolean): number {
  let [low, high] = [1, most]
  while (low < high) {
    const middle = Math.ceil((low + high) / 2)
    if (fits(middle)) low = middle
    else high = middle - 1
  }
  return low
}

/** Changes of what is learnt: shorter sequences, no teacher at hand, a smaller teacher, a smaller student. */
async function differentTraining(request: PlanRequest, fits: (r: PlanRequest) => boolean): Promise<Change[]> {
  const { student, teacher } = request
  const changes: Change[] = []
  const halved = (r: PlanRequest) => resized(r, { length: Math.ceil(r.length / 2) })
  let shorter = halved(request)
  while (shorter.length > 256 && !fits(shorter)) shorter = halved(shorter)
  const what = student.twoTower ? 'pairs' : 'sequences'
  changes.push({ words: `${what} of ${shorter.length.toLocaleString('en')} tokens`, request: shorter })
  if (teacher) {
    changes.push({ words: 'train on texts the teacher wrote, without it', request: { ...request, teacher: null } })
    const models = (await smallerModels(teacher)).map(({ name, config }) => ({
      words: `teacher ${name}`,
      request: { ...request, teacher: config },
    }))
    const fitting = models.find((c) => fits(c.request)) ?? models.at(-1)
    if (fitting) changes.push(fitting)
  }
  const { numLabels, twoTower } = student
  const head = { ...(numLabels !== undefined && { numLabels }), ...(twoTower && { twoTower }) }
  const models = (await smallerModels(student)).map(({ name, config }) => ({
    words: `student ${name}`,
    request: { ...request, student: { ...config, ...head } },
  }))
  const fitting = models.find((c) => fits(c.request)) ?? models.at(-1)
  if (fitting) changes.push(fitting)
  return changes
}
