import { z } from 'zod'
import { DIVERGENCES } from '../ops/divergence.js'
import type { Device } from '../tensor/device.js'
import type { FloatDType } from '../tensor/tensor.js'
import { deviceSetting } from './device.js'

/** A setting that names a folder; where a model is read, the name of a pulled one will do. */
export const folder = (help: string) => z.string().min(1).meta({ description: help, argument: 'folder' })

/** A setting that names a file. */
export const file = (help: string) => z.string().min(1).meta({ description: help, argument: 'file' })

/** From which confidence on a level is given. */
export const abstainSetting = z
  .number()
  .min(0)
  .max(1)
  .default(0)
  .meta({ description: 'rate a fit "abstain" where the largest probability is below', argument: 'p' })

/** How long, how fast and how to train: the `training` section of all three training commands. */
export const trainingSettings = z.object({
  epochs: z.number().positive().default(3).describe('passes over the data'),
  steps: z.int().min(1).optional().describe('optimiser steps in all, in place of epochs'),
  batchSize: z.int().min(1).default(16).describe('samples an optimiser step'),
  microBatchTokens: z
    .int()
    .min(1)
    .default(8192)
    .describe('tokens computed at once; gradients are accumulated over a step'),
  learningRate: z.number().positive().max(1).default(3e-4).describe('highest learning rate'),
  warmupSteps: z.int().min(0).optional().describe('steps of linear warm-up, in place of warmupRatio'),
  warmupRatio: z.number().min(0).max(1).default(0.05).describe('share of all steps that warms up'),
  decay: z
    .enum(['linear', 'cosine', 'constant'])
    .default('cosine')
    .describe('how the learning rate falls after the warm-up'),
  floor: z.number().min(0).max(1).default(0).describe('share of the learning rate that linear and cosine end at'),
  maxGradNorm: z.number().positive().default(1).describe('global gradient norm to clip to'),
  weightDecay: z.number().min(0).default(0.01).describe('decoupled weight decay of matrices'),
  betas: z
    .tuple([z.number().min(0).lt(1), z.number().min(0).lt(1)])
    .default([0.9, 0.999])
    .describe("AdamW's two decay rates"),
  evalEvery: z
    .int()
    .min(0)
    .optional()
    .describe('steps between validations, 0: only at the end (default: once an epoch)'),
  patience: z.int().min(0).default(0).describe('stop after so many validations without improvement, 0: never'),
  checkpointEvery: z.int().min(0).default(100).describe('steps between checkpoints, 0: only at the end'),
  keep: z.int().min(1).default(2).describe('checkpoints that are kept'),
  seed: z.int().default(1).describe('seed of the order of samples and of new weights'),
  maxLength: z.int().min(2).default(1024).describe('tokens of the longest sample'),
  longSamples: z.enum(['truncate', 'skip']).default('truncate').describe('what to do with longer ones'),
  precision: z
    .enum(['auto', 'float32', 'bfloat16'])
    .default('auto')
    .describe('storage of weights and activations while training; auto: what the device multiplies fastest'),
  recompute: z
    .boolean()
    .default(false)
    .describe('compute each layer again in the backward pass: a third more work, far less memory'),
})

/** Checked settings of the `training` section. */
export type TrainingSettings = z.output<typeof trainingSettings>

/** The dtype that a `precision` stands for on a device. */
export const dtypeOf = (precision: TrainingSettings['precision'], device: Device): FloatDType =>
  precision === 'auto' ? device.fastestDtype : precision

/** What a student learns from its teacher: the `distill` section. */
export const distillSettings = z.object({
  divergence: z.enum(DIVERGENCES).default('jensenShannon').describe('divergence from the teacher'),
  lambdaSft: z.number().min(0).default(0.1).describe('weight of the cross entropy with the labels'),
  lambdaKd: z.number().min(0).default(0.9).describe('weight of the divergence'),
  temperature: z.number().positive().default(1).describe('softmax temperature of the divergence'),
  beta: z.number().gt(0).lt(1).default(0.5).describe("the teacher's share in the mixture of generalizedJS"),
  vocabularyPolicy: z
    .enum(['error', 'truncate', 'mask'])
    .default('error')
    .describe('vocabularies that are padded to different sizes'),
})

/** What every training command is told. */
export const runSettings = z.object({
  model: folder('model to start from'),
  data: folder('data, as lantern data writes it: train.jsonl and, if there is one, validation.jsonl'),
  out: folder('run folder: gets model/, checkpoints/ and metrics.jsonl'),
  resume: z.boolean().default(false).describe('go on from the newest checkpoint in the run folder'),
  anyway: z.boolean().default(false).describe('start even if the memory that is planned for is not there'),
  printEvery: z.int().min(1).default(1).describe('steps between two lines of progress'),
  device: deviceSetting,
})
