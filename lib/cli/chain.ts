import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { artefactDigest, artefactOf, type StageInputs } from '../distill/stageRecord.js'
import { type Outside, STAGE_LINKS, type StageKind, type StageProblem, stageProblems } from '../distill/stages.js'
import { cachedFolder, parseModelName } from '../hub/cache.js'
import { classifierSettings } from './classifyTrain.js'
import { dataDigests, LEARNT } from './dataFiles.js'
import { deviceSetting } from './device.js'
import { distillSettings, folder, runSettings, trainingSettings } from './settings.js'
import { signalSettings } from './teacherSignal.js'
import { version } from './version.js'

const reference = z.string().min(1)

const common = {
  name: z.string().regex(/^\w[\w.-]*$/, 'use letters, digits, dots, dashes and underscores: it names a folder'),
  data: folder('data of this stage; default: that of the file').optional(),
}

const training = {
  ...common,
  from: reference.describe('model to start from: a folder, or the name of another stage'),
  training: trainingSettings.prefault({}),
}

const stageSchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('sft'), ...training }),
  z.object({
    kind: z.literal('signal'),
    ...common,
    teacher: reference,
    student: reference.optional(),
    ...signalSettings.shape,
  }),
  z.object({
    kind: z.literal('distill'),
    ...training,
    teacher: reference.optional(),
    teacherSignal: reference.optional(),
    distill: distillSettings.prefault({}),
  }),
  z.object({ kind: z.literal('classify'), ...training, ...classifierSettings.shape }),
])

/** What is no stage's name may be a model folder, the name of a pulled model, or a file. */
const outside: Outside = {
  model(pathOrName) {
    const pulled = parseModelName(pathOrName)
    return [pathOrName, ...(pulled ? [cachedFolder(pulled)] : [])].some((path) => existsSync(join(path, 'config.json')))
  },
  signal: (path) => statSync(path, { throwIfNoEntry: false })?.isFile() ?? false,
}

/** The schema of a chain of stages. */
export const chainSchema = z
  .object({
    data: folder('data of the stages that name none').optional(),
    out: folder('gets a run folder for every stage, by its name'),
    device: deviceSetting,
    anyway: runSettings.shape.anyway,
    printEvery: runSettings.shape.printEvery,
    stages: z.array(stageSchema).min(1),
  })
  .superRefine((chain, context) => {
    const { data, stages } = chain
    const problem = ({ path, message }: StageProblem) =>
      context.addIssue({ code: 'custom', path: ['stages', ...path], message })
    for (const found of stageProblems(stages, outside)) problem(found)
    stages.forEach((stage, i) => {
      if (!(stage.data ?? data))
        problem({ path: [i, 'data'], message: 'is missing; name a folder here, or for all stages at the top' })
      if (stage.kind !== 'distill') return
      if (stage.teacher === undefined && stage.teacherSignal === undefined) {
        const message =
          'is missing; name a model to learn from, or as teacherSignal what a stage of kind signal keeps of one'
        problem({ path: [i, 'teacher'], message })
      }
      for (const found of signalProblems(chain, stage, i)) problem(found)
    })
  })

/** A chain of stages as a file, or a program, gives it. */
export type ChainSettings = z.input<typeof chainSchema>
/** A chain with all of its settings. */
export type Chain = z.output<typeof chainSchema>
/** A stage of it. */
export type Stage = Chain['stages'][number]

/** Where a student is told otherwise than the stage that made its signal: better now than after the teacher has run over the data. */
function signalProblems(
  chain: Pick<Chain, 'data' | 'stages'>,
  stage: Extract<Stage, { kind: 'distill' }>,
  i: number,
): StageProblem[] {
  const signal = chain.stages.find(({ name }) => name === stage.teacherSignal)
  if (signal?.kind !== 'signal') return []
  const { distill, training } = stage
  const both: [(string | number)[], unknown, unknown][] = [
    [['data'], stage.data ?? chain.data, signal.data ?? chain.data],
    [['distill', 'temperature'], distill.temperature, signal.temperature],
    [['training', 'maxLength'], training.maxLength, signal.maxLength],
    [['training', 'longSamples'], training.longSamples, signal.longSamples],
  ]
  return both
    .filter(([, own, made]) => own !== made)
    .map(([path, own, made]) => ({
      path: [i, ...path],
      message: `is ${own}, but the signal "${signal.name}" is made with ${made}; give both the same`,
    }))
}

/** Folder of a stage. */
export const folderOf = ({ out }: Chain, { name }: Pick<Stage, 'name'>): string => join(out, name)

/** The path that a reference stands for: what a stage makes before a path of that name. */
export function pathOf(chain: Chain, reference: string): string {
  const stage = chain.stages.find(({ name }) => name === reference)
  return stage ? artefactOf(folderOf(chain, stage), stage.kind) : reference
}

/** Folder of a stage's data. */
export const dataOf = ({ data }: Chain, stage: Stage): string => (stage.data ?? data)!

/** All that a stage is a function of. */
export async function inputsOf(chain: Chain, stage: Stage): Promise<StageInputs> {
  const links: Partial<Record<(typeof STAGE_LINKS)[number], string>> = stage
  const none = Object.fromEntries(['name', 'data', ...STAGE_LINKS].map((key) => [key, undefined]))
  const inputs: Record<string, string> = { version, ...flat({ ...stage, ...none }) }
  for (const link of STAGE_LINKS) {
    const named = links[link]
    const kind: StageKind = link === 'teacherSignal' ? 'signal' : 'sft'
    if (named !== undefined) inputs[link] = await artefactDigest(pathOf(chain, named), kind)
  }
  return { ...inputs, ...(await dataDigests(dataOf(chain, stage), LEARNT)) }
}

/** Settings by their path, `training.steps`, as JSON. */
function flat(settings: object, under = ''): Record<string, string> {
  return Object.fromEntries(
    Object.entries(settings).flatMap(([key, value]) => {
      if (value === undefined) return []
      const nested = typeof value === 'object' && value !== null && !Array.isArray(value)
      return nested ? Object.entries(flat(value, `${under}${key}.`)) : [[`${under}${key}`, JSON.stringify(value)]]
    }),
  )
}
