/** Invents a profile for a job: aims at a level of fit; whether it got there is the rubric's decision. */

import type { Random } from '../random.js'
import { degreeLevels } from './catalogue/people.js'
import * as phrases from './catalogue/phrases.js'
import {
  catalogueEntry,
  type FieldData,
  fields,
  firstNames,
  languageLevels,
  lastNames,
  otherSubjects,
  schools,
  skillsOf,
} from './catalogue.js'
import { pickCompany } from './company.js'
import { unionMonths } from './dates.js'
import { spellYears } from './facts.js'
import type { GeneratedJob } from './generatePost.js'
import { levelRank } from './language.js'
import type { Requirement } from './requirement.js'
import type { FitLevel, Status } from './rubric.js'

type Job = { title: string; company: string; from: number; to: number; lines: string[]; tools: string[] }
type Draft = {
  field: FieldData
  /** Latest first; `to` of the first may be the present. */
  jobs: Job[]
  present: boolean
  skills: { name: string; years?: number }[]
  degrees: string[]
  languages: string[]
  certificates: string[]
}

/** How likely each status is per requirement when aiming at a level: [met, partly]. */
const aims: Record<FitLevel, readonly [number, number]> = { high: [0.85, 0.13], medium: [0.52, 0.24], low: [0.2, 0.18] }

/**
 * Invents one profile as plain text.
 * @param now months as year * 12 + month of the day that "present" means
 */
export function generateProfile(generated: GeneratedJob, aim: FitLevel, now: number, random: Random): string {
  const own = aim === 'low' ? random.chance(0.65) : aim === 'medium' ? random.chance(0.95) : true
  const field = own ? generated.field : random.pick(fields)
  const [met, partly] = aims[aim]
  const goals = generated.job.requirements.map((wanted) => {
    const roll = random.float()
    const status: Status = roll < met ? 'met' : roll < met + partly ? 'partly' : 'notMet'
    return { wanted, status }
  })
  const draft = startDraft(field, goals, now, random)
  for (const goal of goals) fulfil(draft, goal.wanted, goal.status, random)
  addOwnColour(draft, generated.job.requirements, random)
  return renderDraft(draft, random)
}

function startDraft(
  field: FieldData,
  goals: readonly { wanted: Requirement; status: Status }[],
  now: number,
  random: Random,
): Draft {
  const asked = goals.find((goal) => goal.wanted.type === 'experience')
  const needed = Math.max(2, ...goals.filter((goal) => goal.status === 'met').map((goal) => goal.wanted.years ?? 0))
  const limit =
    asked && asked.status !== 'met' ? Math.max(1, (asked.wanted.years ?? 2) - (asked.status === 'partly' ? 1 : 2)) : 14
  const years = Math.min(
    needed + random.int(0, 5),
    Math.max(limit, asked?.status === 'partly' ? Math.ceil((asked.wanted.years ?? 2) / 2) : limit),
  )
  const present = random.chance(0.75)
  let end = present ? now : now - random.int(2, 8)
  const count = Math.max(1, Math.min(random.int(1, 4), Math.floor(years / 1.5)))
  const known = random.sample(
    field.employers.flatMap((kind) => phrases.employers[kind]),
    count,
  )
  const companies = known.map((name) => pickCompany([name], random))
  const cuts = companies.map(() => random.int(10, 20))
  const whole = cuts.reduce((sum, cut) => sum + cut, 0)
  const jobs = companies.map((company, i) => {
    const months = Math.max(8, Math.round(((years * 12 + 3) * cuts[i]!) / whole))
    const job = { title: random.pick(field.titles), company, from: end - months + 1, to: end, lines: [], tools: [] }
    end = job.from - random.int(1, 3)
    return job
  })
  return { field, jobs, present, skills: [], degrees: [], languages: [], certificates: [] }
}

