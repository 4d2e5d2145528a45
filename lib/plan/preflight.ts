import { MemoryError } from '../errors.js'
import { microBatches, type Sample } from '../train/batches.js'
import { bytesText } from './bytesText.js'
import { changesOf, fitsIn, type Place, type PlanRequest, stepOf } from './changes.js'
import type { Shape } from './forward.js'

/** The sequences of the largest micro-batch that a run can come to, as a request has them. */
export interface Batches {
  /** Tokens of every sample. */
  lengths: readonly number[]
  /** Samples of an optimiser step. */
  batchSize: number
  /** Tokens of a micro-batch; a longer sample is one of its own. */
  microBatchTokens: number
}

/** The largest micro-batch of any order of the samples: the longest ones of a step, as far as they fit. */
export function largestMicroBatch({ lengths, batchSize, microBatchTokens }: Batches): {
  microBatch: number
  length: number
} {
  const longestFirst = [...lengths].sort((a, b) => b - a)
  const longest = longestFirst[0] ?? 1
  const step = longestFirst.slice(0, batchSize).reduce((n, tokens) => n + tokens, 0)
  const tokens = Math.min(step, Math.max(microBatchTokens, longest))
  const microBatch = Math.ceil(tokens / longest)
  return { microBatch, length: Math.ceil(tokens / microBatch) }
}

/** The largest micro-batch of validation, whose order is that of the samples; null without samples. */
export function validationMicroBatch(samples: readonly Sample[], microBatchTokens: number): Shape | null {
  const shapes = microBatches(samples, microBatchTokens).map((micro) => {
    const tokens = micro.reduce((n, s) => n + s.ids.length, 0)
    return { sequences: micro.length, length: Math.ceil(tokens / micro.length) }
  })
  const tokens = ({ sequences, length }: Shape) => sequences * length
  return shapes.reduce<Shape | null>((a, b) => (a && tokens(a) >= tokens(b) ? a : b), null)
}

/**
 * Whether a training's memory is there, before any of it is allocated.
 * @param anyway go on, whatever the plan says
 * @returns a line that tells what it needs
 * @throws MemoryError naming the parts, the device's memory and the least costly change that would make it fit
 */
export async function preflight(request: PlanRequest, place: Place, anyway = false): Promise<string> {
  const { memory } = stepOf(request, place)
  const parts = memory.parts.filter((p) => !p.mapped).sort((a, b) => b.bytes - a.bytes)
  const listed = (of: typeof parts) => of.map(({ name, bytes }) => `${name} ${bytesText(bytes)}`).join(', ')
  const when = memory.peak === 'validation' ? ' while it validates' : ''
  const needs = `needs ${bytesText(memory.needed)} of the ${bytesText(place.memory)} of ${place.name}${when}`
  if (memory.needed <= place.memory) return `${needs}: ${listed(parts.slice(0, 3))}, ...`
  const all = `${needs}: ${listed(parts)}`
  if (anyway) return `${all}; it does not fit, and goes on as it was told to`
  const change = (await changesOf(request, place)).find((c) => fitsIn(c.request, place))
  const what = change
    ? `${settingsOf(request, change.request) || change.words} would make it ${bytesText(stepOf(change.request, place).memory.needed)}`
    : 'no change of the batch does; take smaller models, or a device with more memory'
  throw new MemoryError(`the training ${all}. It does not fit: ${what}; --anyway goes on nevertheless`, {
    needed: memory.needed,
    available: place.memory,
  })
}

/** A change of batch or recomputation in the words of the training commands; empty for a change of models. */
function settingsOf(before: PlanRequest, after: PlanRequest): string {
  if (after.student !== before.student || after.teacher !== before.teacher) return ''
  const flags = []
  if (after.recompute && !before.recompute) flags.push('--recompute')
  if (after.length !== before.length) flags.push(`--max-length ${after.length}`)
  const resized = after.microBatch !== before.microBatch || after.length !== before.length
  if (resized || after.validation !== before.validation)
    flags.push(`--micro-batch-tokens ${after.microBatch * after.length}`)
  return flags.join(' ')
}
