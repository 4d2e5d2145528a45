import type { Command } from 'commander'
import type { z } from 'zod'
import { languageModelling } from '../distill/objectives.js'
import { explanationSample } from '../distill/samples.js'
import { readFolderConfig } from '../models/folder.js'
import { Tokenizer } from '../text/tokenizer.js'
import { checkSettings, defineCommand } from './command.js'
import { withDevice } from './device.js'
import { interruptible } from './interrupt.js'
import { openModel } from './models.js'
import { dtypeOf, runSettings, trainingSettings } from './settings.js'
import { exitCodeOf, runInFolder, type TrainingContext, type TrainingResult } from './training.js'

const schema = runSettings.extend({ training: trainingSettings.prefault({}) })

/** Settings of `lantern train`. */
export type TrainSettings = z.input<typeof schema>

/** `lantern train`: supervised fine-tuning of a decoder on explanations. */
export function trainCommand(program: Command): void {
  defineCommand(program, {
    name: 'train',
    description: 'fine-tune a decoder on explanations, cross entropy alone: a teacher, or a student without one',
    schema,
    configFile: true,
    examples: 'Example: lantern train --model assets/teacher --data data --out runs/teacher --epochs 2',
    run: async (settings) => exitCodeOf(await train(settings, { print: console.log, signal: interruptible() })),
  })
}

/**
 * Fine-tunes a decoder on explanations.
 * @throws LanternError for settings, data or models that do not fit, and for training that diverges
 */
export async function train(input: TrainSettings, context: TrainingContext): Promise<TrainingResult> {
  const settings = checkSettings('train', schema, input)
  return withDevice(settings, context, async (device) => {
    const dtype = dtypeOf(settings.training.precision, device)
    const tokenizer = await Tokenizer.fromFolder(settings.model)
    return await runInFolder(
      device,
      {
        command: 'train',
        settings,
        config: await readFolderConfig(settings.model),
        dtype,
        encode: ({ prompt, explanation }) => explanationSample(tokenizer, prompt, explanation),
        open: async () => {
          const dtypes = { weights: dtype, activations: dtype }
          const opened = await openModel(device, settings.model, 'decode', { trainable: true, ...dtypes })
          return { ...opened, objective: languageModelling(opened.model) }
        },
      },
      context,
    )
  })
}
