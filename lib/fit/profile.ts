/** Profiles of people: JSON Resume, our own JSON and plain text, all read into one shape. */
import { z } from 'zod'
import { InputError } from '../errors.js'
import { readDate, toPeriod } from './dates.js'
import { describeIssues, parseJson } from './job.js'
import { type LanguageSkill, readLanguages } from './language.js'
import { findNames } from './match.js'
import { readProfileText } from './profileText.js'
import { readDegree } from './requirement.js'
import { htmlToText } from './text.js'

/** A period of work. */
export type Experience = {
  title: string
  company: string
  /** `YYYY-MM` or `YYYY`. */
  start: string
  /** `YYYY-MM`, `YYYY` or `present`. */
  end: string
  /** Length in years, one decimal; `present` means the profile's `asOf`. */
  years: number
  highlights: string[]
  /** Catalogue names and other listed skills of this work. */
  skills: string[]
}

/** A degree or training. */
export type Education = {
  /** As written: "BSc Computer Science". */
  degree: string
  /** Rank in the catalogue's degreeLevels, -1 when the text names none. */
  rank: number
  subject?: string
  school?: string
}

/** A person's profile as the rubric and the prompts see it. */
export type Profile = {
  name?: string
  headline: string
  summary: string
  skills: { name: string; years?: number }[]
  experience: Experience[]
  education: Education[]
  languages: LanguageSkill[]
  certificates: string[]
  /** The whole profile as plain text; every quote of the rubric is a part of it. */
  text: string
  /** The month that `present` means, `YYYY-MM`. */
  asOf: string
}

/** What a reader of one input format hands on: dates and texts, nothing derived yet. */
export type RawProfile = {
  name?: string
  headline: string
  summary: string
  skills: { name: string; years?: number }[]
  experience: { title: string; company: string; start: string; end: string; highlights: string[]; skills: string[] }[]
  education: { degree: string; school?: string }[]
  languages: string[]
  certificates: string[]
}

const date = z.string().refine((value) => readDate(value) !== undefined, 'is no date such as 2021-03, 2021 or present')
const ownProfile = z.object({
  name: z.string().trim().optional(),
  headline: z.string().trim().default(''),
  summary: z.string().trim().default(''),
  skills: z
    .array(
      z.union([
        z
          .string()
          .trim()
          .min(1)
          .transform((name) => ({ name })),
        z.object({ name: z.string().trim().min(1), years: z.number().min(0).max(70).optional() }),
      ]),
    )
    .default([]),
  experience: z
    .array(
      z.object({
        title: z.string().trim().min(1),
        company: z.string().trim().default(''),
        start: date,
        end: date.default('present'),
        highlights: z.array(z.string().trim().min(1)).default([]),
        skills: z.array(z.string().trim().min(1)).default([]),
      }),
    )
    .default([]),
  education: z
    .array(
      z.union([
        z
          .string()
          .trim()
          .min(1)
          .transform((degree) => ({ degree })),
        z.object({ degree: z.string().trim().min(1), school: z.string().trim().optional() }),
      ]),
    )
    .default([]),
  languages: z
    .array(
      z.union([
        z.string().trim().min(1),
        z
          .object({ language: z.string().min(1), level: z.string().optional() })
          .transform((entry) => `${entry.language}${entry.level ? ` (${entry.level})` : ''}`),
      ]),
    )
    .default([]),
  certificates: z.array(z.string().trim().min(1)).default([]),
})

const text = z
  .string()
  .nullish()
  .transform((value) => value ?? undefined)
const texts = z
  .array(z.string())
  .nullish()
  .transform((value) => value ?? [])
const list = <T extends z.ZodType>(item: T) =>
  z
    .array(item)
    .nullish()
    .transform((value) => value ?? [])

/** JSON Resume v1.0.0 (https://jsonresume.org/schema), the parts that matter for a fit. */
const jsonResume = z.object({
  basics: z.object({ name: text, label: text, summary: text }),
  work: list(
    z.object({
      name: text,
      company: text,
      position: text,
      startDate: text,
      endDate: text,
      summary: text,
      highlights: texts,
    }),
  ),
  volunteer: list(
    z.object({ organization: text, position: text, startDate: text, endDate: text, summary: text, highlights: texts }),
  ),
  education: list(z.object({ institution: text, area: text, studyType: text })),
  certificates: list(z.object({ name: text })),
  skills: list(z.object({ name: text, level: text, keywords: texts })),
  languages: list(z.object({ language: text, fluency: text })),
  projects: list(z.object({ name: text, description: text, highlights: texts, keywords: texts })),
})

/**
 * Reads a profile.
 * @param input JSON Resume, our own JSON, either of them as a string, or the profile as plain text
 * @param options.now the day that "present" means; today unless told
 * @throws InputError when the input is empty, not valid JSON, or fits neither schema
 */
