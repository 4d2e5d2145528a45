import type { Command } from 'commander'
import { z } from 'zod'
import { explanationSample } from '../distill/samples.js'
import { signalGaps } from '../distill/signalGaps.js'
import { recordWords, samplesDigest, TeacherSignal } from '../distill/teacherSignal.js'
import { type WriteTeacherSignal, type WrittenSignal, writeTeacherSignal } from '../distill/writeTeacherSignal.js'
import type { PairSample } from '../fit/dataset.js'
import type { Decoder } from '../models/decoder.js'
import { modelDigest } from '../models/digest.js'
import type { Device } from '../tensor/device.js'
import { requireSameTokens } from '../text/sameTokens.js'
import { type Sample, weightOf } from '../train/batches.js'
import { checkSettings, defineCommand, type Print } from './command.js'
import { type CommandContext, deviceSetting, withDevice } from './device.js'
import { interruptible } from './interrupt.js'
import { type Opened, openModel } from './models.js'
import { signalLine } from './progress.js'
import { dtypeOf, file, folder, trainingSettings } from './settings.js'
import { gapLines, recordSignal, type SignalGaps, signalErrorText } from './signalReport.js'
import { type Data, longestSample, readSamples } from './training.js'
import { version } from './version.js'

const { maxLength, longSamples, microBatchTokens, precision } = trainingSettings.shape

/** What is kept of a teacher, and how its error is measured: of `lantern teacher-signal` and of a stage. */
export const signalSettings = z.object({
  topK: z.int().min(1).default(64).describe('most probable tokens that are kept of every labelled token'),
  temperature: z.number().positive().default(1).describe('softmax temperature'),
  measured: z.int().min(1).default(32).describe('held-out samples that the error for --student is measured on'),
  maxLength,
  longSamples,
  microBatchTokens,
  precision,
})

const schema = z.object({
  teacher: folder('model whose distributions are kept'),
  data: folder('data that a student is to learn from: train.jsonl and, if there is one, validation.jsonl'),
  out: file('file to write; what is not complete is beside it, as .partial'),
  student: folder('model that is to learn from it: what leaving out the rest costs it is measured').optional(),
  device: deviceSetting,
  ...signalSettings.shape,
})

/** Settings of `lantern teacher-signal`. */
export type TeacherSignalSettings = z.input<typeof schema>
type Settings = z.output<typeof schema>

/** A teacher's signal in a file. */
export interface TeacherSignalResult extends WrittenSignal {
  /** Null where no student is named. */
  gaps: SignalGaps | null
}

/** `lantern teacher-signal`: what a frozen teacher says of a dataset, written once. */
export function teacherSignalCommand(program: Command): void {
  defineCommand(program, {
    name: 'teacher-signal',
    description:
      "write a teacher's top-k log-probabilities over a dataset to a file, for lantern distill --teacher-signal",
    schema,
    examples: `Example: lantern teacher-signal --teacher runs/teacher/model --data data --out runs/teacher.signal --top-k 64 --student assets/student

Interrupted or killed, the same command goes on where it was. A file that is there, intact and made from the same, is kept; with --student it is
measured anew. What it was made with, and the errors, stand beside it in FILE.made-with.json.`,
    run: async (settings) =>
      (await makeTeacherSignal(settings, { print: console.log, signal: interruptible('leaving after this chunk') }))
        ? 0
        : 130,
  })
}

/**
 * Runs a teacher over a dataset and writes its signal to a file.
 * @returns null when it was interrupted: the same call goes on
 * @throws LanternError for settings, data or a model that do not fit; FileError
 */
export async function makeTeacherSignal(
  input: TeacherSignalSettings,
  context: CommandContext,
): Promise<TeacherSignalResult | null> {
  const settings = checkSettings('teacher-signal', schema, input)
  return withDevice(settings, context, async (device) => {
    using models = await openModels(device, settings)
    const { tokenizer, model } = models.teacher
    const encode = ({ prompt, explanation }: PairSample) => explanationSample(tokenizer, prompt, explanation)
    const reading = { settings: { data: settings.data, training: settings }, config: model.config, encode }
    const data = await readSamples(reading, context.print)
    const run = { command: 'lantern teacher-signal', version, settings, device: device.name }
    const written = await write(settings, models, data, context)
    if (!written) return null
    if (!written.kept) await recordSignal(settings.out, { ...written, gaps: null }, run)
    if (!models.student) return { ...written, gaps: null }
    const gaps = await measure(settings, models, data, context)
    if (!gaps) return null
    await recordSignal(settings.out, { ...written, gaps }, run)
    return { ...written, gaps }
  })
}

