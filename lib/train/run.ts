import { createHash } from 'node:crypto'
import { appendFile, mkdir, readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { LanternError } from '../errors.js'
import { replaceDirectory, restoreDirectory, writeFileAtomic } from '../files.js'
import { saveFolder } from '../models/folder.js'
import type { Model } from '../models/model.js'
import { openSafetensors, writeSafetensors } from '../models/safetensors.js'
import { dtypeCode, type Tensor } from '../tensor/tensor.js'
import type { TrainEnd, Trainer, TrainListener, TrainState } from './trainer.js'

/** A training run that lives in a folder: checkpoints, metrics and the resulting model. */
export interface RunOptions {
  /** Gets `model/` (best by validation, else the last), `checkpoints/step-N/` and `metrics.jsonl`. */
  out: string
  /** Folder, or pulled model, whose tokenizer files go with the model. */
  tokenizerFrom: string
  /** Checkpoints kept; default 2. */
  keep?: number
  /** Go on from the newest checkpoint in `out`; without one, start anew. Without `resume`, a run in `out` is an error. */
  resume?: boolean
  /** What a resumed run must share besides the trainer's options and data, such as the objective's settings; plain JSON. */
  identity?: unknown
  /** Storage of the resulting model; default bfloat16. Checkpoints keep the training precision. */
  dtype?: 'float32' | 'bfloat16'
  signal?: AbortSignal
  listener?: TrainListener
}

const stepFolder = (step: number) => `step-${String(step).padStart(8, '0')}`

/**
 * Runs a trainer to its end in a folder. Every file appears whole or not at all; a run that was killed goes on with `resume` from its last
 * checkpoint and ends with the same bits.
 * @throws LanternError ERR_RUN_EXISTS, ERR_RESUME; DivergedError naming the last good checkpoint
 */
export async function runTraining(trainer: Trainer, model: Model, options: RunOptions): Promise<TrainEnd> {
  const { out, signal, listener = {} } = options
  const checkpoints = join(out, 'checkpoints')
  const metrics = join(out, 'metrics.jsonl')
  await mkdir(checkpoints, { recursive: true })
  const known = await listCheckpoints(checkpoints)
  if (known.length > 0 && !options.resume)
    throw new LanternError(
      'ERR_RUN_EXISTS',
      `${out} holds a run already (${known.at(-1)}); pass --resume to go on with it, or another folder`,
    )
  const fingerprint = fingerprintOf(trainer, options.identity)
  if (known.length > 0) await restore(join(checkpoints, known.at(-1)!), trainer, model, fingerprint)
  await trimMetrics(metrics, trainer.state.step)

  const log = (record: object) => appendFile(metrics, `${JSON.stringify(record)}\n`)
  const save = (path: string, also?: (directory: string) => Promise<void>, dtype = options.dtype ?? 'bfloat16') =>
    saveFolder(path, { config: model.config, tensors: named(model), dtype, tokenizerFrom: options.tokenizerFrom, also })
  const end = await trainer
    .run(
      {
        onStep: async (report) => {
          const { step, parts, gradNorm, learningRate, tokens } = report
          await log({ step, ...parts, gradNorm, learningRate, tokens }) // no timings: a resumed run writes the same file
          await listener.onStep?.(report)
        },
        onEval: async (report) => {
          await log({ step: report.step, validation: report.parts })
          await listener.onEval?.(report)
        },
        onCheckpoint: async (state, why) => {
          if (why === 'best' || (why === 'end' && state.bestLoss === null)) await save(join(out, 'model'))
          if (why !== 'best') await checkpoint(checkpoints, trainer, model, fingerprint, options)
          await listener.onCheckpoint?.(state, why)
        },
      },
      signal,
    )
    .catch(async (error) => {
      const last = (await listCheckpoints(checkpoints)).at(-1)
      if (error instanceof Error)
        error.message += `. Last good checkpoint: ${last ? join(checkpoints, last) : 'none yet'}`
      throw error
    })
  return end
}

/** Checkpoints of a run, oldest first. */
export async function listCheckpoints(directory: string): Promise<string[]> {
  const names = await readdir(directory)
  for (const name of names) if (/^step-\d{8}/.test(name)) await restoreDirectory(join(directory, name.slice(0, 13)))
  return (await readdir(directory)).filter((n) => /^step-\d{8}$/.test(n)).sort()
}

async function checkpoint(
  directory: string,
  trainer: Trainer,
  model: Model,
  fingerprint: string,
  options: RunOptions,
): Promise<void> {
  const state: TrainState & { fingerprint: string } = { ...trainer.state, fingerprint }
  await replaceDirectory(join(directory, stepFolder(state.step)), async (to) => {
    await writeSafetensors(join(to, 'model.safetensors'), trained(model))
    await writeSafetensors(join(to, 'optimiser.safetensors'), trainer.optimiser.state())
    await writeFileAtomic(join(to, 'state.json'), `${JSON.stringify(state, null, 2)}\n`)
  })
  const old = (await listCheckpoints(directory)).slice(0, -(options.keep ?? 2))
  for (const name of old) await rm(join(directory, name), { recursive: true })
}

async function restore(path: string, trainer: Trainer, model: Model, fingerprint: string): Promise<void> {
  const { fingerprint: saved, ...state } = JSON.parse(await readFile(join(path, 'state.json'), 'utf8'))
  if (saved !== fingerprint)
    throw new LanternError(
      'ERR_RESUME',
      `${path} was made with other data or options than this run has; resume with the configuration it was started with, or start in another folder`,
    )
  trainer.state = state
  trainer.optimiser.count = state.step
  await load(join(path, 'model.safetensors'), trained(model))
  await load(join(path, 'optimiser.safetensors'), trainer.optimiser.state())
}

/** Overwrites tensors with a file's, bit by bit. */
async function load(path: string, targets: { name: string; tensor: Tensor }[]): Promise<void> {
  const device = targets[0]!.tensor.device
  const file = openSafetensors(device, path)
  for (const { name, tensor } of targets) {
    const from = file.tensor(name)
    const dtypes = { xDtype: dtypeCode(from.dtype), dtype: dtypeCode(tensor.dtype) }
    device.launch('copy', {
      x: from,
      y: tensor,
      rows: 1,
      cols: from.size,
      xStride: from.size,
      yStride: from.size,
      ...dtypes,
    })
    from.dispose()
  }
  file.close()
  await device.synchronize()
}

const named = (model: Model) => [...model.parameters].map(([name, tensor]) => ({ name, tensor }))

/** What a checkpoint holds: weights that are frozen are those of the model that the run started from. */
const trained = (model: Model) => named(model).filter(({ tensor }) => tensor.requiresGrad)

/** What must be the same for a resumed run to be the same run: the options, the caller's identity and the training data. */
function fingerprintOf(trainer: Trainer, identity: unknown = null): string {
  const hash = createHash('sha256').update(JSON.stringify([trainer.options, identity]))
  for (const { ids, labels, label, probabilities, split } of trainer.train)
    hash
      .update(ids)
      .update(labels)
      .update(JSON.stringify([label, probabilities, split]))
  return hash.digest('hex')
}

/** Drops what a killed run wrote after its last checkpoint. */
async function trimMetrics(path: string, step: number): Promise<void> {
  const text = await readFile(path, 'utf8').catch(() => '')
  const kept = text.split('\n').filter((line) => {
    try {
      return (JSON.parse(line) as { step: number }).step <= step
    } catch {
      return false // the torn last line of a killed run
    }
  })
  await writeFileAtomic(path, kept.map((line) => `${line}\n`).join(''))
}
