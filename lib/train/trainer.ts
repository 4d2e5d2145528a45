import { LanternError } from '../errors.js'
import type { Device } from '../tensor/device.js'
import { Tape } from '../tensor/tape.js'
import type { Tensor } from '../tensor/tensor.js'
import { BatchPlan, microBatches, type Sample, weightOf } from './batches.js'
import type { Optimiser } from './optimiser.js'
import { type Decay, learningRate } from './schedule.js'

/** Sums over a micro-batch, by name; `loss` is among them. Divided by the number of valid labels they become means. */
export type LossParts = Record<string, number>

/** What is trained: how a micro-batch of samples becomes a loss. */
export interface Objective {
  /** Names of the parts in the order of the parts tensor. */
  readonly parts: readonly string[]
  /**
   * Enqueues forward and loss.
   * @param scale what the loss is multiplied by: 1 / valid labels of the whole optimiser step
   * @returns loss: [1], to back-propagate from; parts: float32 [parts.length], unscaled sums
   */
  loss(samples: readonly Sample[], scale: number): { loss: Tensor; parts: Tensor }
  /** The total from summed parts and the number of valid labels. */
  total(sums: LossParts, valid: number): LossParts
  /** Floating-point operations of forward and backward over a micro-batch, for the share of peak. */
  flops(samples: readonly Sample[]): number
}

/** How to train. */
export interface TrainOptions {
  seed: number
  /** Samples an optimiser step. */
  batchSize: number
  /** Tokens a micro-batch; gradients are accumulated over the micro-batches of a step. */
  microBatchTokens: number
  /** Optimiser steps in all. */
  steps: number
  learningRate: number
  warmupSteps: number
  decay: Decay
  /** Fraction of the learning rate that the schedule ends at. */
  floor?: number
  maxGradNorm: number
  /** Steps between validations; 0: only at the end. */
  evalEvery: number
  /** Stop after so many validations without improvement; 0: never. */
  patience: number
  /** Steps between checkpoints; 0: only at the end. */
  checkpointEvery: number
}

/** One optimiser step, as it is reported. */
export interface StepReport {
  step: number
  steps: number
  parts: LossParts
  gradNorm: number
  learningRate: number
  tokens: number
  seconds: number
  tokensPerSecond: number
  flopsPerSecond: number
  memory: number
}

/** One validation. */
export interface EvalReport {
  step: number
  parts: LossParts
  best: boolean
}

/** Where a run stands; saved in checkpoints. */
export interface TrainState {
  step: number
  bestLoss: number | null
  bestStep: number
  evaluationsSinceBest: number
}

/** What the trainer tells while it runs. Returned promises are awaited. */
export interface TrainListener {
  /** After every optimiser step. */
  onStep?(report: StepReport): void | Promise<void>
  /** After every validation. */
  onEval?(report: EvalReport): void | Promise<void>
  /** Save the run as it stands. `best`: the last validation was the best so far. */
  onCheckpoint?(state: TrainState, why: 'interval' | 'best' | 'end' | 'interrupted'): void | Promise<void>
}

/** Training met NaN or infinity and stopped before it spoilt the weights. */
export class DivergedError extends LanternError {
  readonly step: number
  constructor(step: number, what: string) {
    super(
      'ERR_DIVERGED',
      `step ${step}: ${what}; the weights are as before the step. Lower the learning rate or maxGradNorm, check the data of this step, and resume from the last checkpoint`,
    )
    this.step = step
  }
}

/** How a run ended. */
export type TrainEnd = 'finished' | 'early-stop' | 'interrupted'

/**
 * The training loop: packed micro-batches, accumulated gradients, clipping, AdamW, schedule, validation, early stop.
 * Everything that decides a step is a function of the seed and the step number, so a run that is resumed from a checkpoint is bit-equal
 * to one that was never interrupted.
 */
export class Trainer {
  state: TrainState = { step: 0, bestLoss: null, bestStep: 0, evaluationsSinceBest: 0 }
  readonly #plan: BatchPlan

  constructor(
    readonly device: Device,
    readonly objective: Objective,
    readonly optimiser: Optimiser,
    readonly train: readonly Sample[],
    readonly validation: readonly Sample[],
    readonly options: TrainOptions,
  ) {
    this.#plan = new BatchPlan(train.length, options.batchSize, options.seed)
  }