interface Models extends Disposable {
  teacher: Opened<Decoder>
  /** Null where the error is not measured for one. */
  student: Opened<Decoder> | null
}

async function openModels(device: Device, settings: Settings): Promise<Models> {
  const options = { activations: dtypeOf(settings.precision, device) }
  const teacher = await openModel(device, settings.teacher, 'decode', options)
  let student: Opened<Decoder> | null = null
  const dispose = () => {
    teacher[Symbol.dispose]()
    student?.[Symbol.dispose]()
  }
  try {
    if (settings.student !== undefined) {
      student = await openModel(device, settings.student, 'decode', options)
      const named = { name: settings.student, tokenizer: student.tokenizer }
      requireSameTokens(named, { name: settings.teacher, tokenizer: teacher.tokenizer })
    }
    return { teacher, student, [Symbol.dispose]: dispose }
  } catch (error) {
    dispose()
    throw error
  }
}

const samplesOf = ({ train, validation }: Data): Sample[] => [...train, ...validation]

async function write(
  settings: Settings,
  { teacher: { model, tokenizer } }: Models,
  data: Data,
  { print, signal }: CommandContext,
): Promise<WrittenSignal | null> {
  const { out, topK, temperature, longSamples, microBatchTokens, precision } = settings
  const samples = samplesOf(data)
  const identity = {
    tokenizer: tokenizer.contentHash(),
    teacher: await modelDigest(settings.teacher),
    data: samplesDigest(samples),
    topK,
    temperature,
    vocabulary: tokenizer.vocabSize,
    maxLength: longestSample(settings, model.config),
    longSamples,
    precision: dtypeOf(precision, model.device),
    program: version,
  }
  const onProgress = progressPrinter(topK, print)
  const options = { path: out, teacher: model, samples, identity, microBatchTokens, onProgress }
  const written = await writeTeacherSignal({ ...options, ...(signal && { signal }) })
  if (!written) print(`interrupted: what is written stays in ${out}.partial, and the same command goes on`)
  else {
    print(`${out}: ${written.kept ? 'kept, it was made from the same before' : 'written'}`)
    print(signalErrorText(written.header, written.error))
  }
  return written
}

/** What leaving out the rest costs the student as it is; null when it was interrupted. */
async function measure(
  { out, student: name, topK, measured: count, microBatchTokens }: Settings,
  { teacher, student }: Models,
  data: Data,
  { print, signal: abort }: CommandContext,
): Promise<SignalGaps | null> {
  using signal = new TeacherSignal(out)
  const held = data.validation.length > 0 ? data.validation : data.train
  const measured = held.slice(0, count)
  const tokens = measured.reduce((n, s) => n + weightOf(s), 0)
  const common = { teacher: teacher.model, student: student!.model, microBatchTokens, ...(abort && { abort }) }
  const gaps = await signalGaps({ signal, samples: samplesOf(data), measured, divergences: COMPARED, ...common })
  if (!gaps) {
    print(`interrupted while the error was measured: ${out} is complete, and the same command measures again`)
    return null
  }
  const of = held === data.train ? 'training samples (there are no others)' : 'held-out samples'
  print(
    `for ${name} as it is, on ${measured.length} ${of}, nats a token (totalVariation: a share), over ${tokens} labelled tokens:`,
  )
  for (const line of gapLines(topK, gaps)) print(line)
  return { model: name!, digest: await modelDigest(name!), samples: measured.length, tokens, divergences: gaps }
}

/** All but generalizedJS, which wants a beta and at a half is jensenShannon. */
const COMPARED = ['forwardKL', 'reverseKL', 'symmetricKL', 'jensenShannon', 'totalVariation'] as const

/** Prints the first line, the last, and one every two seconds. */
function progressPrinter(topK: number, print: Print): WriteTeacherSignal['onProgress'] {
  const started = performance.now()
  const bytes = 4 * recordWords(topK)
  let next = started
  return (tokens, total, before) => {
    const now = performance.now()
    if (now < next && tokens < total) return
    next = now + 2000
    print(signalLine({ tokens, total, written: tokens - before, seconds: (now - started) / 1000, bytes }))
  }
}