/** Puts into the draft what gives a requirement the wanted status; what is not met is simply not there. */
function fulfil(draft: Draft, wanted: Requirement, status: Status, random: Random): void {
  if (status === 'notMet' && wanted.type !== 'language' && !(wanted.years && random.chance(0.3))) return
  const related = catalogueEntry(wanted.skill ?? '')?.related ?? []
  switch (wanted.type) {
    case 'degree':
      addDegree(draft, wanted, status, random)
      break
    case 'language':
      addLanguage(draft, wanted, status, random)
      break
    case 'certificate':
      if (status === 'met') draft.certificates.push(spelling(wanted.skill!, random))
      else if (related.length > 0) draft.certificates.push(random.pick(related))
      break
    case 'experience': // decided by the dates of the employments
    case 'other':
      break
    default:
      if (wanted.years !== undefined && (status === 'met' || random.chance(0.6) || related.length === 0))
        addTimed(draft, wanted, status, random)
      else if (status === 'met') addSkill(draft, wanted.skill!, random)
      else if (status === 'partly' && related.length > 0) addSkill(draft, random.pick(related), random)
  }
}

/** The catalogue name, or now and then a synonym as people write it. */
function spelling(name: string, random: Random): string {
  const synonyms = catalogueEntry(name)?.synonyms ?? []
  return synonyms.length > 0 && random.chance(0.2) ? random.pick(synonyms.slice(0, 2)) : name
}

function addSkill(draft: Draft, name: string, random: Random): void {
  const table = catalogueEntry(name)?.table
  const feats = table === 'soft' ? phrases.softFeats[name] : table === 'sector' ? phrases.sectorFeats[name] : undefined
  if (feats) random.pick(draft.jobs).lines.push(random.pick(feats))
  else if (random.chance(0.45)) draft.skills.push({ name: spelling(name, random) })
  else useAtWork(random.pick(draft.jobs), name, random)
}

function useAtWork(job: Job, name: string, random: Random): void {
  if (random.chance(0.5)) job.tools.push(name)
  else job.lines.push(random.pick(phrases.skillFeats.slice(0, 5)).replace('{s}', name))
}

/** A skill with years: the set of employments whose length comes closest to what the status needs. */
function addTimed(draft: Draft, wanted: Requirement, status: Status, random: Random): void {
  const needed = wanted.years ?? 1
  const fits = (years: number) =>
    status === 'met'
      ? years >= needed
      : status === 'partly'
        ? years < needed && years * 2 >= needed
        : years * 2 < needed && years > 0
  const subsets = random.shuffle(
    [...Array(2 ** draft.jobs.length - 1).keys()].map((bits) => draft.jobs.filter((_, i) => ((bits + 1) >> i) & 1)),
  )
  const chosen = subsets.find((jobs) => fits(yearsOf(jobs)))
  if (!chosen) {
    const total = yearsOf(draft.jobs)
    const stated = [...Array(total).keys()].map((year) => year + 1).filter(fits)
    if (stated.length > 0) draft.skills.push({ name: wanted.skill!, years: random.pick(stated) })
    return
  }
  for (const job of chosen) useAtWork(job, wanted.skill!, random)
  if (random.chance(0.4)) draft.skills.push({ name: wanted.skill!, years: yearsOf(chosen) })
}

function yearsOf(jobs: readonly Job[]): number {
  return Math.floor(unionMonths(jobs.map((job) => ({ from: job.from, to: job.to + 1 }))) / 12)
}

function addDegree(draft: Draft, wanted: Requirement, status: Status, random: Random): void {
  const rank = wanted.degree ?? 2
  const lower = rank > 0 && random.chance(0.5)
  const level =
    status === 'met'
      ? Math.min(rank === 0 ? 0 : rank + (random.chance(0.2) ? 1 : 0), 4)
      : lower
        ? Math.max(0, rank === 2 ? 0 : rank - 1)
        : Math.max(rank, 0)
  const subject =
    status === 'met' || lower
      ? random.chance(0.7)
        ? (wanted.subject ?? random.pick(draft.field.degrees))
        : random.pick(draft.field.degrees)
      : random.pick(otherSubjects)
  draft.degrees.push(`${degreeLevels[level]!.name} in ${subject}, ${random.pick(schools)}`)
}

function addLanguage(draft: Draft, wanted: Requirement, status: Status, random: Random): void {
  if (status === 'notMet') return
  const rank = levelRank(wanted.level ?? 'B1')
  const level = status === 'met' ? random.int(rank, languageLevels.length - 1) : Math.max(0, rank - random.int(1, 2))
  draft.languages.push(`${wanted.language} (${languageLevels[level]})`)
}

