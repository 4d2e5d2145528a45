import type { Command } from 'commander'
import { z } from 'zod'
import { LEVELS } from '../distill/samples.js'
import { ArgumentError } from '../errors.js'
import { textTable } from '../eval/report.js'
import { writeFileAtomic } from '../files.js'
import type { ModelConfig } from '../models/config.js'
import { parameterCount } from '../models/families.js'
import { bytesText } from '../plan/bytesText.js'
import type { PlanRequest } from '../plan/changes.js'
import { type Plan, planTraining } from '../plan/plan.js'
import { resolveConfig } from '../plan/published.js'
import { planStep } from '../plan/step.js'
import { checkSettings, defineCommand, type Print } from './command.js'
import { MACHINES, machineNamed } from './machine.js'

const model = (help: string) => z.string().min(1).meta({ description: help, argument: 'model' })
const count = z.int().min(1)

const schema = z.object({
  student: model('model to train: a folder with a config.json, or a published name such as Qwen2.5-1.5B'),
  teacher: model('model to learn from, frozen; without it: cross entropy alone').optional(),
  gpu: z.enum(MACHINES).default('cpu').describe('what to train on; cpu: this machine, measured'),
  precision: z
    .enum(['float32', 'bfloat16'])
    .default('bfloat16')
    .describe("storage of the student's weights and of all activations"),
  recompute: z.boolean().default(false).describe('compute each layer again in the backward pass'),
  seq: count
    .max(2 ** 27)
    .default(1024)
    .describe('tokens of a sequence, all of them with a label'),
  batch: count
    .max(2 ** 20)
    .default(16)
    .describe('sequences of an optimiser step'),
  microBatch: count.optional().describe('sequences computed at once (default: all of the batch)'),
  labels: count.optional().describe(`classes, to train a classifier (default for an encoder: ${LEVELS.length})`),
  frozen: z.boolean().default(false).describe("train a classifier's head alone, over an encoder that stays as it is"),
  samples: count.optional().describe('sequences to train on in all, to tell the hours'),
  json: z.string().min(1).optional().meta({ description: 'also write all figures here', argument: 'file' }),
})

/** Settings of `lantern plan`. */
export type PlanSettings = z.input<typeof schema>

/** `lantern plan`: what a training needs, before anything is downloaded or bought. */
export function planCommand(program: Command): void {
  defineCommand(program, {
    name: 'plan',
    description:
      'tell the memory that a training needs, the least time it takes, and what to change if it does not fit',
    schema,
    examples: 'Example: lantern plan --teacher Qwen2.5-7B --student Qwen2.5-1.5B --gpu h100 --seq 8192 --batch 8',
    run: async (settings) => {
      await plan(settings, console.log)
      return 0
    },
  })
}

/**
 * Plans a training and prints what it needs.
 * @throws ArgumentError for a model that is not known, or a pair that cannot be trained
 */
export async function plan(input: PlanSettings, print: Print): Promise<Plan> {
  const settings = checkSettings('plan', schema, input)
  const { precision, recompute, frozen, seq, batch, samples, json } = settings
  const student = studentConfig(await resolveConfig(settings.student), settings)
  const teacher = settings.teacher === undefined ? null : await resolveConfig(settings.teacher)
  if (frozen && student.numLabels === undefined)
    throw new ArgumentError(
      `frozen: ${settings.student} is no classifier whose head could be trained alone; give --labels`,
    )
  if (teacher && (student.numLabels !== undefined || teacher.modelType === 'modernbert'))
    throw new ArgumentError('a classifier or an encoder has no vocabulary to distil over; leave the teacher out')
  for (const [name, config] of [[settings.student, student] as const, [settings.teacher, teacher] as const])
    if (config && seq > config.maxPositionEmbeddings)
      throw new ArgumentError(
        `${name} takes ${config.maxPositionEmbeddings} tokens at most, not ${seq}; give a smaller --seq`,
      )
  const microBatch = Math.min(batch, settings.microBatch ?? batch)
  const request: PlanRequest = { student, teacher, precision, recompute, frozen, length: seq, batch, microBatch }
  const planned = await planTraining(request, await machineNamed(settings.gpu))
  for (const block of [title(settings, request), memoryTable(planned), verdict(planned), timeTable(planned, samples)])
    print(`${block}\n`)
  if (json) await writeFileAtomic(json, `${JSON.stringify(figures(settings, planned), null, 2)}\n`)
  return planned
}

/** The student with a classification head, where one is trained. */
function studentConfig(config: ModelConfig, { labels }: z.output<typeof schema>): ModelConfig {
  const numLabels = labels ?? config.numLabels ?? (config.modelType === 'modernbert' ? LEVELS.length : undefined)
  return numLabels === undefined ? config : { ...config, numLabels }
}

