import { LanternError } from '../errors.js'

/** How the learning rate falls after the warm-up. */
export type Decay = 'linear' | 'cosine' | 'constant'

/** A learning-rate schedule. */
export interface ScheduleOptions {
  /** The highest rate, reached at the end of the warm-up. */
  learningRate: number
  /** Optimiser steps of linear warm-up from 0. */
  warmupSteps: number
  /** Optimiser steps in all. */
  totalSteps: number
  decay: Decay
  /** Fraction of `learningRate` that linear and cosine end at; default 0. */
  floor?: number
}

/**
 * Learning rate of optimiser step `step` (the first is 0): warm-up (step + 1) / warmupSteps, then from 1 to `floor` along a line or half a
 * cosine, as in transformers' get_linear_schedule_with_warmup and get_cosine_schedule_with_warmup.
 */
export function learningRate(step: number, o: ScheduleOptions): number {
  if (!(o.learningRate > 0) || o.warmupSteps < 0 || o.totalSteps < 1)
    throw new LanternError(
      'ERR_SCHEDULE',
      'learningRate must be above 0, warmupSteps 0 or more, totalSteps 1 or more; change the schedule',
    )
  if (step < o.warmupSteps) return (o.learningRate * (step + 1)) / o.warmupSteps
  if (o.decay === 'constant') return o.learningRate
  const floor = o.floor ?? 0
  const t = Math.min(1, (step - o.warmupSteps) / Math.max(1, o.totalSteps - o.warmupSteps))
  const left = o.decay === 'linear' ? 1 - t : (1 + Math.cos(Math.PI * t)) / 2
  return o.learningRate * (floor + (1 - floor) * left)
}
