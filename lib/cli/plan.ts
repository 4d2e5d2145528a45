import type { Command } from 'commander'
import { z } from 'zod'
import { LEVELS } from '../distill/samples.js'
import { ArgumentError } from '../errors.js'
import { writeFileAtomic } from '../files.js'
import type { ModelConfig } from '../models/config.js'
import type { PlanRequest } from '../plan/changes.js'
import { type Plan, planTraining } from '../plan/plan.js'
import { resolveConfig } from '../plan/published.js'
import { headConfig, headSettings } from './classifierHead.js'
import { checkSettings, defineCommand, type Print } from './command.js'
import { MACHINES, machineNamed } from './machine.js'
import { planText, whole } from './planText.js'

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
    .describe('tokens of a sequence, all of them with a label; for two towers of both texts of a pair'),
  batch: count
    .max(2 ** 20)
    .default(16)
    .describe('sequences, or pairs, of an optimiser step'),
  microBatch: count.optional().describe('sequences computed at once (default: all of the batch)'),
  labels: count
    .optional()
    .describe(`classes, to train a classifier (default for an encoder, or with a structure: ${LEVELS.length})`),
  ...headSettings.shape,
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
  const { precision, recompute, frozen, seq, batch, json } = settings
  const student = studentConfig(await resolveConfig(settings.student), settings)
  const teacher = settings.teacher === undefined ? null : await resolveConfig(settings.teacher)
  if (teacher && (student.numLabels !== undefined || teacher.modelType === 'modernbert'))
    throw new ArgumentError('a classifier or an encoder has no vocabulary to distil over; leave the teacher out')
  for (const [name, config] of [[settings.student, student] as const, [settings.teacher, teacher] as const]) {
    const most = config ? config.maxPositionEmbeddings * (config.twoTower ? 2 : 1) : seq
    if (seq > most)
      throw new ArgumentError(`${name} takes ${whole(most)} tokens at most, not ${whole(seq)}; give a smaller --seq`)
  }
  const microBatch = Math.min(batch, settings.microBatch ?? batch)
  const request: PlanRequest = { student, teacher, precision, recompute, frozen, length: seq, batch, microBatch }
  const planned = await planTraining(request, await machineNamed(settings.gpu))
  for (const block of planText(planned, settings)) print(`${block}\n`)
  if (json) await writeFileAtomic(json, `${JSON.stringify(figures(settings, planned), null, 2)}\n`)
  return planned
}

/** The student with a classification head, where one is trained. @throws ArgumentError for settings of a head where there is none */
function studentConfig(config: ModelConfig, settings: z.output<typeof schema>): ModelConfig {
  const { labels, structure } = settings
  const asked = structure !== undefined || config.modelType === 'modernbert'
  const numLabels = labels ?? config.numLabels ?? (asked ? LEVELS.length : undefined)
  if (numLabels !== undefined) return { ...config, ...headConfig(settings, config), numLabels }
  const { frozen, interaction, pooling, classifierHidden, bidirectional } = settings
  const given = Object.entries({ frozen, interaction, pooling, classifierHidden, bidirectional }).find(([, v]) => v)
  if (!given) return config
  throw new ArgumentError(
    `${given[0]} is of a classifier, and ${settings.student} is none; give --labels or --structure`,
  )
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