const billions = (config: ModelConfig): string => {
  const n = parameterCount(config)
  return n < 1e9 ? `${(n / 1e6).toFixed(1)} M` : `${(n / 1e9).toFixed(2)} B`
}

function title({ student, teacher }: PlanSettings, { length, batch, microBatch, ...request }: PlanRequest): string {
  const from = request.teacher ? ` from ${teacher} (${billions(request.teacher)} parameters)` : ''
  const as = request.student.numLabels === undefined ? '' : `, a classifier of ${request.student.numLabels} classes`
  const how = `${batch} sequences of ${length} tokens a step, ${microBatch} at once, ${request.precision}`
  const more = request.frozen ? ', encoder frozen' : request.recompute ? ', recompute' : ''
  return `${student} (${billions(request.student)} parameters)${as}${from}: ${how}${more}`
}

function memoryTable({ request, machine, memory, other }: Plan): string {
  const [plain, recomputed] = request.recompute ? [other, memory] : [memory, other]
  const ways = request.frozen ? [memory] : [plain, recomputed] // of a frozen encoder nothing is computed again
  const names = [...new Set(ways.flatMap(({ parts }) => parts.map(({ name }) => name)))]
  const cell = (parts: typeof memory.parts, name: string): string => {
    const part = parts.find((p) => p.name === name)
    return part ? `${bytesText(part.bytes)}${part.mapped ? ' mapped' : ''}` : '-'
  }
  const rows = names.map((name) => [name, ...ways.map(({ parts }) => cell(parts, name))])
  rows.push([`needed, of ${bytesText(machine.memory)}`, ...ways.map(({ needed }) => bytesText(needed))])
  const columns = ['memory', ...(request.frozen ? ['frozen'] : ['plain', 'recompute'])]
  return `${textTable({ columns, rows })}${forwardLine(request, machine.device)}`
}

/** What rating alone needs, where a classifier is trained. */
function forwardLine({ student, precision, microBatch, length }: PlanRequest, device: Plan['machine']['device']) {
  if (student.numLabels === undefined) return ''
  const { memory } = planStep({ student, precision, mode: 'forward', sequences: microBatch, length, device })
  return `\nto rate ${microBatch} sequences at once, without training: ${bytesText(memory.needed)}`
}

function verdict({ machine, fits, memory, remedies }: Plan): string {
  if (fits) return `It fits: ${bytesText(memory.needed)} of the ${bytesText(machine.memory)} of ${machine.name}.`
  const rows = remedies.map((r) => [r.change, bytesText(r.bytes), r.fits ? 'yes' : 'no', `${r.slowdown.toFixed(2)}x`])
  const table = textTable({ columns: ['change', 'needs', 'fits', 'time a token'], rows })
  return `It does not fit: ${bytesText(memory.needed)}, and ${machine.name} has ${bytesText(machine.memory)}. The least costly change first:\n${table}`
}

function timeTable({ machine, time, request }: Plan, samples: number | undefined): string {
  const share = (seconds: number) => `${Math.round((100 * seconds) / time.seconds)} %`
  const cells = (name: string, p: { seconds: number; limit: string }, flops: number, bytes: number) => [
    name,
    p.seconds < 0.1 ? `${(p.seconds * 1e3).toFixed(2)} ms` : `${p.seconds.toFixed(2)} s`,
    share(p.seconds),
    p.limit,
    (flops / 1e12).toFixed(2),
    (bytes / 1e9).toFixed(1),
  ]
  const rows = time.parts.map((p) => cells(p.part, p, p.flops, p.bytes))
  const sum = (of: 'flops' | 'bytes') => time.parts.reduce((n, p) => n + p[of], 0)
  rows.push(cells('a step', time, sum('flops'), sum('bytes')))
  const table = textTable({ columns: ['time at least', '', 'share', 'limit', 'TFLOP', 'GB'], rows })
  const hours = samples && ((samples / request.batch) * time.seconds) / 3600
  const all = hours ? `; ${samples} samples: ${hours.toFixed(hours < 10 ? 2 : 0)} hours at least` : ''
  const peaks = `${(machine.flops[request.precision] / 1e12).toFixed(2)} TFLOP/s in ${request.precision}, ${Math.round(machine.bandwidth / 1e9)} GB/s`
  return `${table}\n${Math.round(time.tokensPerSecond)} tokens/s at most${all}. A bound at the peaks of ${machine.name} (${peaks}), not a measurement.`
}

/** What `--json` writes. */
const figures = (settings: z.output<typeof schema>, { machine, memory, other, time, fits, remedies }: Plan) => ({
  settings,
  machine,
  memory,
  [settings.recompute ? 'withoutRecompute' : 'withRecompute']: other,
  time,
  fits,
  remedies: remedies.map(({ request: _, ...remedy }) => remedy),
})
