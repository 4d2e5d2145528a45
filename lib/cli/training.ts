import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { z } from 'zod'
import { writeFileAtomic } from '../files.js'
import { type PairSample, readDataset } from '../fit/dataset.js'
import type { ModelConfig } from '../models/config.js'
import type { Model } from '../models/model.js'
import type { PlanRequest } from '../plan/changes.js'
import { largestMicroBatch, preflight, validationMicroBatch } from '../plan/preflight.js'
import type { Device } from '../tensor/device.js'
import type { FloatDType } from '../tensor/tensor.js'
import { fitSamples, type Sample } from '../train/batches.js'
import { Optimiser } from '../train/optimiser.js'
import { runTraining } from '../train/run.js'
import { type Objective, type TrainEnd, Trainer, type TrainListener, type TrainOptions } from '../train/trainer.js'
import type { Print } from './command.js'
import type { CommandContext } from './device.js'
import { machineHere } from './machine.js'
import { measurePeak } from './peak.js'
import { printer } from './progress.js'
import type { runSettings, TrainingSettings } from './settings.js'
import { version } from './version.js'

/** The context of a training command. */
export interface TrainingContext extends CommandContext {
  /** Hears of every step and validation, besides the printed lines. */
  listener?: TrainListener
  /** How to go on after an interruption, for the message; default: with --resume. */
  goOn?: string
}

/** How a training command ended. */
export interface TrainingResult {
  end: TrainEnd
  /** Folder of the resulting model: the best by validation, else the last. It may not exist yet when `end` is `interrupted`. */
  model: string
  steps: number
  /** Lowest validation loss and its step; null without validation. */
  best: { loss: number; step: number } | null
  samples: number
  truncated: number
  skipped: number
  seconds: number
}

type RunSettings = z.output<typeof runSettings> & { training: TrainingSettings }

/** A model in memory, and what it is trained to. */
export interface Learner extends Disposable {
  model: Model
  objective: Objective
}

interface Run {
  /** Name of the command, for made-with.json. */
  command: string
  settings: RunSettings
  /** Of the model that is trained. */
  config: ModelConfig
  /** Of the one that it learns from, if there is one. */
  teacher?: ModelConfig
  /** Storage of weights and activations. */
  dtype: FloatDType
  /** Whether only a classifier's head is trained; default false. */
  frozen?: boolean
  /** What a resumed run must share besides data and training settings. */
  identity?: unknown
  encode(sample: PairSample): Sample
  /** Loads what is large, when it is known to fit; gets all samples, those of training first. */
  open(samples: readonly Sample[]): Promise<Learner>
}

/** Data in, trained model out: what train, distill and classify-train have in common. */
export async function runInFolder(device: Device, run: Run, context: TrainingContext): Promise<TrainingResult> {
  const { settings } = run
  const { training } = settings
  const { print, signal, listener, goOn = 'go on with --resume' } = context
  const started = Date.now()
  const data = await readSamples(run, print)
  print(await preflight(requestOf({ ...training, ...run }, data), machineHere(device), settings.anyway))
  using learner = await run.open([...data.train, ...data.validation])
  const { model, objective } = learner
  model.recompute = training.recompute
  const optimiser = new Optimiser(model.parameters, { betas: training.betas, weightDecay: training.weightDecay })
  try {
    const options = trainOptions(training, data.train.length)
    const trainer = new Trainer(device, objective, optimiser, data.train, data.validation, options)
    const lines = printer(await measurePeak(device, model.dtype), settings.printEvery, print)
    const end = await runTraining(trainer, model, {
      out: settings.out,
      tokenizerFrom: settings.model,
      keep: training.keep,
      resume: settings.resume,
      identity: [run.command, model.dtype, training.betas, training.weightDecay, run.identity],
      signal,
      listener: both(lines, listener),
    })
    const { step, bestLoss, bestStep } = trainer.state
    const result: TrainingResult = {
      end,
      model: join(settings.out, 'model'),
      steps: step,
      best: bestLoss === null ? null : { loss: bestLoss, step: bestStep },
      samples: data.train.length,
      truncated: data.truncated,
      skipped: data.skipped,
      seconds: (Date.now() - started) / 1000,
    }
    if (end === 'interrupted')
      print(`interrupted after step ${step}: saved in ${join(settings.out, 'checkpoints')}; ${goOn}`)
    else await finish(run, device, result, print)
    return result
  } finally {
    optimiser.dispose()
  }
}

/** What of a run decides its memory. */
type Planned = Pick<Run, 'config' | 'teacher' | 'dtype' | 'frozen'> &
  Pick<TrainingSettings, 'batchSize' | 'microBatchTokens' | 'recompute'>

