import { join } from 'node:path'
import type { Command } from 'commander'
import { z } from 'zod'
import { type PairSample, splitDataset, toSample, writeDataset, writeProvenance } from '../fit/dataset.js'
import { generatedAsOf, generatePairs } from '../fit/generate.js'
import { checkSettings, defineCommand, type Print } from './command.js'
import { folder } from './settings.js'
import { version } from './version.js'

const share = (help: string) => z.number().min(0).lt(1).default(0.1).describe(help)

const schema = z.object({
  out: folder('gets train.jsonl, validation.jsonl, test.jsonl and made-with.json'),
  pairs: z.int().min(1).default(2000).describe('pairs of post and profile'),
  seed: z.int().default(1).describe('seed of pairs and split'),
  validation: share('share of jobs held out for validation'),
  test: share('share of jobs held out for the test'),
})

/** Settings of `lantern data`. */
export type DataSettings = z.input<typeof schema>

/** Samples written, by file name and by level. */
export interface DataResult {
  counts: Record<string, number>
  levels: Record<string, number>
}

/** `lantern data`: generated pairs, rated and explained by the rubric. */
export function dataCommand(program: Command): void {
  defineCommand(program, {
    name: 'data',
    description:
      'generate job posts and profiles with level and explanation, split by job into train, validation and test',
    schema,
    examples: 'Example: lantern data --out data --pairs 3000 --seed 7',
    run: async (settings) => {
      await makeData(settings, console.log)
      return 0
    },
  })
}

/**
 * Generates a folder of data; the same settings give the same bytes.
 * @throws InputError when there are too few jobs for the split; DatasetError when the folder cannot be written
 */
export async function makeData(input: DataSettings, print: Print): Promise<DataResult> {
  const { out, pairs, seed, validation, test } = checkSettings('data', schema, input)
  const samples: PairSample[] = []
  for (const pair of generatePairs({ seed, count: pairs }))
    if (samples.push(toSample(pair)) % 1000 === 0) print(`generated ${samples.length} of ${pairs} pairs`)
  const levels: Record<string, number> = {}
  for (const { level } of samples) levels[level] = (levels[level] ?? 0) + 1
  const counts: Record<string, number> = {}
  for (const [part, list] of Object.entries(splitDataset(samples, { seed, validation, test }))) {
    if (list.length === 0) continue
    const name = `${part}.jsonl`
    counts[name] = await writeDataset(join(out, name), list)
    print(`${join(out, name)}: ${counts[name]} pairs`)
  }
  const command = `lantern data --out ${out} --pairs ${pairs} --seed ${seed} --validation ${validation} --test ${test}`
  await writeProvenance(out, { command, version, seed, counts, levels, asOf: generatedAsOf.slice(0, 10) })
  return { counts, levels }
}
