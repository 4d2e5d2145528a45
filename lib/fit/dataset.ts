/** Datasets of pairs as JSON Lines: schema, streaming reader, atomic writer, split by job, provenance. */
import { createReadStream } from 'node:fs'
import { mkdir, readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { z } from 'zod'
import { DatasetError, InputError } from '../errors.js'
import { writeFileAtomic, writeStreamAtomic } from '../files.js'
import { Random } from '../random.js'
import type { GeneratedPair } from './generate.js'
import { describeIssues } from './job.js'

const filled = z.string().refine((value) => value.trim() !== '', 'is empty')

const probability = z.number().min(0).max(1)

/** One line of a dataset. */
export const pairSampleSchema = z.strictObject({
  id: filled,
  /** Samples of one job share it. */
  jobId: filled,
  /** The post and the profile as plain text: the classifier's input. */
  job: filled,
  profile: filled,
  level: z.enum(['low', 'medium', 'high']),
  /** What a teacher thinks of the levels: soft labels. */
  probabilities: z
    .strictObject({ low: probability, medium: probability, high: probability })
    .refine(({ low, medium, high }) => Math.abs(low + medium + high - 1) < 1e-3, 'do not add up to 1')
    .optional(),
  /** The condensed prompt and the explanation: the decoder's input and target. */
  prompt: z.strictObject({ system: filled, user: filled }),
  explanation: filled,
  /** The rubric's verdicts, musts first. */
  statuses: z
    .array(
      z.strictObject({ short: filled, kind: z.enum(['must', 'nice']), status: z.enum(['met', 'partly', 'notMet']) }),
    )
    .min(1, 'has no requirement'),
})

/** One pair of post and profile with everything that models learn from it: a line of a dataset. */
export type PairSample = z.infer<typeof pairSampleSchema>

/** The dataset line of a generated pair. */
export function toSample(pair: GeneratedPair): PairSample {
  const statuses = pair.assessment.findings.map(({ requirement, status }) => ({
    short: requirement.short,
    kind: requirement.kind,
    status,
  }))
  const { id, jobId, level, prompt, explanation } = pair
  return { id, jobId, job: pair.jobText, profile: pair.profileText, level, prompt, explanation, statuses }
}

/**
 * Reads a dataset line by line; memory stays at one line.
 * @throws DatasetError naming file and line: unreadable file, no JSON, a line outside the schema, an empty sample, an
 *   id that occurred before, or no sample at all
 */
export async function* readDataset(file: string): AsyncGenerator<PairSample> {
  const seen = new Set<string>()
  let line = 0
  const input = createReadStream(file, { encoding: 'utf8' })
  try {
    for await (const text of createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY })) {
      line++
      if (text.trim() === '') continue
      const sample = readSample(text.replace(/^\ufeff/, ''), file, line)
      if (seen.has(sample.id))
        throw new DatasetError(file, line, `id "${sample.id}" occurred before; give every sample its own id`)
      seen.add(sample.id)
      yield sample
    }
  } catch (error) {
    if (error instanceof DatasetError) throw error
    const reason = error instanceof Error ? error.message : String(error)
    throw new DatasetError(file, 0, `cannot be read (${reason}); check the path and the permissions`, { cause: error })
  } finally {
    input.destroy()
  }
  if (seen.size === 0) throw new DatasetError(file, 0, 'contains no sample; write at least one line')
}

/** As `readDataset`, all samples at once, or the first `limit` of them. @throws DatasetError likewise, as far as is read */
export async function readPairs(file: string, limit = Number.POSITIVE_INFINITY): Promise<PairSample[]> {
  const pairs: PairSample[] = []
  for await (const pair of readDataset(file)) if (pairs.push(pair) === limit) break
  return pairs
}

function readSample(text: string, file: string, line: number): PairSample {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new DatasetError(file, line, `no JSON (${reason}); every line must be one JSON object`, { cause })
  }
  const parsed = pairSampleSchema.safeParse(value)
  if (!parsed.success)
    throw new DatasetError(
      file,
      line,
      `does not fit the schema (${describeIssues(parsed.error)}); correct the named fields`,
    )
  return parsed.data
}

/**
 * Writes a dataset, atomically: a reader never sees half a file.
 * @returns the number of samples written
 * @throws DatasetError when a sample does not fit the schema or the file cannot be written; an older file stays as it was
 */