/** A training as a plan has it. */
export function requestOf(planned: Planned, { train, validation }: Pick<Data, 'train' | 'validation'>): PlanRequest {
  const { config, teacher, dtype, frozen, batchSize, microBatchTokens, recompute } = planned
  const lengths = train.map((s) => s.ids.length)
  const largest = largestMicroBatch({ lengths, batchSize, microBatchTokens })
  return {
    student: config,
    teacher: teacher ?? null,
    precision: dtype,
    recompute,
    frozen: frozen ?? false,
    batch: Math.max(largest.microBatch, Math.min(batchSize, lengths.length)),
    ...largest,
    validation: validationMicroBatch(validation, microBatchTokens),
  }
}

async function finish(run: Run, device: Device, result: TrainingResult, print: Print): Promise<void> {
  const { end, steps, best, seconds } = result
  const provenance = {
    command: `lantern ${run.command}`,
    version,
    settings: run.settings,
    ...result,
    device: device.name,
  }
  await writeFileAtomic(join(result.model, 'made-with.json'), `${JSON.stringify(provenance, null, 2)}\n`)
  const how = end === 'early-stop' ? 'stopped early' : 'finished'
  const loss = best ? `, best validation loss ${best.loss.toFixed(4)} after step ${best.step}` : ''
  print(`${how} after ${steps} steps in ${Math.round(seconds)} s${loss}; model in ${result.model}`)
}

/** The samples of a folder of data. */
export interface Data {
  train: Sample[]
  validation: Sample[]
  truncated: number
  skipped: number
}

/** Where samples are read from and how. */
interface Reading extends Pick<Run, 'config' | 'encode'> {
  settings: { data: string; training: Pick<TrainingSettings, 'maxLength' | 'longSamples'> }
}

/** Tokens of the longest sample that is asked for and that the model has positions for. */
export const longestSample = (training: Pick<TrainingSettings, 'maxLength'>, config: ModelConfig): number =>
  Math.min(training.maxLength, config.maxPositionEmbeddings)

/** The samples of a folder of data, as many tokens of each as fit. */
export async function readSamples({ settings, config, encode }: Reading, print: Print): Promise<Data> {
  const { training } = settings
  const maxLength = longestSample(training, config)
  const read = async (name: string) => {
    const samples: Sample[] = []
    for await (const sample of readDataset(join(settings.data, name))) samples.push(encode(sample))
    const fitted = fitSamples(samples, maxLength, training.longSamples)
    const tokens = fitted.samples.reduce((n, s) => n + s.ids.length, 0)
    print(
      `${name}: ${fitted.samples.length} samples, ${tokens} tokens; ${fitted.truncated} cut to ${maxLength} tokens, ${fitted.skipped} left out`,
    )
    return fitted
  }
  const train = await read('train.jsonl')
  const held = existsSync(join(settings.data, 'validation.jsonl')) ? await read('validation.jsonl') : null
  if (!held) print('validation.jsonl: none, so the last model is kept and there is no early stop')
  return {
    train: train.samples,
    validation: held?.samples ?? [],
    truncated: train.truncated + (held?.truncated ?? 0),
    skipped: train.skipped + (held?.skipped ?? 0),
  }
}

function trainOptions(t: TrainingSettings, samples: number): TrainOptions {
  const stepsPerEpoch = Math.ceil(samples / t.batchSize)
  const steps = t.steps ?? Math.ceil(stepsPerEpoch * t.epochs)
  const { seed, batchSize, microBatchTokens, learningRate, decay, floor, maxGradNorm, patience, checkpointEvery } = t
  return {
    seed,
    batchSize,
    microBatchTokens,
    steps,
    learningRate,
    warmupSteps: t.warmupSteps ?? Math.round(steps * t.warmupRatio),
    decay,
    floor,
    maxGradNorm,
    evalEvery: t.evalEvery ?? stepsPerEpoch,
    patience,
    checkpointEvery,
  }
}

/** Tells both, one after the other. */
export function both(a: TrainListener, b: TrainListener = {}): TrainListener {
  return {
    onStep: async (report) => {
      await a.onStep?.(report)
      await b.onStep?.(report)
    },
    onEval: async (report) => {
      await a.onEval?.(report)
      await b.onEval?.(report)
    },
    onCheckpoint: b.onCheckpoint?.bind(b),
  }
}

/** The exit code of a training command. */
export const exitCodeOf = ({ end }: Pick<TrainingResult, 'end'>): number => (end === 'interrupted' ? 130 : 0)
