import { readFile } from 'node:fs/promises'
import { z } from 'zod'
import type { SignalGap } from '../distill/signalGaps.js'
import type { SignalError, TeacherSignal, TeacherSignalHeader } from '../distill/teacherSignal.js'
import type { WrittenSignal } from '../distill/writeTeacherSignal.js'
import { textTable } from '../eval/report.js'
import { writeFileAtomic } from '../files.js'
import { modelDigest } from '../models/digest.js'
import type { DivergenceKind } from '../ops/divergence.js'

/** What a signal's error is for a student as it is. */
export interface SignalGaps {
  /** The student, and its `modelDigest`. */
  model: string
  digest: string
  /** That it was measured on, and their labelled tokens. */
  samples: number
  tokens: number
  divergences: SignalGap[]
}

/** What the k probabilities leave out of the full distributions, for the user. */
export const signalErrorText = (
  { tokens, topK }: Pick<TeacherSignalHeader, 'tokens' | 'topK'>,
  { tailMass, uniformGap }: SignalError,
): string =>
  `${tokens} labelled tokens, the top ${topK} of each: ${(100 * tailMass).toFixed(3)} % of the mass is beyond them, and the forward KL from a uniform student ${uniformGap.toFixed(5)} nats short of the full one`

/** The table of the divergences, line by line. */
export function gapLines(topK: number, gaps: readonly SignalGap[]): string[] {
  const rows = gaps.map((gap) => {
    const { short, off } = shares(gap)
    return [gap.divergence, gap.full.toFixed(5), gap.bucketed.toFixed(5), short, off]
  })
  return textTable({ columns: ['divergence', 'full', `top ${topK}`, 'short by', 'gradient off by'], rows }).split('\n')
}

/** How much of a divergence is left out, and how far its gradient is off. */
function shares({ full, bucketed, gradientError }: Omit<SignalGap, 'divergence'>): { short: string; off: string } {
  const percent = (share: number) => `${(100 * share).toFixed(2)} %`
  return { short: full > 0 ? percent(1 - bucketed / full) : '-', off: percent(gradientError) }
}

const madeWith = (path: string): string => `${path}.made-with.json`

/**
 * Writes beside a file what it was made with and how far it is from the full distributions.
 * @param run command, settings and whatever else is to be told
 */
export async function recordSignal(
  path: string,
  { header, error, gaps }: WrittenSignal & { gaps: SignalGaps | null },
  run: object,
): Promise<void> {
  const record = { ...run, file: { ...header, error }, student: gaps }
  await writeFileAtomic(madeWith(path), `${JSON.stringify(record, null, 2)}\n`)
}

/** What `measuredText` reads of a record. */
const measuredSchema = z.object({
  file: z.object({ data: z.string(), teacher: z.string(), topK: z.number(), temperature: z.number() }),
  student: z.object({
    digest: z.string(),
    samples: z.number(),
    divergences: z.array(
      z.object({ divergence: z.string(), full: z.number(), bucketed: z.number(), gradientError: z.number() }),
    ),
  }),
})

/**
 * What the error of a divergence was measured to be for a student, for the user, or how to have it measured.
 * @returns null for generalizedJS, which is not measured
 */
export async function measuredText(
  { path, header }: TeacherSignal,
  student: string,
  divergence: DivergenceKind,
): Promise<string | null> {
  if (divergence === 'generalizedJS') return null
  const { data: record } = measuredSchema.safeParse(await readRecord(path))
  const sameFile =
    record && Object.entries(record.file).every(([key, value]) => header[key as keyof TeacherSignalHeader] === value)
  const sameStudent = sameFile && record.student.digest === (await modelDigest(student))
  const gap = sameStudent && record.student.divergences.find((g) => g.divergence === divergence)
  if (!gap)
    return `what that costs ${divergence} was not measured for ${student}; lantern teacher-signal --student does`
  const { short, off } = shares(gap)
  return `for ${student} as it is, on ${record.student.samples} samples: ${divergence} ${short} short of the full one, its gradient ${off} off`
}

async function readRecord(path: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(madeWith(path), 'utf8'))
  } catch {
    return null // left behind when the file was moved, or torn: nothing is known
  }
}