export async function writeDataset(
  file: string,
  samples: Iterable<PairSample> | AsyncIterable<PairSample>,
): Promise<number> {
  let count = 0
  try {
    await mkdir(dirname(file), { recursive: true })
    await writeStreamAtomic(file, async (sink) => {
      for await (const sample of samples) {
        count++
        const parsed = pairSampleSchema.safeParse(sample)
        if (!parsed.success)
          throw new DatasetError(
            file,
            count,
            `sample does not fit the schema (${describeIssues(parsed.error)}); correct it before writing`,
          )
        await sink.write(Buffer.from(`${JSON.stringify(parsed.data)}\n`))
      }
    })
  } catch (error) {
    if (error instanceof DatasetError) throw error
    const reason = error instanceof Error ? error.message : String(error)
    throw new DatasetError(file, 0, `cannot be written (${reason}); check free space and permissions`, { cause: error })
  }
  return count
}

/** Parts of a dataset; no job is in two of them. */
export type Split<T> = { train: T[]; validation: T[]; test: T[] }

/**
 * Splits samples by job: all samples of a job land in one part, so no post of the test set was seen in training.
 * Deterministic in the seed; the shares are shares of jobs, and a part with a positive share gets at least one job.
 * @throws InputError when the shares are no shares or there are fewer jobs than parts
 */
export function splitDataset<T extends { jobId: string }>(
  samples: readonly T[],
  options: { seed: number | string; validation?: number; test?: number },
): Split<T> {
  const { seed, validation = 0.1, test = 0.1 } = options
  if (!(validation >= 0 && test >= 0 && validation + test < 1)) {
    throw new InputError(
      `splitDataset: validation ${validation} and test ${test} leave nothing to train on; pass shares in [0, 1) with a sum below 1`,
    )
  }
  const jobs = new Random(`split/${seed}`).shuffle([...new Set(samples.map((sample) => sample.jobId))].sort())
  const size = (share: number) => (share > 0 ? Math.max(1, Math.round(share * jobs.length)) : 0)
  const [validationSize, testSize] = [size(validation), size(test)]
  if (jobs.length <= validationSize + testSize) {
    throw new InputError(
      `splitDataset: ${jobs.length} jobs are too few for the parts asked for; generate more pairs or set a share to 0`,
    )
  }
  const testJobs = new Set(jobs.slice(0, testSize))
  const validationJobs = new Set(jobs.slice(testSize, testSize + validationSize))
  const parts: Split<T> = { train: [], validation: [], test: [] }
  for (const sample of samples) {
    const part = testJobs.has(sample.jobId) ? 'test' : validationJobs.has(sample.jobId) ? 'validation' : 'train'
    parts[part].push(sample)
  }
  return parts
}

/** What a folder of data was made with. */
export const provenanceSchema = z.object({
  command: filled,
  version: filled,
  seed: z.union([z.number(), z.string()]),
  /** Samples by file name. */
  counts: z.record(z.string(), z.number().int().min(0)),
  /** Samples by level, over all files. */
  levels: z.record(z.string(), z.number().int().min(0)).optional(),
  /** What "present" meant in the profiles, ISO date. */
  asOf: z.string().optional(),
})
/** The content of made-with.json. */
export type Provenance = z.infer<typeof provenanceSchema>

/** Writes made-with.json beside the data, atomically. @returns its path */
export async function writeProvenance(folder: string, provenance: Provenance): Promise<string> {
  const file = join(folder, 'made-with.json')
  await mkdir(folder, { recursive: true })
  await writeFileAtomic(file, `${JSON.stringify(provenanceSchema.parse(provenance), null, 2)}\n`)
  return file
}

/** Reads made-with.json of a folder. @throws DatasetError when it is missing or not in its form */
export async function readProvenance(folder: string): Promise<Provenance> {
  const file = join(folder, 'made-with.json')
  try {
    return provenanceSchema.parse(JSON.parse(await readFile(file, 'utf8')))
  } catch (cause) {
    const reason =
      cause instanceof z.ZodError ? describeIssues(cause) : cause instanceof Error ? cause.message : String(cause)
    throw new DatasetError(file, 0, `no valid provenance (${reason}); make the data again`, { cause })
  }
}
