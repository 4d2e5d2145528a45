import { join } from 'node:path'
import type { Command } from 'commander'
import type { z } from 'zod'
import { distillation } from '../distill/objectives.js'
import { explanationSample } from '../distill/samples.js'
import { readModelConfig } from '../models/families.js'
import type { Device } from '../tensor/device.js'
import type { FloatDType } from '../tensor/tensor.js'
import { requireSameTokens } from '../text/sameTokens.js'
import { Tokenizer } from '../text/tokenizer.js'
import { checkSettings, defineCommand } from './command.js'
import { withDevice } from './device.js'
import { interruptible } from './interrupt.js'
import { openModel } from './models.js'
import { distillSettings, dtypeOf, folder, runSettings, trainingSettings } from './settings.js'
import { exitCodeOf, type Learner, runInFolder, type TrainingContext, type TrainingResult } from './training.js'

const schema = runSettings.extend({
  teacher: folder('model to learn from: frozen, with the same tokenizer'),
  distill: distillSettings.prefault({}),
  training: trainingSettings.prefault({}),
})

/** Settings of `lantern distill`. */
export type DistillSettings = z.input<typeof schema>

/** A file for `--config`, shown by `--help`. */
export const exampleConfig = `model: assets/student
teacher: runs/teacher/model
data: data
out: runs/js
distill: { divergence: jensenShannon, lambdaSft: 0.1, lambdaKd: 0.9 }
training: { epochs: 2, batchSize: 16, learningRate: 5e-4, decay: cosine, evalEvery: 50, patience: 3 }
`

/** `lantern distill`: a student learns explanations from a teacher's distributions. */
export function distillCommand(program: Command): void {
  defineCommand(program, {
    name: 'distill',
    description: 'distil a student from a teacher: lambdaSft * cross entropy + lambdaKd * divergence, per token',
    schema,
    configFile: true,
    examples: `Example: lantern distill --config js.yaml --out runs/tvd --divergence totalVariation, with js.yaml:

${exampleConfig.replace(/^/gm, '  ').trimEnd()}`,
    run: async (settings) => exitCodeOf(await distill(settings, { print: console.log, signal: interruptible() })),
  })
}

/**
 * Distils a student from a teacher.
 * @throws LanternError for settings, data or models that do not fit, and for training that diverges
 */
export async function distill(input: DistillSettings, context: TrainingContext): Promise<TrainingResult> {
  const settings = checkSettings('distill', schema, input)
  return withDevice(settings, context, async (device) => {
    const dtype = dtypeOf(settings.training.precision, device)
    const tokenizer = await Tokenizer.fromFolder(settings.model)
    requireSameTokens(
      { name: settings.model, tokenizer },
      { name: settings.teacher, tokenizer: await Tokenizer.fromFolder(settings.teacher) },
    )
    return await runInFolder(
      device,
      {
        command: 'distill',
        settings,
        config: await readModelConfig(join(settings.model, 'config.json')),
        teacher: await readModelConfig(join(settings.teacher, 'config.json')),
        dtype,
        identity: settings.distill,
        encode: ({ prompt, explanation }) => explanationSample(tokenizer, prompt, explanation),
        open: () => openBoth(device, settings, dtype),
      },
      context,
    )
  })
}

async function openBoth(
  device: Device,
  { model, teacher, distill }: z.output<typeof schema>,
  dtype: FloatDType,
): Promise<Learner> {
  const from = await openModel(device, teacher, 'decode', { activations: dtype })
  try {
    const dtypes = { weights: dtype, activations: dtype }
    const student = await openModel(device, model, 'decode', { trainable: true, ...dtypes })
    const dispose = () => {
      student[Symbol.dispose]()
      from[Symbol.dispose]()
    }
    const objective = distillation(student.model, from.model, distill)
    return { model: student.model, objective, [Symbol.dispose]: dispose }
  } catch (error) {
    from[Symbol.dispose]()
    throw error
  }
}
