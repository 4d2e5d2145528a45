/** The condensed prompt of the small models: what the job asks for and what the profile shows, in short forms only. */
import { InputError } from '../errors.js'
import { catalogueEntry } from './catalogue.js'
import { maxRequirements } from './explain.js'
import { clip, type Facts, profileFacts, type SkillFact } from './facts.js'
import type { JobPost } from './job.js'
import type { Profile } from './profile.js'
import type { Requirement } from './requirement.js'
import { assess } from './rubric.js'

/** The two sections of a prompt, for a chat template's system and user turn. */
export type FitPrompt = { system: string; user: string }

/** Most skills a prompt shows; those that matter for the job come first, the rest in the profile's order. */
const maxSkills = 10

const system =
  'Judge how well the profile fits the job. Say for each requirement whether it is met, partly met or not met.'

/** The prompt of a pair, at most about 180 words; the same pair gives the same prompt. */
export function fitPrompt(job: JobPost, profile: Profile): FitPrompt {
  const ordered = [...job.requirements]
    .sort((a, b) => Number(a.kind === 'nice') - Number(b.kind === 'nice'))
    .slice(0, maxRequirements)
  const facts = profileFacts(profile)
  // The explanation has the same numbers: the line that comes next is then found by counting.
  const lines = (kind: 'must' | 'nice') =>
    ordered.flatMap((entry, i) => (entry.kind === kind ? [`${i + 1}. ${entry.short}`] : []))
  const section = (heading: string, body: string[]) => (body.length > 0 ? [heading, ...body] : [])
  const skills = selectSkills(facts.skills, ordered)
  const quoted = skills.filter(isQuoted).map((fact) => fact.phrase)
  const plain = skills.filter((fact) => !isQuoted(fact)).map((fact) => fact.phrase)
  const field = (name: string, values: string[]) => (values.length > 0 ? [`${name}: ${values.join('; ')}`] : [])
  const others = otherLines(job, profile)
  return {
    system,
    user: [
      `Job: ${clip(job.title, 8)}`,
      ...section('Must:', lines('must')),
      ...section('Nice to have:', lines('nice')),
      `Profile: ${clip(profile.headline || profile.experience[0]?.title || 'no title', 8)}`,
      ...field('Work', experienceLines(facts)),
      ...field('Skills', plain),
      ...field('Shown', [...new Set([...quoted, ...others])]),
      ...field('Degree', facts.degrees.slice(0, 2).map((fact) => fact.phrase)),
      ...field('Languages', facts.languages.slice(0, 4).map((fact) => fact.phrase)),
      ...field('Certificates', facts.certificates.slice(0, 4).map((fact) => fact.phrase)),
    ].join('\n'),
  } // biome-ignore format: one line of the prompt a line
}

/**
 * The halves of a prompt, for a model that reads post and profile apart. That of the post is the same whatever the profile.
 * @throws InputError for a text that `fitPrompt` did not make
 */
export function splitPrompt({ user }: FitPrompt): { job: string; profile: string } {
  const at = user.indexOf('\nProfile: ')
  if (at < 0) throw new InputError('the prompt has no line that begins with "Profile: "; make it with fitPrompt')
  return { job: user.slice(0, at), profile: user.slice(at + 1) }
}

/** Soft skills and sectors stand in the prompt as the quoted line that shows them. */
function isQuoted(fact: SkillFact): boolean {
  return fact.phrase.startsWith(`${fact.name} ("`)
}

function experienceLines(facts: Facts): string[] {
  return [...(facts.total ? [facts.total.phrase] : []), ...facts.areas.slice(0, 2).map((fact) => fact.phrase)]
}

function selectSkills(skills: readonly SkillFact[], requirements: readonly Requirement[]): SkillFact[] {
  const wanted = requirements.flatMap((entry) => [entry.skill ?? '', ...(entry.alternatives ?? [])])
  const near = new Set(
    [...wanted, ...wanted.flatMap((name) => catalogueEntry(name)?.related ?? [])].map((name) => name.toLowerCase()),
  )
  const relevant = skills.filter((fact) => near.has(fact.name.toLowerCase()))
  const chosen = new Set([...relevant, ...skills.filter((fact) => !relevant.includes(fact))].slice(0, maxSkills))
  return skills.filter((fact) => chosen.has(fact))
}

/** The evidence for requirements the catalogue does not know: the lines of the profile that the rubric would quote. */
function otherLines(job: JobPost, profile: Profile): string[] {
  const unknown = assess(job, profile).findings.filter((entry) => entry.requirement.type === 'other')
  return unknown.flatMap((entry) => entry.evidence?.phrase ?? []).slice(0, 3)
}
