import type { Command } from 'commander'
import type { z } from 'zod'
import { distillation } from '../distill/objectives.js'
import { explanationSample } from '../distill/samples.js'
import { TokenizerError } from '../errors.js'
import { loadModel } from '../models/registry.js'
import { Tokenizer } from '../text/tokenizer.js'
import { checkSettings, defineCommand } from './command.js'
import { interruptible } from './interrupt.js'
import { distillSettings, folder, runSettings, trainingSettings } from './settings.js'
import { exitCodeOf, runInFolder, type TrainingContext, type TrainingResult, withDevice } from './training.js'

const schema = runSettings.extend({
  teacher: folder('model to learn from: frozen, with the same tokenizer'),
  distill: distillSettings.prefault({}),
  training: trainingSettings.prefault({}),
})

/** Settings of `lantern distill`. */
export type DistillSettings = z.input<typeof schema>

/** `lantern distill`: a student learns explanations from a teacher's distributions. */
export function distillCommand(program: Command): void {
  defineCommand(program, {
    name: 'distill',
    description: 'distil a student from a teacher: lambdaSft * cross entropy + lambdaKd * divergence, per token',
    schema,
    configFile: true,
    examples:
      'Example: lantern distill --model assets/student --teacher runs/teacher/model --data data --out runs/js --divergence jensenShannon',
    run: async (settings) => exitCodeOf(await distill(settings, { print: console.log, signal: interruptible() })),
  })
}

/**
 * Distils a student from a teacher.
 * @throws LanternError for settings, data or models that do not fit, and for training that diverges
 */
export async function distill(input: DistillSettings, context: TrainingContext): Promise<TrainingResult> {
  const settings = checkSettings('distill', schema, input)
  const { precision } = settings.training
  return withDevice(context, async (device) => {
    const tokenizer = await Tokenizer.fromFolder(settings.model)
    await requireSameTokens(tokenizer, settings.model, settings.teacher)
    using teacher = await loadModel(device, settings.teacher, { activations: precision })
    tokenizer.checkMatches(teacher.config.vocabSize)
    using student = await loadModel(device, settings.model, {
      trainable: true,
      weights: precision,
      activations: precision,
    })
    return await runInFolder(
      device,
      {
        command: 'distill',
        settings,
        tokenizer,
        model: student,
        objective: distillation(student, teacher, settings.distill),
        encode: ({ prompt, explanation }) => explanationSample(tokenizer, prompt, explanation),
      },
      context,
    )
  })
}

/** A divergence compares probabilities id by id: an id must mean the same token on both sides. */
async function requireSameTokens(tokenizer: Tokenizer, student: string, teacher: string): Promise<void> {
  const other = await Tokenizer.fromFolder(teacher)
  const advice =
    'distil between models that share a tokenizer, or train the student on the labels alone with lantern train'
  if (other.vocabSize !== tokenizer.vocabSize)
    throw new TokenizerError(
      'TOKENIZER_MISMATCH',
      `${student} has a tokenizer of ${tokenizer.vocabSize} tokens and the teacher ${teacher} one of ${other.vocabSize}; ${advice}`,
    )
  const vocabulary = tokenizer.vocabulary()
  for (const [token, id] of other.vocabulary())
    if (vocabulary.get(token) !== id)
      throw new TokenizerError(
        'TOKENIZER_MISMATCH',
        `${JSON.stringify(token)} is token ${id} of the teacher ${teacher} but ${vocabulary.get(token) ?? 'none'} of ${student}; ${advice}`,
      )
}