  /** Runs from the present state to the end, or until `signal` aborts (between two steps). */
  async run(listener: TrainListener = {}, signal?: AbortSignal): Promise<TrainEnd> {
    const { steps, evalEvery, checkpointEvery, patience } = this.options
    while (this.state.step < steps) {
      if (signal?.aborted) {
        await listener.onCheckpoint?.(this.state, 'interrupted')
        return 'interrupted'
      }
      await listener.onStep?.(await this.step())
      const { step } = this.state
      const last = step === steps
      if (this.validation.length > 0 && (last || (evalEvery > 0 && step % evalEvery === 0))) {
        await this.#validate(listener)
        if (patience > 0 && this.state.evaluationsSinceBest >= patience) {
          await listener.onCheckpoint?.(this.state, 'end')
          return 'early-stop'
        }
      }
      if (!last && checkpointEvery > 0 && step % checkpointEvery === 0)
        await listener.onCheckpoint?.(this.state, 'interval')
    }
    await listener.onCheckpoint?.(this.state, 'end')
    return 'finished'
  }

  /**
   * One optimiser step. One whose work fails, as for a bad id or want of device memory, changes nothing: parameters, moments and counts are
   * what they were, gradients are zero, and it can be tried again.
   */
  async step(): Promise<StepReport> {
    const { count } = this.optimiser
    try {
      return await this.#step()
    } catch (error) {
      await this.optimiser.takeBack(count)
      throw error
    }
  }

  async #step(): Promise<StepReport> {
    const { options, device } = this
    const started = performance.now()
    const samples = this.#plan.at(this.state.step).map((i) => this.train[i]!)
    const valid = samples.reduce((n, s) => n + weightOf(s), 0)
    const rate = learningRate(this.state.step, { ...options, totalSteps: options.steps })
    const reads: Promise<Float32Array>[] = []
    let flops = 0
    for (const micro of microBatches(samples, options.microBatchTokens)) {
      using _scope = device.scope()
      using tape = new Tape(device)
      const { loss, parts } = this.objective.loss(micro, 1 / valid)
      tape.backward(loss)
      reads.push(awaitedLater(parts.floats()))
      flops += this.objective.flops(micro)
    }
    using norm = this.optimiser.step(rate, options.maxGradNorm)
    const [gradNorm, ...sums] = await Promise.all([norm.item(), ...reads])
    const parts = this.#mean(sums, valid)
    const step = this.state.step + 1
    const lost = Object.entries(parts).find(([, value]) => !Number.isFinite(value))
    if (lost || !Number.isFinite(gradNorm)) {
      const loss = lost ? `the loss part '${lost[0]}' is ${lost[1]}` : 'the gradient norm is not finite'
      const tensor = await this.optimiser.firstNonFinite()
      throw new DivergedError(step, tensor ? `${loss}; the first tensor that is not finite is ${tensor}` : loss)
    }
    this.state.step = step
    const tokens = samples.reduce((n, s) => n + s.ids.length, 0)
    const seconds = (performance.now() - started) / 1000
    return {
      step,
      steps: options.steps,
      parts,
      gradNorm,
      learningRate: rate,
      tokens,
      seconds,
      tokensPerSecond: tokens / seconds,
      flopsPerSecond: flops / seconds,
      memory: device.memory().peak,
    }
  }

  /** Mean loss parts over a set, no gradients. */
  async evaluate(samples: readonly Sample[]): Promise<LossParts> {
    const reads: Promise<Float32Array>[] = []
    let valid = 0
    for (const micro of microBatches(samples, this.options.microBatchTokens)) {
      using _scope = this.device.scope()
      valid += micro.reduce((n, s) => n + weightOf(s), 0)
      reads.push(awaitedLater(this.objective.loss(micro, 1).parts.floats()))
    }
    return this.#mean(await Promise.all(reads), valid)
  }

  async #validate(listener: TrainListener): Promise<void> {
    const parts = await this.evaluate(this.validation)
    const loss = parts.loss!
    const best = this.state.bestLoss === null || loss < this.state.bestLoss
    if (best) Object.assign(this.state, { bestLoss: loss, bestStep: this.state.step, evaluationsSinceBest: 0 })
    else this.state.evaluationsSinceBest++
    await listener.onEval?.({ step: this.state.step, parts, best })
    if (best) await listener.onCheckpoint?.(this.state, 'best')
  }

  #mean(micro: readonly Float32Array[], valid: number): LossParts {
    const sums: LossParts = {}
    this.objective.parts.forEach((name, k) => {
      sums[name] = micro.reduce((n, part) => n + part[k]!, 0)
    })
    return this.objective.total(sums, valid)
  }
}

/** A promise whose failure is nobody's before it is awaited: the work that comes first may fail as well, and then it never is. */
function awaitedLater<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => undefined)
  return promise
}
