/** Seeded pairs of job posts and profiles, balanced over low, medium and high fit as the rubric decides. */
import { InputError } from '../errors.js'
import { Random } from '../random.js'
import { explain } from './explain.js'
import { type GeneratedJob, generateJob } from './generatePost.js'
import { generateProfile } from './generateProfile.js'
import type { JobPost } from './job.js'
import { type Profile, parseProfile } from './profile.js'
import { type FitPrompt, fitPrompt } from './prompt.js'
import { type Assessment, assess, type FitLevel } from './rubric.js'
import { countWords } from './text.js'

/** One generated pair with everything that follows from it. */
export type GeneratedPair = {
  id: string
  /** Pairs of the same job share it; splits keep them together. */
  jobId: string
  jobText: string
  profileText: string
  job: JobPost
  profile: Profile
  assessment: Assessment
  level: FitLevel
  prompt: FitPrompt
  explanation: string
}

/** What to generate. */
export type GenerateOptions = {
  seed: number | string
  count: number
  /** What "present" means in the profiles; fixed by default, so that a seed gives the same pairs on any day. */
  now?: Date
}

/** The default `now` of generated profiles. */
export const generatedAsOf = '2025-06-30T00:00:00Z'

const levels: readonly FitLevel[] = ['low', 'medium', 'high']

/**
 * Yields `count` pairs, three profiles (one per level, in random order) to a job. Pair i depends on the seed and i alone:
 * a longer run begins with a shorter one.
 * @throws InputError when count is no positive integer
 */
export function* generatePairs(options: GenerateOptions): Generator<GeneratedPair> {
  const { seed, count } = options
  if (!Number.isInteger(count) || count < 1)
    throw new InputError(`generatePairs: count is ${count}; pass a positive integer`)
  const now = options.now ?? new Date(generatedAsOf)
  for (let index = 0; index < count; ) {
    const jobIndex = index / levels.length
    const random = new Random(`${seed}/${jobIndex}`)
    const jobId = `job-${String(jobIndex + 1).padStart(6, '0')}`
    const pairs = pairsOfJob(jobId, now, random)
    for (const pair of pairs.slice(0, count - index)) yield pair
    index += pairs.length
  }
}

/** One job and a profile for each level; a job that some level cannot be reached for is thrown away. */
function pairsOfJob(jobId: string, now: Date, random: Random): GeneratedPair[] {
  for (;;) {
    const generated = generateJob(random)
    const pairs = random
      .shuffle(levels)
      .map((level, i) => pairOfLevel(generated, level, `${jobId}-${i + 1}`, jobId, now, random))
    if (pairs.every((pair) => pair !== undefined)) return pairs
  }
}

const maxAttempts = 24
const maxExplanationWords = 120 // with its prompt it fits the context of the smallest models

function pairOfLevel(
  generated: GeneratedJob,
  level: FitLevel,
  id: string,
  jobId: string,
  now: Date,
  random: Random,
): GeneratedPair | undefined {
  const { job, text: jobText } = generated
  const month = now.getUTCFullYear() * 12 + now.getUTCMonth()
  for (let attempt = 0; attempt < maxAttempts; attempt++) {
    const profileText = generateProfile(generated, level, month, random)
    const profile = parseProfile(profileText, { now })
    const assessment = assess(job, profile)
    if (assessment.level !== level) continue
    const explanation = explain(assessment)
    if (countWords(explanation) > maxExplanationWords) continue
    const prompt = fitPrompt(job, profile)
    return {
      id,
      jobId,
      jobText,
      profileText,
      job,
      profile,
      assessment,
      level,
      prompt,
      explanation,
    }
  }
  return undefined
}
