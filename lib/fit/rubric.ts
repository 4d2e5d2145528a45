/**
 * The rubric: per requirement met, partly or notMet with evidence from the profile, and the level of the whole fit.
 *
 * Status of one requirement:
 * - skill without years: met when the profile shows it or an alternative; partly when it shows a related skill.
 * - skill or experience with N years: met from N years on; partly from N/2 on, or when the skill is listed without
 *   years, or when a related skill is shown; below N/2 notMet, and the short time is the evidence.
 * - degree: met at the level or above in the same group of subjects; partly with a lower level or another subject.
 * - language: met at the level or above; partly below it or without a stated level.
 * - certificate: met when held; partly with a related certificate.
 * - other: met when the profile contains the key phrase; partly when one of its lines shares two thirds of the words.
 *
 * Level: score = sum(weight * value) / sum(weight), weights must 2 and nice 1, values met 1, partly 1/2, notMet 0.
 * - low: score < 0.45, or at least half of the musts notMet.
 * - high: score >= 0.75 and no must notMet.
 * - medium: everything between.
 */
import { InputError } from '../errors.js'
import { catalogueEntry, sameSubject } from './catalogue.js'
import { type Fact, type Facts, profileFacts, type SkillFact } from './facts.js'
import type { JobPost } from './job.js'
import { levelRank } from './language.js'
import type { Profile } from './profile.js'
import type { Requirement } from './requirement.js'

/** How a requirement is satisfied. */
export type Status = 'met' | 'partly' | 'notMet'
/** How well a profile fits a job as a whole. */
export type FitLevel = 'low' | 'medium' | 'high'

/** Why a status is not plainly met: what the evidence shows instead. */
export type Shortfall = 'short' | 'related' | 'noYears' | 'noLevel' | 'otherSubject'

/** The verdict on one requirement. */
export type Finding = {
  requirement: Requirement
  status: Status
  /** `quote` stands literally in the profile's text; `phrase` is the regular short form of the same fact. */
  evidence?: { quote: string; phrase: string }
  shortfall?: Shortfall
}

/** The verdict on a pair of job and profile. */
export type Assessment = {
  level: FitLevel
  /** In [0, 1]; see the file's comment. */
  score: number
  /** Musts first, each group in the order of the post. */
  findings: Finding[]
}

export const mustWeight = 2
export const niceWeight = 1
export const statusValue: Record<Status, number> = { met: 1, partly: 0.5, notMet: 0 }
export const highScore = 0.75
export const lowScore = 0.45

/** Judges every requirement of a job. @throws InputError when the job has no requirements */
export function assess(job: JobPost, profile: Profile): Assessment {
  if (job.requirements.length === 0) {
    throw new InputError(
      `assess: job "${job.title}" has no requirements; read it with parseJob, which insists on at least one`,
    )
  }
  const facts = profileFacts(profile)
  const ordered = [...job.requirements].sort((a, b) => Number(a.kind === 'nice') - Number(b.kind === 'nice'))
  const findings = ordered.map((requirement) => judge(requirement, facts, profile))
  return { ...levelOf(findings.map(({ requirement, status }) => ({ kind: requirement.kind, status }))), findings }
}

/** Level and score from kinds and statuses alone. */
export function levelOf(verdicts: readonly { kind: 'must' | 'nice'; status: Status }[]): {
  level: FitLevel
  score: number
} {
  const weigh = (kind: 'must' | 'nice') => (kind === 'must' ? mustWeight : niceWeight)
  const total = verdicts.reduce((sum, verdict) => sum + weigh(verdict.kind), 0)
  const score = verdicts.reduce((sum, verdict) => sum + weigh(verdict.kind) * statusValue[verdict.status], 0) / total
  const musts = verdicts.filter((verdict) => verdict.kind === 'must')
  const missing = musts.filter((verdict) => verdict.status === 'notMet').length
  if (score < lowScore || (musts.length > 0 && missing * 2 >= musts.length)) return { level: 'low', score }
  return { level: score >= highScore && missing === 0 ? 'high' : 'medium', score }
}

function judge(requirement: Requirement, facts: Facts, profile: Profile): Finding {
  switch (requirement.type) {
    case 'degree':
      return judgeDegree(requirement, facts)
    case 'language':
      return judgeLanguage(requirement, facts)
    case 'certificate':
      return judgeNamed(requirement, facts.certificates)
    case 'experience':
      return judgeYears(requirement, facts)
    case 'other':
      return judgeOther(requirement, profile)
    default:
      return judgeNamed(requirement, facts.skills)
  }
}

