import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { Command } from 'commander'
import { z } from 'zod'
import { LEVELS } from '../distill/samples.js'
import { DatasetError } from '../errors.js'
import { softmax } from '../eval/calibration.js'
import { type PairSample, readPairs, readProvenance, writeDataset, writeProvenance } from '../fit/dataset.js'
import { checkSettings, defineCommand } from './command.js'
import { dataFiles } from './dataFiles.js'
import { type CommandContext, deviceSetting, withDevice } from './device.js'
import { interruptible } from './interrupt.js'
import { levelLogits } from './levelLogits.js'
import { openModel } from './models.js'
import { folder } from './settings.js'

const schema = z.object({
  classifier: folder('teacher: the classifier whose probabilities are written'),
  data: folder('data, as lantern data writes it'),
  out: folder('gets the same files with probabilities in every line; may be the folder of the data'),
  microBatchTokens: z.int().min(1).default(8192).describe('tokens computed at once'),
  device: deviceSetting,
})

/** Settings of `lantern soft-labels`. */
export type SoftLabelsSettings = z.input<typeof schema>

/** `lantern soft-labels`: what a teacher thinks of every pair, for a student classifier to learn. */
export function softLabelsCommand(program: Command): void {
  defineCommand(program, {
    name: 'soft-labels',
    description: "write a classifier's probabilities into data, for classify-train --soft-labels",
    schema,
    examples: 'Example: lantern soft-labels --classifier runs/teacher/model --data data --out data-soft',
    run: async (settings) => {
      await softLabels(settings, { print: console.log, signal: interruptible('leaving') })
      return 0
    },
  })
}

/**
 * Writes train.jsonl, validation.jsonl and test.jsonl, those that there are, with the teacher's (calibrated) probabilities.
 * @throws DatasetError when there is no data or it cannot be written; LanternError for a model that does not fit
 */
export async function softLabels(input: SoftLabelsSettings, context: CommandContext): Promise<void> {
  const settings = checkSettings('soft-labels', schema, input)
  const { classifier: path, data, out, microBatchTokens } = settings
  const files = dataFiles(data)
  if (files.length === 0) throw new DatasetError(data, 0, 'holds no train.jsonl; make one with lantern data')
  const provenance = existsSync(join(data, 'made-with.json')) ? await readProvenance(data) : undefined
  await withDevice(settings, context, async (device) => {
    using teacher = await openModel(device, path, 'classify')
    const temperature = teacher.model.config.classifierTemperature
    for (const name of files) {
      const pairs = await readPairs(join(data, name))
      const logits = await levelLogits(teacher, pairs, { path, microBatchTokens, signal: context.signal })
      const labelled = pairs.map((pair, i): PairSample => {
        const p = softmax(logits[i]!, temperature) // in the order of LEVELS
        return { ...pair, probabilities: { low: p[0]!, medium: p[1]!, high: p[2]! } }
      })
      await writeDataset(join(out, name), labelled)
      context.print(`${join(out, name)}: ${labelled.length} pairs, each with probabilities of ${LEVELS.join(', ')}`)
    }
  })
  if (!provenance) return
  const command = `${provenance.command}; lantern soft-labels --classifier ${path}`
  await writeProvenance(out, { ...provenance, command })
}
