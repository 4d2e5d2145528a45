/** One line of a requirements section -> the things it asks for, each with a short form that a small model can repeat. */
import { catalogueEntry, degreeLevels, fields } from './catalogue.js'
import { type LanguageLevel, type LanguageSkill, readLanguages } from './language.js'
import { findEntries } from './match.js'

/** What a requirement is about. `soft` and `sector` are skills whose evidence is a quoted line of the profile. */
export type RequirementType =
  | 'skill'
  | 'soft'
  | 'sector'
  | 'degree'
  | 'language'
  | 'certificate'
  | 'experience'
  | 'other'

/** One thing a job asks for. */
export type Requirement = {
  /** The line of the post, as written. */
  text: string
  kind: 'must' | 'nice'
  type: RequirementType
  /** Regular short form, what it is about first: "Python, 5+ years", "German, C1", "Bachelor's degree in Nursing". */
  short: string
  /** Catalogue name of the skill or certificate, or the key phrase of an unknown one. */
  skill?: string
  /** Other skills that satisfy the requirement just as well ("Python or Java"). */
  alternatives?: string[]
  /** Minimum years, for skills and experience. */
  years?: number
  /** Area of work the years are asked for; without it, any work counts. */
  area?: string
  /** Rank of the degree in degreeLevels; -1 when any degree will do. */
  degree?: number
  /** Field of study. */
  subject?: string
  /** Spoken language and the CEFR level asked for. */
  language?: string
  level?: LanguageLevel
}

const numberWords = [
  'zero',
  'one',
  'two',
  'three',
  'four',
  'five',
  'six',
  'seven',
  'eight',
  'nine',
  'ten',
  'eleven',
  'twelve',
]
const yearsPattern = new RegExp(
  String.raw`(?<![\w.])(\d{1,2}|${numberWords.slice(1).join('|')})\s*(?:\(\d{1,2}\)\s*)?(?:\+|plus|or more|(?:-|–|to)\s*\d{1,2})?\s*(?:full\s+)?(?:years?|yrs?)\b(?!\s*(?:of age|old))`,
  'i',
)
const niceWords =
  /\b(?:is a (?:big )?plus|are a plus|would be a plus|nice to have|nice-to-have|a bonus|bonus points|preferred|preferably|desirable|ideally|an advantage|advantageous|not required|optional|beneficial)\b/i