function finding(requirement: Requirement, status: Status, fact?: Fact, shortfall?: Shortfall): Finding {
  return {
    requirement,
    status,
    ...(fact && { evidence: { quote: fact.quote, phrase: fact.phrase } }),
    ...(shortfall && { shortfall }),
  }
}

/** Skills and certificates: by name, by alternative, by years, by relation. */
export function judgeNamed(requirement: Requirement, facts: readonly SkillFact[]): Finding {
  const wanted = [requirement.skill ?? requirement.short, ...(requirement.alternatives ?? [])]
  const same = (name: string, fact: Fact) => fact.name.toLowerCase() === name.toLowerCase()
  const shown = facts.filter((fact) => wanted.some((name) => same(name, fact)))
  const best = shown.sort((a, b) => (b.years ?? -1) - (a.years ?? -1))[0]
  if (best) return requirement.years === undefined ? finding(requirement, 'met', best) : judgeTime(requirement, best)
  const related = wanted.flatMap((name) => catalogueEntry(name)?.related ?? [])
  const near = related.flatMap((name) => facts.filter((fact) => same(name, fact)))[0]
  return near ? finding(requirement, 'partly', near, 'related') : finding(requirement, 'notMet')
}

function judgeTime(requirement: Requirement, fact: SkillFact): Finding {
  const needed = requirement.years ?? 0
  if (fact.years === undefined) return finding(requirement, 'partly', fact, 'noYears')
  if (fact.years >= needed) return finding(requirement, 'met', fact)
  return finding(requirement, fact.years * 2 >= needed ? 'partly' : 'notMet', fact, 'short')
}

function judgeYears(requirement: Requirement, facts: Facts): Finding {
  const fact = requirement.area ? facts.areas.find((area) => area.name === requirement.area) : facts.total
  return fact ? judgeTime(requirement, fact) : finding(requirement, 'notMet')
}

function judgeDegree(requirement: Requirement, facts: Facts): Finding {
  const rank = requirement.degree ?? -1
  const { subject } = requirement
  const fitting = (have: string | undefined) =>
    subject === undefined || (have !== undefined && sameSubject(subject, have))
  const byRank = [...facts.degrees].sort((a, b) => b.rank - a.rank)
  const full = byRank.find((degree) => degree.rank >= rank && fitting(degree.subject))
  if (full) return finding(requirement, 'met', full)
  const lower = byRank.find((degree) => fitting(degree.subject))
  if (lower) return finding(requirement, 'partly', lower, 'short')
  const other = byRank.find((degree) => degree.rank >= rank)
  return other
    ? finding(requirement, 'partly', other, 'otherSubject')
    : finding(requirement, 'notMet', byRank[0], byRank[0] && 'otherSubject')
}

function judgeLanguage(requirement: Requirement, facts: Facts): Finding {
  const fact = facts.languages.find((language) => language.name === requirement.language)
  if (!fact) return finding(requirement, 'notMet')
  if (!requirement.level) return finding(requirement, 'met', fact)
  if (!fact.level) return finding(requirement, 'partly', fact, 'noLevel')
  const enough = levelRank(fact.level) >= levelRank(requirement.level)
  return enough ? finding(requirement, 'met', fact) : finding(requirement, 'partly', fact, 'short')
}

const emptyWords = new Set([
  'and',
  'the',
  'with',
  'for',
  'you',
  'your',
  'our',
  'are',
  'have',
  'from',
  'that',
  'this',
  'work',
  'good',
  'strong',
  'very',
  'able',
  'other',
  'into',
  'well',
  'experience',
  'skills',
  'ability',
  'knowledge',
])
const contentWords = (text: string) =>
  (text.toLowerCase().match(/[\p{L}\d+#]{3,}/gu) ?? []).filter((word) => !emptyWords.has(word))

function judgeOther(requirement: Requirement, profile: Profile): Finding {
  const phrase = requirement.skill ?? requirement.short
  const index = profile.text.toLowerCase().indexOf(phrase.toLowerCase())
  if (index >= 0) {
    const quote = profile.text.slice(index, index + phrase.length)
    return finding(requirement, 'met', { name: phrase, phrase: quote, quote })
  }
  const wanted = [...new Set(contentWords(phrase))]
  for (const line of profile.text.split('\n')) {
    const have = new Set(contentWords(line))
    const shared = wanted.filter((word) => have.has(word)).length
    if (wanted.length < 2 || shared * 3 < wanted.length * 2) continue
    const quote = line
      .trim()
      .replace(/^[-*•]\s+/, '')
      .split(' ')
      .slice(0, 9)
      .join(' ')
      .replace(/[.,;:]+$/, '')
    return finding(requirement, 'partly', { name: phrase, phrase: quote, quote }, 'related')
  }
  return finding(requirement, 'notMet')
}
