import type { Command } from 'commander'
import { z } from 'zod'
import { distillation, offlineDistillation } from '../distill/objectives.js'
import { explanationSample } from '../distill/samples.js'
import { TeacherSignal } from '../distill/teacherSignal.js'
import { ConfigError } from '../errors.js'
import type { PairSample } from '../fit/dataset.js'
import type { ModelConfig } from '../models/config.js'
import type { Decoder } from '../models/decoder.js'
import { modelDigest } from '../models/digest.js'
import { readFolderConfig } from '../models/folder.js'
import { requireSameTokens } from '../text/sameTokens.js'
import { Tokenizer } from '../text/tokenizer.js'
import type { Sample } from '../train/batches.js'
import type { Objective } from '../train/trainer.js'
import { checkSettings, defineCommand } from './command.js'
import { withDevice } from './device.js'
import { interruptible } from './interrupt.js'
import { type Opened, openModel } from './models.js'
import { distillSettings, dtypeOf, file, folder, runSettings, trainingSettings } from './settings.js'
import { measuredText, signalErrorText } from './signalReport.js'
import {
  exitCodeOf,
  type Learner,
  longestSample,
  runInFolder,
  type TrainingContext,
  type TrainingResult,
} from './training.js'

const schema = runSettings.extend({
  teacher: folder('model to learn from: frozen, with the same tokenizer').optional(),
  teacherSignal: file(
    'what lantern teacher-signal wrote of it, in place of the model; with --teacher it is checked to be of that',
  ).optional(),
  topK: z
    .int()
    .min(1)
    .optional()
    .describe('probabilities a token that the teacher signal must have; default: those it has'),
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
  if (settings.teacher === undefined && settings.teacherSignal === undefined) throw noTeacher()
  return withDevice(settings, context, async (device) => {
    const dtype = dtypeOf(settings.training.precision, device)
    const tokenizer = await Tokenizer.fromFolder(settings.model)
    const config = await readFolderConfig(settings.model)
    const openStudent = () =>
      openModel(device, settings.model, 'decode', { trainable: true, weights: dtype, activations: dtype })
    const run = {
      command: 'distill',
      settings,
      config,
      dtype,
      encode: ({ prompt, explanation }: PairSample) => explanationSample(tokenizer, prompt, explanation),
    }
    if (settings.teacherSignal !== undefined) {
      using signal = new TeacherSignal(settings.teacherSignal)
      await requireSignal(signal, settings, config, tokenizer)
      const { error, ...identity } = signal.header
      context.print(`${signal.path}: ${error ? signalErrorText(identity, error) : 'not complete'}`)
      const cost = await measuredText(signal, settings.model, settings.distill.divergence)
      if (cost) context.print(cost)
      const open = async (samples: readonly Sample[]) =>
        learner(await openStudent(), (model) => offlineDistillation(model, signal, samples, settings.distill))
      return await runInFolder(device, { ...run, open, identity: [settings.distill, identity] }, context)
    }
    const name = settings.teacher!
    requireSameTokens({ name: settings.model, tokenizer }, { name, tokenizer: await Tokenizer.fromFolder(name) })
    const teacher = await readFolderConfig(name)
    const open = async () => {
      const from = await openModel(device, name, 'decode', { activations: dtype })
      try {
        return learner(await openStudent(), (model) => distillation(model, from.model, settings.distill), from)
      } catch (error) {
        from[Symbol.dispose]()
        throw error
      }
    }
    return await runInFolder(device, { ...run, teacher, open, identity: settings.distill }, context)
  })
}

/** A student with what it learns; neither it nor what it learns from is left open when that cannot be. */
function learner(student: Opened<Decoder>, objective: (model: Decoder) => Objective, from?: Disposable): Learner {
  const close = () => student[Symbol.dispose]()
  try {
    const dispose = () => {
      close()
      from?.[Symbol.dispose]()
    }
    return { model: student.model, objective: objective(student.model), [Symbol.dispose]: dispose }
  } catch (error) {
    close()
    throw error
  }
}

function noTeacher(): ConfigError {
  const message = 'is missing; pass --teacher, or --teacher-signal with a file that lantern teacher-signal wrote'
  return new ConfigError('CONFIG_INVALID', `lantern distill: teacher ${message}`, 'distill', [
    { path: 'teacher', message },
  ])
}

/** A signal is of use for the same tokens, settings and, where one is named, teacher. @throws TeacherSignalError ERR_SIGNAL_MISMATCH */
async function requireSignal(
  signal: TeacherSignal,
  { teacher, topK, distill, training }: z.output<typeof schema>,
  config: ModelConfig,
  tokenizer: Tokenizer,
): Promise<void> {
  signal.require({
    tokenizer: tokenizer.contentHash(),
    vocabulary: tokenizer.vocabSize,
    temperature: distill.temperature,
    ...(topK !== undefined && { topK }),
    maxLength: longestSample(training, config),
    longSamples: training.longSamples,
    ...(teacher !== undefined && { teacher: await modelDigest(teacher) }),
  })
}
