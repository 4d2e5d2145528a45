import { join } from 'node:path'
import type { Command } from 'commander'
import { z } from 'zod'
import { classification } from '../distill/objectives.js'
import { LEVELS, levelSample } from '../distill/samples.js'
import { DatasetError } from '../errors.js'
import { readDataset } from '../fit/dataset.js'
import type { ModelConfig } from '../models/config.js'
import { openFolder } from '../models/folder.js'
import { Tokenizer } from '../text/tokenizer.js'
import { type Calibration, calibrate } from './calibrate.js'
import { headConfig, headLines, headSettings } from './classifierHead.js'
import { checkSettings, defineCommand } from './command.js'
import { withDevice } from './device.js'
import { interruptible } from './interrupt.js'
import { openModel } from './models.js'
import { dtypeOf, runSettings, trainingSettings } from './settings.js'
import { exitCodeOf, runInFolder, type TrainingContext, type TrainingResult } from './training.js'

const weight = z.number().min(0).max(1e6)

/** What a classifier is and learns. */
export const classifierSettings = z.object({
  ...headSettings.shape,
  frozen: z.boolean().default(false).describe('train the head alone, over an encoder that stays as it is'),
  classWeights: z
    .union([z.literal('balanced'), z.tuple([weight, weight, weight])])
    .optional()
    .meta({
      description: `what errors on ${LEVELS.join(', ')} count: three numbers, or balanced: inversely to how often each occurs (default: alike)`,
      argument: 'x,x,x|balanced',
    }),
  softLabels: z
    .boolean()
    .default(false)
    .describe('learn the probabilities that lantern soft-labels wrote into the data, in place of the levels'),
})

const schema = runSettings.extend({ ...classifierSettings.shape, training: trainingSettings.prefault({}) })

/** Settings of `lantern classify-train`. */
export type ClassifyTrainSettings = z.input<typeof schema>

/** How the training of a classifier ended. */
export interface ClassifyTrainingResult extends TrainingResult {
  /** Null when it was interrupted, or there is nothing to calibrate on. */
  calibration: Calibration | null
}

/** `lantern classify-train`: the classifier that rates a fit. */
export function classifyTrainCommand(program: Command): void {
  defineCommand(program, {
    name: 'classify-train',
    description: `train a classifier that rates a fit ${LEVELS.join(', ')}: a new head on a model of any family`,
    schema,
    configFile: true,
    examples: 'Example: lantern classify-train --model assets/student --data data --out runs/classifier --epochs 2',
    run: async (settings) => exitCodeOf(await classifyTrain(settings, { print: console.log, signal: interruptible() })),
  })
}

/**
 * Trains a classifier of fit levels from a model of any family, or further from a classifier, and calibrates it on validation.jsonl.
 * @throws LanternError for settings, data or models that do not fit, and for training that diverges
 */
export async function classifyTrain(
  input: ClassifyTrainSettings,
  context: TrainingContext,
): Promise<ClassifyTrainingResult> {
  const settings = checkSettings('classify-train', schema, input)
  const { frozen, softLabels } = settings
  const { precision, seed } = settings.training
  return withDevice(settings, context, async (device) => {
    const dtype = dtypeOf(precision, device)
    const folder = await openFolder(device, settings.model)
    folder.verify() // only the new head may be missing, and nothing else is to be filled in
    folder.close()
    const head = headConfig(settings, folder.config)
    const config = { ...folder.config, ...head } as ModelConfig
    const classWeights = await weightsOf(settings)
    const tokenizer = await Tokenizer.fromFolder(settings.model)
    for (const line of headLines(config, settings)) context.print(line)
    const result = await runInFolder(
      device,
      {
        command: 'classify-train',
        settings,
        config,
        dtype,
        frozen,
        identity: [config.twoTower, config.pooling, config.causal, frozen, classWeights],
        encode: (pair) => levelSample(tokenizer, config, pair, { softLabels }),
        open: async () => {
          const opened = await openModel(device, settings.model, 'classify', {
            trainable: frozen ? 'head' : true,
            ...(!frozen && { weights: dtype }),
            activations: dtype,
            config: head,
            initialiseMissing: seed,
          })
          return { ...opened, objective: classification(opened.model, { classWeights }) }
        },
      },
      context,
    )
    const done = result.end !== 'interrupted'
    return { ...result, calibration: done ? await calibrate(device, result.model, settings, context) : null }
  })
}

/**
 * Weights of the classes; balanced ones are samples / (classes * samples of the class).
 * @throws DatasetError when one of the classes to balance does not occur
 */
async function weightsOf({ classWeights, data }: z.output<typeof schema>): Promise<readonly number[] | undefined> {
  if (classWeights !== 'balanced') return classWeights
  const file = join(data, 'train.jsonl')
  const counts = LEVELS.map(() => 0)
  for await (const { level } of readDataset(file)) counts[LEVELS.indexOf(level)]!++
  const total = counts.reduce((a, b) => a + b, 0)
  const absent = LEVELS.filter((_, i) => counts[i] === 0)
  if (absent.length > 0)
    throw new DatasetError(
      file,
      0,
      `no pair is ${absent.join(' or ')}, so classWeights cannot be balanced; give three numbers`,
    )
  return counts.map((n) => total / (LEVELS.length * n))
}
