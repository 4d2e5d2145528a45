import { existsSync } from 'node:fs'
import { mkdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { LanternError } from '../errors.js'
import { writeFileAtomic } from '../files.js'
import { fileDigest, modelDigest } from '../models/digest.js'
import type { StageKind } from './stages.js'

/** What a stage leaves in its folder: a model folder, or the file of a signal. */
export const artefactOf = (folder: string, kind: StageKind): string =>
  join(folder, kind === 'signal' ? 'teacher.signal' : 'model')

/** SHA-256 of a model folder's content or of a signal's bytes. @throws CheckpointError, or the file system's error, where there is none */
export const artefactDigest = (path: string, kind: StageKind): Promise<string> =>
  kind === 'signal' ? fileDigest(path) : modelDigest(path)

/** What a stage has made. */
export interface StageResult {
  /** `artefactDigest` of it. */
  digest: string
  seconds: number
  /** Of a model. */
  parameters?: number
  /** Lowest validation loss of a training; null without validation. */
  bestLoss?: number | null
  /** Optimiser steps of a training. */
  steps?: number
  /** Labelled tokens of a signal. */
  tokens?: number
  /** Probabilities that a signal keeps of each. */
  topK?: number
}

/** All that a stage is a function of, by name: settings as they are, SHA-256 of files and models, the version of the program. */
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
  /** `because`: why what is there does not do, for the user, after "runs". */
  | { action: 'run'; because: string }
  | { action: 'resume' }

/**
 * Compares what a stage's folder was made from with what it would be made from now.
 * @param folder of the stage; need not exist
 */
export async function planStage(folder: string, kind: StageKind, inputs: StageInputs): Promise<StagePlan> {
  const record = await readRecord(folder)
  if (!record) return { action: 'run', because: 'for the first time' }
  const names = new Set([...Object.keys(inputs), ...Object.keys(record.inputs)])
  const changed = [...names].filter((name) => inputs[name] !== record.inputs[name])
  if (changed.length > 0) {
    const changes = changed.map((name) => change(name, record.inputs[name], inputs[name]))
    return { action: 'run', because: `since these changed: ${changes.join(', ')}` }
  }
  if (!record.result) return { action: 'resume' }
  const digest = await artefactDigest(artefactOf(folder, kind), kind).catch(() => null)
  return digest === record.result.digest
    ? { action: 'skip', result: record.result }
    : { action: 'run', because: `since its ${kind === 'signal' ? 'signal' : 'model'} is gone or was altered` }
}

/** A change for the user: both values, unless they are hashes, which tell nothing. */
function change(name: string, before: string | undefined, now: string | undefined): string {
  if ([before, now].some((value) => /^[0-9a-f]{64}$/.test(value ?? ''))) return name
  return `${name} (${before ?? 'none'}, now ${now ?? 'none'})`
}

/**
 * Notes that a stage begins. A run of the stage from other inputs is removed from its folder, all but the model or signal,
 * which the next one replaces.
 * @throws LanternError ERR_RUN_EXISTS for a run or a signal that is no stage's: it is not ours to remove
 */
export async function beginStage(folder: string, inputs: StageInputs): Promise<void> {
  await mkdir(folder, { recursive: true })
  const checkpoints = join(folder, 'checkpoints')
  const works = [checkpoints, artefactOf(folder, 'signal')]
  if (works.some((path) => existsSync(path)) && !existsSync(join(folder, FILE)))
    throw new LanternError(
      'ERR_RUN_EXISTS',
      `${folder} holds a run or a signal that no stage has made; move it away, or give the stage another name`,
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
