/** Invents a job: what it asks for, and the post as plain text. */

import type { Random } from '../random.js'
import * as phrases from './catalogue/phrases.js'
import {
  certificates,
  degreeLevels,
  type FieldData,
  fields,
  languageLevels,
  skillsOf,
  spokenLanguages,
} from './catalogue.js'
import { type JobPost, parseJob } from './job.js'
import { readYears } from './requirement.js'
import { countWords } from './text.js'

/** A requirement as invented, before it is put into words. */
export type Wish = { line: string; kind: 'must' | 'nice' }

/** An invented job: its field, its post, and the post as read back by parseJob. */
export type GeneratedJob = { field: FieldData; text: string; job: JobPost }

const numberWords = ['zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight']

/** Invents one job of a random field, with 5 to 8 requirements and 300 to 700 words. */
export function generateJob(random: Random): GeneratedJob {
  const field = random.pick(fields)
  const wishes = inventWishes(field, random)
  const text = renderPost(field, wishes, random)
  return { field, text, job: parseJob(text) }
}

function fill(template: string, values: Record<string, string>): string {
  const line = template.replace(/\{(\w+)\}/g, (_, key: string) => values[key] ?? '').replace(/\ba (?=[AEIO])/g, 'an ')
  return line.charAt(0).toUpperCase() + line.slice(1)
}

const mustKinds = ['degree', 'language', 'certificate', 'experience', 'soft'] as const

function inventWishes(field: FieldData, random: Random): Wish[] {
  const used = new Set<string>()
  const musts: Wish[] = []
  const timed = random.int(1, 2)
  for (let i = 0; i < timed; i++) musts.push({ line: skillLine(field, random, used, true), kind: 'must' })
  const plain = random.int(1, 2)
  for (let i = 0; i < plain; i++) musts.push({ line: skillLine(field, random, used, false), kind: 'must' })
  for (const kind of random.sample(mustKinds, random.int(1, 2)))
    musts.push({ line: wishLine(kind, field, random, used), kind: 'must' })
  const niceKinds = random.sample(
    ['skill', 'skill2', 'soft', 'sector', 'language', 'certificate'] as const,
    random.int(2, 8 - musts.length > 3 ? 3 : 2),
  )
  const languageAsked = musts.some((wish) => spokenLanguages.some((language) => wish.line.includes(language)))
  const nices = niceKinds.map((kind): Wish => {
    if (kind === 'skill' || kind === 'skill2' || (kind === 'language' && languageAsked)) {
      return { line: fill(random.pick(phrases.niceSkillPhrases), { s: pickSkill(field, random, used) }), kind: 'nice' }
    }
    return { line: wishLine(kind, field, random, used), kind: 'nice' }
  })
  return [...(random.chance(0.6) ? musts : random.shuffle(musts)), ...nices]
}

function pickSkill(field: FieldData, random: Random, used: Set<string>): string {
  const free = skillsOf(field.id).filter((skill) => !used.has(skill.name))
  const skill = random.pick(free)
  used.add(skill.name)
  for (const name of [...skill.related, ...skill.synonyms]) if (random.chance(0.7)) used.add(name)
  return skill.name
}

function skillLine(field: FieldData, random: Random, used: Set<string>, timed: boolean): string {
  const s = pickSkill(field, random, used)
  if (!timed) return fill(random.pick(phrases.skillPhrases), { s })
  const n = random.pick([2, 2, 3, 3, 3, 4, 5, 5, 6])
  return fill(random.pick(phrases.skillYearsPhrases), { s, n: String(n), w: numberWords[n]! })
}

function wishLine(
  kind: (typeof mustKinds)[number] | 'sector',
  field: FieldData,
  random: Random,
  used: Set<string>,
): string {
  const n = random.pick([2, 3, 3, 4, 5, 5, 6, 8])
  const years = { n: String(n), w: numberWords[n]! }
  switch (kind) {
    case 'degree': {
      const d = random.pick(
        field.id === 'kitchen' || field.id === 'nursing' || field.id === 'logistics' ? [0, 0, 2] : [2, 2, 2, 3],
      )
      return fill(random.pick(phrases.degreePhrases), { d: degreeLevels[d]!.name, f: random.pick(field.degrees) })
    }
    case 'language': {
      const l = random.pick(spokenLanguages.slice(0, random.chance(0.7) ? 2 : 10))
      if (random.chance(0.3)) return fill(random.pick(phrases.fluentPhrases), { l })
      return fill(random.pick(phrases.languagePhrases), { l, v: random.pick(languageLevels.slice(2, 5)) })
    }
    case 'certificate': {
      const known = field.certificates.filter((name) => certificates.some((entry) => entry.name === name))
      return fill(random.pick(phrases.certificatePhrases), { c: random.pick(known) })
    }
    case 'experience':
      if (random.chance(0.35)) return fill(random.pick(phrases.totalPhrases), years)
      return fill(random.pick(phrases.areaPhrases), { ...years, a: field.area })
    case 'sector':
      return fill(random.pick(phrases.sectorPhrases), { s: random.pick(field.sectors) })
    default: {
      const soft = random.pick(skillsOf('soft').filter((skill) => !used.has(skill.name)))
      used.add(soft.name)
      return fill(random.pick(phrases.softPhrases), { s: soft.name })
    }
  }
}

