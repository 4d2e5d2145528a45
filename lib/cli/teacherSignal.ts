import type { Command } from 'commander'
import { z } from 'zod'
import { explanationSample } from '../distill/samples.js'
import { type SignalError, samplesDigest } from '../distill/teacherSignal.js'
import { writeTeacherSignal } from '../distill/writeTeacherSignal.js'
import { modelDigest } from '../models/digest.js'
import { checkSettings, defineCommand } from './command.js'
import { type CommandContext, deviceSetting, withDevice } from './device.js'
import { interruptible } from './interrupt.js'
import { openModel } from './models.js'
import { dtypeOf, file, folder, trainingSettings } from './settings.js'
import { longestSample, readSamples } from './training.js'

const { maxLength, longSamples, microBatchTokens, precision } = trainingSettings.shape

const schema = z.object({
  teacher: folder('model whose distributions are kept'),
  data: folder('data that a student is to learn from: train.jsonl and, if there is one, validation.jsonl'),
  out: file('file to write; what is not complete is beside it, as .partial'),
  topK: z.int().min(1).default(64).describe('most probable tokens that are kept of every labelled token'),
  temperature: z.number().positive().default(1).describe('softmax temperature'),
  device: deviceSetting,
  maxLength,
  longSamples,
  microBatchTokens,
  precision,
})

/** Settings of `lantern teacher-signal`. */
export type TeacherSignalSettings = z.input<typeof schema>

/** `lantern teacher-signal`: what a frozen teacher says of a dataset, written once. */
export function teacherSignalCommand(program: Command): void {
  defineCommand(program, {
    name: 'teacher-signal',
    description:
      "write a teacher's top-k log-probabilities over a dataset to a file, for lantern distill --teacher-signal",
    schema,
    examples:
      'Example: lantern teacher-signal --teacher runs/teacher/model --data data --out runs/teacher.signal --top-k 64\nInterrupted or killed, the same command goes on where it was.',
    run: async (settings) =>
      (await makeTeacherSignal(settings, { print: console.log, signal: interruptible('leaving after this chunk') }))
        ? 0
        : 130,
  })
}

/**
 * Runs a teacher over a dataset and writes its signal to a file.
 * @returns the error against the full distributions; null when it was interrupted: the same call goes on
 * @throws LanternError for settings, data or a model that do not fit
 */
export async function makeTeacherSignal(
  input: TeacherSignalSettings,
  context: CommandContext,
): Promise<SignalError | null> {
  const settings = checkSettings('teacher-signal', schema, input)
  const { out, topK, temperature, longSamples, microBatchTokens } = settings
  const { print, signal } = context
  return withDevice(settings, context, async (device) => {
    const activations = dtypeOf(settings.precision, device)
    using opened = await openModel(device, settings.teacher, 'decode', { activations })
    const { model, tokenizer } = opened
    const encode = ({ prompt, explanation }: Parameters<Parameters<typeof readSamples>[0]['encode']>[0]) =>
      explanationSample(tokenizer, prompt, explanation)
    const data = await readSamples(
      { settings: { data: settings.data, training: settings }, config: model.config, encode },
      print,
    )
    const samples = [...data.train, ...data.validation]
    const identity = {
      tokenizer: tokenizer.contentHash(),
      teacher: await modelDigest(settings.teacher),
      data: samplesDigest(samples),
      topK,
      temperature,
      vocabulary: tokenizer.vocabSize,
      maxLength: longestSample(settings, model.config),
      longSamples,
    }
    const started = Date.now()
    const onProgress = (done: number, total: number) => print(`${done} of ${total} labelled tokens written`)
    const error = await writeTeacherSignal({
      path: out,
      teacher: model,
      samples,
      identity,
      microBatchTokens,
      onProgress,
      ...(signal && { signal }),
    })
    if (error)
      print(`${out} written in ${Math.round((Date.now() - started) / 1000)} s: ${signalErrorText(topK, error)}`)
    else print(`interrupted: what is written stays in ${out}.partial, and the same command goes on`)
    return error
  })
}

/** The error of the k probabilities against the full distributions, for the user. */
export const signalErrorText = (topK: number, { tailMass, uniformGap }: SignalError): string =>
  `${(100 * tailMass).toFixed(3)} % of the mass is beyond the top ${topK}, and the forward KL from a uniform student ${uniformGap.toFixed(5)} nats short of the full one`
