import type { Command } from 'commander'
import { z } from 'zod'
import { classification } from '../distill/objectives.js'
import { LEVELS, levelSample } from '../distill/samples.js'
import { openFolder } from '../models/folder.js'
import { Tokenizer } from '../text/tokenizer.js'
import { checkSettings, defineCommand } from './command.js'
import { withDevice } from './device.js'
import { interruptible } from './interrupt.js'
import { openModel } from './models.js'
import { dtypeOf, runSettings, trainingSettings } from './settings.js'
import { exitCodeOf, runInFolder, type TrainingContext, type TrainingResult } from './training.js'

const schema = runSettings.extend({
  classifierHidden: z
    .int()
    .min(0)
    .default(0)
    .describe('hidden size of an MLP head, 0: a linear head, which transformers loads too'),
  training: trainingSettings.prefault({}),
})

/** Settings of `lantern classify-train`. */
export type ClassifyTrainSettings = z.input<typeof schema>

/** `lantern classify-train`: the classifier that rates a fit. */
export function classifyTrainCommand(program: Command): void {
  defineCommand(program, {
    name: 'classify-train',
    description: `train a classifier that rates a fit ${LEVELS.join(', ')}: a new head on the model's last token, all weights trained`,
    schema,
    configFile: true,
    examples: 'Example: lantern classify-train --model assets/student --data data --out runs/classifier --epochs 2',
    run: async (settings) => exitCodeOf(await classifyTrain(settings, { print: console.log, signal: interruptible() })),
  })
}

/**
 * Trains a classifier of fit levels from a language model, or further from a classifier.
 * @throws LanternError for settings, data or models that do not fit, and for training that diverges
 */
export async function classifyTrain(input: ClassifyTrainSettings, context: TrainingContext): Promise<TrainingResult> {
  const settings = checkSettings('classify-train', schema, input)
  const { precision, seed } = settings.training
  return withDevice(settings, context, async (device) => {
    const dtype = dtypeOf(precision, device)
    const folder = await openFolder(device, settings.model)
    folder.verify() // only the new head may be missing, and nothing else is to be filled in
    folder.close()
    const head = {
      numLabels: LEVELS.length,
      id2label: LEVELS,
      ...(settings.classifierHidden > 0 && { classifierHiddenSize: settings.classifierHidden }),
    }
    const tokenizer = await Tokenizer.fromFolder(settings.model)
    return await runInFolder(
      device,
      {
        command: 'classify-train',
        settings,
        config: { ...folder.config, ...head },
        dtype,
        encode: ({ prompt, level }) => levelSample(tokenizer, prompt, level),
        open: async () => {
          const options = { trainable: true, weights: dtype, activations: dtype, config: head, initialiseMissing: seed }
          const opened = await openModel(device, settings.model, 'classify', options)
          return { ...opened, objective: classification(opened.model) }
        },
      },
      context,
    )
  })
}