export function parseProfile(input: unknown, options: { now?: Date } = {}): Profile {
  const now = options.now ?? new Date()
  const asOf = `${now.getUTCFullYear()}-${String(now.getUTCMonth() + 1).padStart(2, '0')}`
  if (typeof input !== 'string') return parseProfileObject(input, asOf)
  const trimmed = input.trim()
  if (trimmed === '') throw new InputError('profile: the text is empty; pass the profile as text or JSON')
  if (/^[[{]/.test(trimmed)) return parseProfileObject(parseJson(trimmed, 'profile'), asOf)
  const plain = htmlToText(trimmed)
  return finishProfile(readProfileText(plain), plain, asOf)
}

function parseProfileObject(input: unknown, asOf: string): Profile {
  const isResume = typeof input === 'object' && input !== null && 'basics' in input
  const parsed = isResume ? jsonResume.safeParse(input) : ownProfile.safeParse(input)
  if (!parsed.success) {
    const form = isResume ? 'JSON Resume' : 'neither JSON Resume (no "basics") nor our own form'
    throw new InputError(`profile: not valid ${form} (${describeIssues(parsed.error)}); correct the named fields`)
  }
  const raw = isResume
    ? fromJsonResume(parsed.data as z.output<typeof jsonResume>)
    : fromOwn(parsed.data as z.output<typeof ownProfile>)
  if (raw.skills.length + raw.experience.length + raw.education.length + raw.summary.length === 0) {
    throw new InputError('profile: no skills, experience, education or summary; fill in at least one of them')
  }
  return finishProfile(raw, renderProfile(raw), asOf)
}

function fromOwn(own: z.output<typeof ownProfile>): RawProfile {
  const experience = own.experience.map((work) => ({ ...work, start: readDate(work.start)!, end: readDate(work.end)! }))
  return { ...own, experience }
}

function fromJsonResume(resume: z.output<typeof jsonResume>): RawProfile {
  const work = (
    entry: { startDate?: string; endDate?: string; summary?: string; highlights: string[] },
    title: string,
    company: string,
  ) => ({
    title,
    company,
    start: readDate(entry.startDate ?? '') ?? '',
    end: readDate(entry.endDate ?? '') ?? 'present',
    highlights: [...(entry.summary ? [oneLine(entry.summary)] : []), ...entry.highlights.map(oneLine)],
    skills: [],
  })
  const named = resume.skills.flatMap((skill) => [skill.name ?? '', ...skill.keywords])
  const projects = resume.projects.flatMap((project) => project.keywords)
  return {
    name: resume.basics.name,
    headline: resume.basics.label ?? '',
    summary: oneLine(resume.basics.summary ?? ''),
    skills: [...new Set([...named, ...projects])].filter(Boolean).map((name) => ({ name })),
    experience: [
      ...resume.work.map((entry) => work(entry, entry.position ?? '', entry.name ?? entry.company ?? '')),
      ...resume.volunteer.map((entry) => work(entry, entry.position ?? 'Volunteer', entry.organization ?? '')),
    ].filter((entry) => entry.start !== ''),
    education: resume.education.map((entry) => ({
      degree: [entry.studyType, entry.area].filter(Boolean).join(' in '),
      ...(entry.institution && { school: entry.institution }),
    })),
    languages: resume.languages.map((entry) => `${entry.language ?? ''}${entry.fluency ? ` (${entry.fluency})` : ''}`),
    certificates: resume.certificates.map((entry) => entry.name ?? '').filter(Boolean),
  }
}

const oneLine = (value: string) => htmlToText(value).replace(/\s+/g, ' ').trim()

/** A profile as plain text, in the layout that {@link parseProfile} reads back. */
export function renderProfile(raw: RawProfile): string {
  const block = (heading: string, lines: string[]) => (lines.length > 0 ? [heading, ...lines, ''] : [])
  const years = (count: number | undefined) =>
    count === undefined ? '' : ` (${count} ${count === 1 ? 'year' : 'years'})`
  const lines = [
    ...[raw.name, raw.headline].filter((line): line is string => Boolean(line)),
    '',
    ...block('Summary', raw.summary ? [raw.summary] : []),
    ...block('Skills', raw.skills.length > 0 ? [raw.skills.map((skill) => `${skill.name}${years(skill.years)}`).join(', ')] : []),
    ...block('Experience', raw.experience.flatMap((work) => [
      `${[work.title, work.company].filter(Boolean).join(' at ')} (${work.start} - ${work.end})`,
      ...work.highlights.map((line) => `- ${line}`),
      ...(work.skills.length > 0 ? [`Skills: ${work.skills.join(', ')}`] : []),
    ])),
    ...block('Education', raw.education.map((entry) => [entry.degree, entry.school].filter(Boolean).join(', '))),
    ...block('Languages', raw.languages.length > 0 ? [raw.languages.join(', ')] : []),
    ...block('Certificates', raw.certificates.map((name) => `- ${name}`)),
  ] // biome-ignore format: one section a line
  return lines.join('\n').trim()
}

/** Adds what is derived: lengths, skills found in highlights, degrees, languages and certificates by their names. */
function finishProfile(raw: RawProfile, plain: string, asOf: string): Profile {
  const experience = raw.experience.map((work) => {
    const period = toPeriod(work.start, work.end, asOf)
    const named = findNames([work.title, ...work.highlights, work.skills.join(', ')].join('\n'), 'skill')
    const skills = [...new Set([...named, ...work.skills.filter((skill) => findNames(skill, 'skill').length === 0)])]
    return { ...work, years: Math.round((period.to - period.from) / 1.2) / 10, skills }
  })
  const education = raw.education.map((entry) => {
    const read = readDegree(entry.degree)
    const bare =
      read?.subject ??
      /^(?:.*?(?:degree|B\.?Sc\.?|M\.?Sc\.?|Ph\.?D\.?|MBA|training|diploma))?,?\s*(?:in |of )?([^,(]+)/i
        .exec(entry.degree)?.[1]
        ?.trim()
    return { ...entry, rank: read?.rank ?? -1, ...(bare && { subject: bare }) }
  })
  const languages = readLanguages(raw.languages.join('\n'))
  const listed = raw.certificates.map((line) => findNames(line, 'certificate')[0] ?? line)
  const certificates = [...new Set([...listed, ...findNames(plain, 'certificate')])]
  return {
    ...(raw.name && { name: raw.name }),
    headline: raw.headline,
    summary: raw.summary,
    skills: raw.skills,
    experience,
    education,
    languages,
    certificates,
    text: plain,
    asOf,
  }
}