type Style = { heading: (words: string) => string; bullet: string }

const styles: readonly Style[] = [
  { heading: (words) => words, bullet: '- ' },
  { heading: (words) => `${words}:`, bullet: '• ' },
  { heading: (words) => `## ${words}`, bullet: '* ' },
  { heading: (words) => words.toUpperCase(), bullet: '- ' },
  { heading: (words) => `**${words}**`, bullet: '- ' },
]

function renderPost(field: FieldData, wishes: readonly Wish[], random: Random): string {
  const years = Math.max(0, ...wishes.map((wish) => readYears(wish.line) ?? 0))
  const level = random.pick(years >= 5 ? ['', 'Senior ', 'Lead '] : years <= 2 ? ['', 'Junior '] : ['', '', 'Senior '])
  const title =
    field.id === 'kitchen' || field.id === 'nursing' ? random.pick(field.titles) : level + random.pick(field.titles)
  const company = random.pick(phrases.employers[random.pick(field.employers)])
  const place = random.pick(phrases.places)
  const values = {
    title,
    company,
    place,
    area: field.area,
    size: String(random.int(3, 60) * 10),
    age: String(random.int(6, 90)),
  }
  const style = random.pick(styles)
  const list = (name: keyof typeof phrases.postHeadings, lines: readonly string[]) =>
    [style.heading(random.pick(phrases.postHeadings[name])), ...lines.map((line) => style.bullet + line)].join('\n')
  const lines = (kind: Wish['kind']) => wishes.filter((wish) => wish.kind === kind).map((wish) => wish.line)
  const tasks = list('responsibilities', random.sample(field.duties, random.int(5, 8)))
  const asks = [list('must', lines('must')), list('nice', lines('nice'))]
  const about = `${style.heading(random.pick(phrases.postHeadings.about))}\n${fill(random.pick(phrases.aboutParagraphs), values)}`
  const aboutFirst = random.chance(0.4)
  const blocks = [
    header(values, random),
    ...(aboutFirst ? [about] : []),
    ...(aboutFirst ? [`${style.heading('About the role')}\n`] : ['']).map(
      (prefix) => prefix + fill(random.pick(phrases.introductions), values),
    ),
    ...(random.chance(0.8) ? [tasks, ...asks] : [...asks, tasks]),
    list('benefits', random.sample(phrases.benefitLines, random.int(5, 8))),
    ...(aboutFirst ? [] : [about]),
    `${style.heading(random.pick(phrases.postHeadings.apply))}\n${fill(random.pick(phrases.applyParagraphs), values)}`,
    fill(random.pick(phrases.equalityParagraphs), values),
  ]
  return lengthen(blocks, style, random).join('\n\n')
}

function header(values: { title: string; company: string; place: string }, random: Random): string {
  const { title, company, place } = values
  return random.pick([
    `${title} at ${company}\nLocation: ${place}`,
    `${title}\nCompany: ${company}\nLocation: ${place}`,
    `${company} is hiring: ${title}\nLocation: ${place}`,
    `Job title: ${title}\nEmployer: ${company}\nLocation: ${place}\nFull time, permanent`,
    `${title} (m/f/d)\nCompany: ${company}\nLocation: ${place}`,
  ])
}

/** Adds sections after the introduction and before the last two blocks until the post is as long as the dice say. */
function lengthen(blocks: readonly string[], style: Style, random: Random): string[] {
  const target = random.int(310, 620)
  const [front, back] = [blocks.slice(0, -2), blocks.slice(-2)]
  for (const extra of random.shuffle(phrases.extraSections)) {
    if (countWords([...front, ...back].join(' ')) >= target) break
    front.push(`${style.heading(random.pick(extra.headings))}\n${random.pick(extra.paragraphs)}`)
  }
  return [...front, ...back]
}