const leadIn =
  /^(?:you(?:'ve|’ve| have| are| bring| hold| can| know| show| like| enjoy)?|we expect|ideally|preferably|(?:an? )?(?:proven|strong|solid|good|excellent|first|some|basic|deep|hands-on|practical|professional|relevant|sound|demonstrable)|(?:experience|knowledge|understanding|familiarity|command|ability|willingness|exposure|proficiency|background|skills?|expertise|certification|certificate)(?: (?:with|in|of|to|as))?|confident(?: in| with)?|comfortable(?: with)?|familiar with|able to|willing to|happy to|track record (?:of|in)|the|an?|and|also)\s+/i

/** The first "5+ years", "at least five years" or "3-5 years" of a text, as the lower number. */
export function readYears(text: string): number | undefined {
  const found = yearsPattern.exec(text)?.[1]?.toLowerCase()
  if (found === undefined) return undefined
  const value = /\d/.test(found) ? Number(found) : numberWords.indexOf(found)
  return value > 0 ? value : undefined
}

/** Everything one line asks for; a line that names nothing known yields one requirement of type `other`. */
export function readRequirements(line: string, section: 'must' | 'nice'): Requirement[] {
  const text = line.trim().replace(/\s+/g, ' ')
  const kind = niceWords.test(text) ? 'nice' : section
  const found: Requirement[] = []
  let rest = text
  const degree = readDegree(rest)
  if (degree) {
    found.push({ text, kind, type: 'degree', short: degree.short, degree: degree.rank, subject: degree.subject })
    rest = degree.rest
  }
  const languages = languageCue.test(rest) || /^\W*\p{L}+\W*$/u.test(rest) ? readLanguages(rest) : []
  for (const wanted of languages) found.push({ text, kind, type: 'language', ...languageRequirement(wanted) })
  for (const clause of rest.split(
    /;|,?\s+(?:and|as well as|plus|combined with)\s+(?=(?:\w+\s+)?(?:experience|knowledge|familiarity|at least|\d))/i,
  )) {
    found.push(...skillRequirements(clause, text, kind))
    if (!clause || found.some((requirement) => requirement.years !== undefined)) continue
    const years = readYears(clause)
    if (years !== undefined && findEntries(clause).length === 0)
      found.push(experienceRequirement(clause, years, text, kind))
  }
  return found.length > 0 ? found : [{ text, kind, type: 'other', ...keyPhrase(text) }]
}

const languageCue =
  /\b(?:fluen|native|level|[ABC][12]\b|written|spoken|speak|language|proficien|command|knowledge of|good|very good|conversational|excellent|mother tongue)/i

function languageRequirement(wanted: LanguageSkill): Pick<Requirement, 'short' | 'language' | 'level'> {
  const short = wanted.level ? `${wanted.language}, ${wanted.level}` : wanted.language
  return { short, language: wanted.language, level: wanted.level }
}

function skillRequirements(clause: string, text: string, kind: 'must' | 'nice'): Requirement[] {
  const matches = findEntries(clause)
  const first = matches[0]
  const last = matches.at(-1)
  if (!first || !last) return []
  const years = readYears(clause)
  const names = [...new Set(matches.map((match) => match.name))]
  let between = ''
  for (let i = 1; i < matches.length; i++) between += `${clause.slice(matches[i - 1]!.end, matches[i]!.start)}|`
  const either = names.length > 1 && /\bor\b|\/|\bsuch as\b|\be\.g\.|\blike\b/i.test(between)
  const groups = either ? [names] : names.map((name) => [name])
  return groups.map(([skill, ...alternatives]) => {
    const type = requirementType(skill!)
    const label = [skill!, ...alternatives]
      .map((name) => (type === 'certificate' ? certificateName(name) : name))
      .join(' or ')
    const timed = type === 'certificate' ? undefined : years
    const short = timed === undefined ? label : `${label}, ${timed}+ years`
    return {
      text,
      kind,
      type,
      short,
      skill: skill!,
      ...(alternatives.length > 0 && { alternatives }),
      ...(timed && { years: timed }),
    }
  })
}

function requirementType(name: string): RequirementType {
  const table = catalogueEntry(name)?.table
  return table === 'certificate' || table === 'soft' || table === 'sector' ? table : 'skill'
}

/** "PMP" -> "PMP certificate"; names that already say what they are stay as they are. */
export function certificateName(name: string): string {
  return /certif|licence|diploma|qualification|accountant|professional|administrator|foundation|master|associate|expert|manager|belt/i.test(
    name,
  )
    ? name
    : `${name} certificate`
}

function experienceRequirement(clause: string, years: number, text: string, kind: 'must' | 'nice'): Requirement {
  const names = fields.flatMap((field) => field.areaNames.map((name) => ({ name, area: field.area })))
  const lower = clause.toLowerCase()
  const area = names
    .sort((a, b) => b.name.length - a.name.length)
    .find(({ name }) => new RegExp(`\\b${name.toLowerCase()}\\b`).test(lower))?.area
  const short = `${area ?? 'professional experience'}, ${years}+ years`
  return { text, kind, type: 'experience', short, years, ...(area && { area }) }
}

/** The lowest degree that a text names, with its subject, and the text without that clause. */
export function readDegree(text: string): { rank: number; subject?: string; short: string; rest: string } | undefined {
  const named = degreeLevels
    .map((level, rank) => ({ rank, found: level.match.exec(text) }))
    .filter((hit) => hit.found !== null)
  const open =
    /\b(?:degree|diploma|studies)\s+(?:in|of)\b(?! (?:independence|freedom))|\b(?:university|college|academic) (?:degree|education|studies)\b/i.exec(
      text,
    )
  const start = Math.min(...named.map((hit) => hit.found!.index), open?.index ?? Number.POSITIVE_INFINITY)
  if (!Number.isFinite(start) || /\bhigh degree\b/i.test(text)) return undefined
  const rank = named[0]?.rank ?? -1
  const tail = text.slice(start)
  const stop =
    /;|\.\s|\.$|,?\s+(?:and|plus|with|combined with)\s+(?=(?:at least|several|\d|experience|hands|solid))|,\s*(?=\d|at least)/i.exec(
      tail,
    )
  const clause = stop ? tail.slice(0, stop.index) : tail
  const subjectPattern =
    /\b(?:in|of)\s+((?!science\b|arts\b|engineering (?:in|degree)|business administration \()(?:the )?[\p{Lu}][\p{L}&-]*(?:\s+(?:of |and )?[\p{Lu}][\p{L}&-]*)*|(?:[a-z]+ )?[a-z]{4,}(?=\s*(?:,|$|or\b|and\b|\()))/u
  const study = /\b(?:of )(?:science|arts|engineering|commerce)\b/i.exec(clause)
  const subject = subjectPattern.exec(study ? clause.slice(study.index + study[0].length) : clause)?.[1]
  const name = rank >= 0 ? degreeLevels[rank]!.name : 'Degree'
  const clean =
    subject && !/^(?:a|an|the)?\s*(?:related|relevant|similar|comparable)/i.test(subject)
      ? titleCase(subject)
      : undefined
  const rest = text.slice(0, start) + (stop ? tail.slice(stop.index) : '')
  return { rank, subject: clean, short: clean ? `${name} in ${clean}` : name, rest }
}

function titleCase(text: string): string {
  return text.trim().replace(/\b(?!and\b|of\b|the\b)([a-z])/g, (letter) => letter.toUpperCase())
}

/** Key phrase of a line that names nothing known: lead-in words dropped, at most eight words. */
function keyPhrase(text: string): { short: string; skill: string } {
  let phrase = text
    .replace(/\([^)]*\)/g, ' ')
    .replace(/\s+/g, ' ')
    .trim()
  for (let i = 0; i < 4 && leadIn.test(phrase) && phrase.split(' ').length > 2; i++) phrase = phrase.replace(leadIn, '')
  const clause = phrase
    .split(/[.;:!?]\s|[.;:!?]$|,\s/)[0]!
    .split(' ')
    .slice(0, 8)
    .join(' ')
    .trim()
  const skill = clause.replace(/\s+(?:and|or|with|of|in|to|the|a|for)$/i, '') || text
  return { short: skill.charAt(0).toUpperCase() + skill.slice(1), skill }
}

/** Drops repeated requirements (same short form; the must wins) and keeps the order. */
export function uniqueRequirements(requirements: readonly Requirement[]): Requirement[] {
  const kept = new Map<string, Requirement>()
  for (const requirement of requirements) {
    const key = requirement.short.toLowerCase()
    const earlier = kept.get(key)
    if (!earlier || (earlier.kind === 'nice' && requirement.kind === 'must')) kept.set(key, requirement)
  }
  return [...kept.values()]
}
