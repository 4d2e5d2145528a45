import { existsSync } from 'node:fs'
import { mkdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { suggest } from '../config/suggest.js'
import { LanternError } from '../errors.js'
import { writeFileAtomic } from '../files.js'
import { modelDigest } from '../models/digest.js'

/** How a stage of a chain is made from others: LANTERN, section 5.2 and table 2, is 7B -> 1.5B -> 0.5B. */
export interface StageLinks {
  name: string
  kind: 'sft' | 'distill' | 'classify'
  /** Model to start from: a folder, or the name of another stage. */
  from: string
  /** Model to learn from, likewise. */
  teacher?: string
}

/** What is wrong with a graph of stages, and where: keys and indices from the list of stages on. */
export interface StageProblem {
  path: readonly (string | number)[]
  message: string
}

const LINKS = ['from', 'teacher'] as const

/**
 * Everything that keeps stages from being run in some order: names given twice, references that are neither a stage nor a model folder, text
 * models asked of a classifier, circles.
 * @param isModel whether a path is that of a model folder
 */
export function stageProblems(stages: readonly StageLinks[], isModel: (path: string) => boolean): StageProblem[] {
  const problems: StageProblem[] = []
  const byName = new Map<string, StageLinks>()
  stages.forEach((stage, i) => {
    if (byName.has(stage.name))
      problems.push({ path: [i, 'name'], message: `"${stage.name}" is also an earlier stage; give each its own name` })
    else byName.set(stage.name, stage)
  })
  stages.forEach((stage, i) => {
    for (const link of LINKS) {
      const target = stage[link]
      const other = target === undefined ? undefined : byName.get(target)
      if (other?.kind === 'classify' && !(link === 'from' && stage.kind === 'classify'))
        problems.push({ path: [i, link], message: `"${target}" is a classifier; name a language model` })
      if (target === undefined || other || isModel(target)) continue
      const meant = suggest(target, [...byName.keys()])
      const hint = meant === undefined ? `the stages are ${[...byName.keys()].join(', ')}` : `did you mean "${meant}"?`
      problems.push({ path: [i, link], message: `"${target}" is neither a stage nor a model folder; ${hint}` })
    }
  })
  const circle = problems.length === 0 ? findCircle(stages) : null
  if (circle) problems.push(circle)
  return problems
}

/** Stages in an order in which each comes after those it is made from; otherwise that of the list. There must be no problems. */
export function stageOrder<S extends StageLinks>(stages: readonly S[]): S[] {
  const byName = new Map(stages.map((stage) => [stage.name, stage]))
  const order = new Set<S>()
  const visit = (stage: S): void => {
    for (const link of LINKS) {
      const before = byName.get(stage[link] ?? '')
      if (before && !order.has(before)) visit(before)
    }
    order.add(stage)
  }
  for (const stage of stages) visit(stage)
  return [...order]
}

/** The first link, in the order of the list, that leads back to its own stage. */
function findCircle(stages: readonly StageLinks[]): StageProblem | null {
  const byName = new Map(stages.map((stage) => [stage.name, stage]))
  const wayBack = (from: StageLinks, to: string, seen: Set<string>): string[] | null => {
    if (from.name === to) return [to]
    if (seen.has(from.name)) return null
    seen.add(from.name)
    for (const link of LINKS) {
      const next = byName.get(from[link] ?? '')
      const rest = next && wayBack(next, to, seen)
      if (rest) return [from.name, ...rest]
    }
    return null
  }
  for (const [i, stage] of stages.entries())
    for (const link of LINKS) {
      const next = byName.get(stage[link] ?? '')
      const way = next && wayBack(next, stage.name, new Set())
      if (way)
        return {
          path: [i, link],
          message: `leads round in a circle, ${[stage.name, ...way].join(' <- ')}; let one of them start from a model folder`,
        }
    }
  return null
}

/** What a stage has made. */
export interface StageResult {
  /** `modelDigest` of its model. */
  digest: string
  parameters: number
  /** Lowest validation loss; null without validation. */
  bestLoss: number | null
  steps: number
  seconds: number
}

/** Hashes of all that a stage is a function of, by name: its settings, data files and models, and the version of the program. */
export type StageInputs = Readonly<Record<string, string>>

/** The content of stage.json in a stage's folder. */
interface StageRecord {
  inputs: StageInputs
  /** Null while it is under way. */
  result: StageResult | null
}

const FILE = 'stage.json'

/** What is to be done with a stage. */
export type StagePlan =
  | { action: 'skip'; result: StageResult }
  /** `because`: why what is there does not do, for the user. */
  | { action: 'run'; because: string }
  | { action: 'resume' }

/**
 * Compares what a stage's folder was made from with what it would be made from now.
 * @param folder of the stage; need not exist
 */
export async function planStage(folder: string, inputs: StageInputs): Promise<StagePlan> {
  const record = await readRecord(folder)
  if (!record) return { action: 'run', because: 'it has not been run' }
  const names = new Set([...Object.keys(inputs), ...Object.keys(record.inputs)])
  const changed = [...names].filter((name) => inputs[name] !== record.inputs[name])
  if (changed.length > 0) return { action: 'run', because: `changed since it was run: ${changed.join(', ')}` }
  if (!record.result) return { action: 'resume' }
  const model = join(folder, 'model')
  const intact = existsSync(join(model, 'config.json')) && (await modelDigest(model)) === record.result.digest
  return intact
    ? { action: 'skip', result: record.result }
    : { action: 'run', because: 'its model is gone or was altered' }
}

/**
 * Notes that a stage begins. A run of the stage from other inputs is removed from its folder, all but the model, which the next one replaces.
 * @throws LanternError ERR_RUN_EXISTS for a run that is no stage's: it is not ours to remove
 */
export async function beginStage(folder: string, inputs: StageInputs): Promise<void> {
  await mkdir(folder, { recursive: true })
  const checkpoints = join(folder, 'checkpoints')
  if (existsSync(checkpoints) && !existsSync(join(folder, FILE)))
    throw new LanternError(
      'ERR_RUN_EXISTS',
      `${folder} holds a run that no stage has made; move it away, or give the stage another name`,
    )
  await rm(checkpoints, { recursive: true, force: true })
  await rm(join(folder, 'metrics.jsonl'), { force: true })
  await writeRecord(folder, { inputs, result: null }) // last: a record must never stand beside another run's checkpoints
}

/** Notes that a stage is done, so that it is skipped as long as its inputs stay what they are. */
export async function finishStage(folder: string, inputs: StageInputs, result: StageResult): Promise<void> {
  await writeRecord(folder, { inputs, result })
}

async function readRecord(folder: string): Promise<StageRecord | null> {
  try {
    const { inputs, result } = JSON.parse(await readFile(join(folder, FILE), 'utf8')) as StageRecord
    return typeof inputs === 'object' && inputs !== null ? { inputs, result: result ?? null } : null
  } catch {
    return null // none, or none that says anything: the stage is run
  }
}

const writeRecord = (folder: string, record: StageRecord): Promise<void> =>
  writeFileAtomic(join(folder, FILE), `${JSON.stringify(record, null, 2)}\n`)