/** What every profile has besides the job at hand: further skills, a degree, languages; none of it touches the requirements. */
function addOwnColour(draft: Draft, requirements: readonly Requirement[], random: Random): void {
  const touched = new Set(
    requirements.flatMap((wanted) => [wanted.skill ?? '', ...(catalogueEntry(wanted.skill ?? '')?.related ?? [])]),
  )
  const free = skillsOf(draft.field.id).filter(
    (skill) => !touched.has(skill.name) && !draft.skills.some((own) => own.name === skill.name),
  )
  const extra = random.sample(free, random.int(3, 5))
  for (const skill of extra) {
    if (random.chance(0.6)) draft.skills.push({ name: spelling(skill.name, random) })
    else useAtWork(random.pick(draft.jobs), skill.name, random)
  }
  if (draft.degrees.length === 0 && !requirements.some((wanted) => wanted.type === 'degree') && random.chance(0.8)) {
    draft.degrees.push(
      `${degreeLevels[random.pick([0, 2, 2, 3])]!.name} in ${random.pick(draft.field.degrees)}, ${random.pick(schools)}`,
    )
  }
  const asked = new Set(requirements.map((wanted) => wanted.language))
  for (const language of random.sample(
    ['English', 'German', 'Polish', 'Spanish', 'French', 'Turkish'],
    random.int(1, 2),
  )) {
    if (!asked.has(language))
      draft.languages.push(`${language} (${random.pick(['native', 'C1', 'B2', 'B1', 'native'])})`)
  }
  const feats = random.sample(draft.field.feats, draft.jobs.length + 1)
  for (const [i, feat] of feats.entries()) draft.jobs[i % draft.jobs.length]!.lines.push(feat)
}

const months = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec']

function renderDraft(draft: Draft, random: Random): string {
  const name = `${random.pick(firstNames)} ${random.pick(lastNames)}`
  const latest = draft.jobs[0]!
  const iso = random.chance(0.3)
  const month = (at: number) =>
    iso
      ? `${String((at % 12) + 1).padStart(2, '0')}/${Math.floor(at / 12)}`
      : `${months[at % 12]} ${Math.floor(at / 12)}`
  const summary = random.pick(phrases.summaries)
    .replace('{title}', latest.title).replace('{years}', spellYears(yearsOf(draft.jobs)))
    .replace('{company}', latest.company).replace('{area}', draft.field.area) // biome-ignore format: four fillings
  const bullet = random.pick(['- ', '• '])
  const entry = random.pick([
    (job: Job, span: string) => `${job.title}, ${job.company} (${span})`,
    (job: Job, span: string) => `${job.title} at ${job.company}, ${span}`,
    (job: Job, span: string) => `${span}: ${job.title}, ${job.company}`,
    (job: Job, span: string) => `${job.company}\n${job.title} | ${span}`,
  ])
  const experience = draft.jobs.map((job, i) => {
    const span = `${month(job.from)} - ${i === 0 && draft.present ? 'present' : month(job.to)}`
    const lines = [...new Set(random.shuffle(job.lines))].map((line) => bullet + line)
    const tools = [...new Set(job.tools)]
    return [
      entry(job, span),
      ...lines,
      ...(tools.length > 0 ? [`${random.chance(0.5) ? 'Focus' : 'Used'}: ${tools.join(', ')}`] : []),
    ].join('\n')
  })
  const skill = ({ name: label, years }: { name: string; years?: number }) =>
    years === undefined ? label : `${label} (${spellYears(years)})`
  const block = (headings: readonly string[], lines: readonly string[]) =>
    lines.length > 0 ? [[random.pick(headings), ...lines].join('\n')] : []
  const skills = block(
    ['Skills', 'Key skills', 'Core competencies'],
    draft.skills.length > 0 ? [random.shuffle(draft.skills).map(skill).join(', ')] : [],
  )
  const work = block(['Experience', 'Work experience', 'Employment'], [experience.join('\n\n')])
  return [
    `${name}\n${latest.title}`,
    ...block(['Summary', 'About me', 'Profile'], summary ? [summary] : []),
    ...(random.chance(0.5) ? [...skills, ...work] : [...work, ...skills]),
    ...block(['Education'], draft.degrees),
    ...block(['Languages'], draft.languages.length > 0 ? [random.shuffle(draft.languages).join(', ')] : []),
    ...block(['Certificates', 'Certifications'], draft.certificates.map((certificate) => bullet + certificate)),
  ].join('\n\n') // biome-ignore format: one section a line
}
