import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { LEVELS } from '../distill/samples.js'
import { expectedCalibrationError, fitTemperature, softmax } from '../eval/calibration.js'
import { writeFileAtomic } from '../files.js'
import { readPairs } from '../fit/dataset.js'
import { configToJson } from '../models/families.js'
import type { Device } from '../tensor/device.js'
import type { CommandContext } from './device.js'
import { levelLogits } from './levelLogits.js'
import { openModel } from './models.js'
import { eceText } from './scores.js'

/** What became of a classifier's probabilities. */
export interface Calibration {
  temperature: number
  /** Expected calibration error on the held-out pairs, before and after. */
  ece: { raw: number; calibrated: number }
  samples: number
}

interface CalibrationSettings {
  /** Folder of the data. */
  data: string
  training: { microBatchTokens: number; maxLength: number }
}

/**
 * Fits the temperature of a classifier to validation.jsonl and writes it into the config.json of its folder: the probabilities of what is stored, as
 * it will be served, are calibrated.
 * @returns null when there is no validation.jsonl
 */
export async function calibrate(
  device: Device,
  path: string,
  { data, training }: CalibrationSettings,
  { print, signal }: CommandContext,
): Promise<Calibration | null> {
  const file = join(data, 'validation.jsonl')
  if (!existsSync(file)) {
    print('calibration: none, for there is no validation.jsonl; probabilities are as the model gives them')
    return null
  }
  const pairs = await readPairs(file)
  using opened = await openModel(device, path, 'classify')
  const { config } = opened.model
  const { microBatchTokens } = training
  const maxLength = Math.min(training.maxLength, config.maxPositionEmbeddings)
  const logits = await levelLogits(opened, pairs, { path, microBatchTokens, maxLength, signal })
  const labels = pairs.map(({ level }) => LEVELS.indexOf(level))
  const temperature = fitTemperature(logits, labels)
  const ece = (t: number) =>
    expectedCalibrationError(
      logits.map((row) => softmax(row, t)),
      labels,
    )
  const calibration = { temperature, ece: { raw: ece(1), calibrated: ece(temperature) }, samples: pairs.length }
  const json = configToJson({ ...config, classifierTemperature: temperature })
  await writeFileAtomic(join(path, 'config.json'), `${JSON.stringify(json, null, 2)}\n`)
  print(`calibration: ${eceText(temperature, calibration.ece)} on the ${pairs.length} pairs of validation.jsonl`)
  return calibration
}
