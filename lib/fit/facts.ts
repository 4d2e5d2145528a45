/** What a profile proves, ready to be looked up: each fact with a short phrase for prompts and a literal quote. */
import { areasOfTitle, catalogueEntry, degreeLevels } from './catalogue.js'
import { type Period, toPeriod, unionMonths } from './dates.js'
import type { LanguageLevel } from './language.js'
import { findEntries, findNames } from './match.js'
import type { Experience, Profile } from './profile.js'
import { certificateName } from './requirement.js'

/**
 * Something the profile shows. `quote` stands in the profile's text literally; `phrase` is the regular short form: what it is about, and the proof
 * in brackets, "Python (3 years at Acme)". Requirements have no brackets ("Python, 5+ years"), so that a model that has just written one finds by
 * its first word and the bracket after it what the profile shows.
 */
export type Fact = { name: string; phrase: string; quote: string }
/** A skill; `years` is undefined when the profile only lists it. */
export type SkillFact = Fact & { years?: number }
export type DegreeFact = Fact & { rank: number; subject?: string }
export type LanguageFact = Fact & { level?: LanguageLevel }
export type YearsFact = Fact & { years: number }

export type Facts = {
  skills: SkillFact[]
  degrees: DegreeFact[]
  languages: LanguageFact[]
  certificates: Fact[]
  /** Years over all employments, overlapping ones counted once. */
  total?: YearsFact
  /** Years by area of work. */
  areas: YearsFact[]
}

/** "7 years", "1 year", "under 1 year" for a number of whole years. */
export function spellYears(years: number): string {
  return years < 1 ? 'under 1 year' : `${years} ${years === 1 ? 'year' : 'years'}`
}

/** Everything a profile proves. */
export function profileFacts(profile: Profile): Facts {
  const total = yearsIn(profile, profile.experience)
  const areaNames = [...new Set(profile.experience.flatMap((work) => areasOfTitle(work.title)))]
  const areas = areaNames.map((area) => {
    const works = profile.experience.filter((work) => areasOfTitle(work.title).includes(area))
    const years = yearsIn(profile, works)
    return {
      name: area,
      years,
      phrase: `${area} (${spellYears(years)}${atCompanies(works)})`,
      quote: quoteWork(profile, works[0]!),
    }
  })
  const first = profile.experience[0]
  return {
    skills: skillFacts(profile),
    degrees: profile.education.map((entry) => degreeFact(profile, entry)),
    languages: profile.languages.map(({ language, level }) => {
      const phrase = `${language} (${level ?? 'listed'})`
      return { name: language, ...(level && { level }), phrase, quote: quoteOf(profile, [language]) }
    }),
    certificates: profile.certificates.map((name) => {
      const spellings = [name, ...(catalogueEntry(name)?.synonyms ?? [])]
      return { name, phrase: `${clip(certificateName(name))} (held)`, quote: quoteOf(profile, spellings) }
    }),
    ...(first && {
      total: {
        name: 'experience',
        years: total,
        phrase: `professional experience (${spellYears(total)})`,
        quote: quoteWork(profile, first),
      },
    }),
    areas,
  }
}

function degreeFact(profile: Profile, entry: Profile['education'][number]): DegreeFact {
  const level = degreeLevels[entry.rank]?.name
  const phrase = level && entry.subject ? `${level} in ${entry.subject}` : (level ?? entry.degree)
  const base = {
    name: level ?? entry.degree,
    rank: entry.rank,
    phrase: `${clip(phrase)} (completed)`,
    quote: quoteOf(profile, [entry.degree]),
  }
  return entry.subject ? { ...base, subject: entry.subject } : base
}

function skillFacts(profile: Profile): SkillFact[] {
  const stated = new Map<string, { years?: number; spelling: string }>()
  for (const skill of profile.skills) {
    const found = findNames(skill.name, 'skill')
    for (const name of found.length > 0 ? found : [skill.name]) {
      const earlier = stated.get(name)?.years
      const years = skill.years === undefined ? earlier : Math.max(skill.years, earlier ?? 0)
      stated.set(name, { spelling: skill.name, ...(years !== undefined && { years }) })
    }
  }
  const mentioned = findNames(`${profile.headline}\n${profile.summary}`, 'skill')
  const worked = profile.experience.flatMap((work) => work.skills)
  const names = [...new Set([...stated.keys(), ...worked, ...mentioned])]
  return names.map((name) => skillFact(profile, name, stated.get(name)))
}

function skillFact(
  profile: Profile,
  name: string,
  stated: { years?: number; spelling: string } | undefined,
): SkillFact {
  const works = profile.experience.filter((work) => work.skills.includes(name))
  const computed = works.length > 0 ? yearsIn(profile, works) : undefined
  const years = stated?.years === undefined ? computed : Math.floor(stated.years)
  const table = catalogueEntry(name)?.table
  const quote = quoteSkill(profile, name, stated?.spelling)
  const withYears = years === undefined ? {} : { years }
  if ((table === 'soft' || table === 'sector') && works[0]) {
    const line = works[0].highlights.find((highlight) => findNames(highlight, 'skill').includes(name))
    if (line) return { name, ...withYears, phrase: `${name} ("${clip(line)}"${at(works[0].company)})`, quote: line }
  }
  if (years === undefined) return { name, phrase: `${name} (listed)`, quote }
  const places = years === computed ? atCompanies(works) : ''
  return { name, ...withYears, phrase: `${name} (${spellYears(years)}${places})`, quote }
}

/** Whole years covered by the employments, overlaps counted once. */
function yearsIn(profile: Profile, works: readonly Experience[]): number {
  const periods: Period[] = works.map((work) => toPeriod(work.start, work.end, profile.asOf))
  return Math.floor(unionMonths(periods) / 12)
}

const at = (company: string) => (company ? ` at ${clip(company, 4)}` : '')

/** " at Acme"; with more employers the phrase would grow too long, so none. */
function atCompanies(works: readonly Experience[]): string {
  const companies = new Set(works.map((work) => work.company).filter(Boolean))
  return companies.size === 1 ? at([...companies][0]!) : ''
}

/** At most `count` words, without a full stop at the end. */
export function clip(text: string, count = 9): string {
  const all = text.trim().split(/\s+/)
  const cut = all
    .slice(0, count)
    .join(' ')
    .replace(/[.,;:]+$/, '')
  return all.length > count ? cut.replace(/\s+(?:and|or|of|for|in|with|the|a|to|on|at|by|from|into|that)$/i, '') : cut
}

/** The line of the profile that names one of the spellings as a whole word, cut to the sentence around it. */
function quoteOf(profile: Profile, spellings: readonly string[]): string {
  const lower = profile.text.toLowerCase()
  for (const spelling of spellings) {
    const index = lower.indexOf(spelling.toLowerCase())
    if (spelling && index >= 0) return profile.text.slice(index, index + spelling.length)
  }
  return ''
}

function quoteSkill(profile: Profile, name: string, spelling: string | undefined): string {
  for (const line of profile.text.split('\n')) {
    const match = findEntries(line).find((entry) => entry.name === name)
    if (!match) continue
    const bare = line.trim().replace(/^[-*•]\s+/, '')
    return bare.length <= 120 ? bare : line.slice(match.start, match.end)
  }
  return quoteOf(profile, [spelling ?? name, name])
}

function quoteWork(profile: Profile, work: Experience): string {
  const line = profile.text
    .split('\n')
    .find((text) => text.includes(work.title) && (!work.company || text.includes(work.company)))
  return line?.trim() ?? quoteOf(profile, [work.title, work.company])
}
