/**
 * What the base models in assets/ are pre-trained on: posts and profiles as plain text, word lists to repeat, facts to look up, verdicts to sum up,
 * and questions about condensed prompts. They teach to copy, to tell what is there from what is not, and the sentence that says so. To explain a whole prompt is not in
 * it: that is what a teacher is fine-tuned on and a student learns.
 */

import { Random } from '../random.js'
import { employers } from './catalogue/phrases.js'
import { type CatalogueEntry, catalogueEntry, certificates, languageLevels, skills } from './catalogue.js'
import { pickCompany } from './company.js'
import { explainFinding, maxRequirements, summarise } from './explain.js'
import { type SkillFact, spellYears } from './facts.js'
import type { GeneratedPair } from './generate.js'
import { type Finding, judgeNamed, levelOf, type Status } from './rubric.js'

/** A document of the corpus: running text, or a question with its answer. */
export type CorpusDocument = { text: string } | { user: string; assistant: string }

type Question = { ask: string; answer: string }

/** The documents of one pair: what there is to read and to look up, and verdicts to sum up. Depends on the pair alone. */
export function corpusDocuments(pair: GeneratedPair): CorpusDocument[] {
  const random = new Random(`corpus/${pair.id}`)
  return [...readings(pair, random), summary(pair, random), summary(pair, random)]
}

/** A pair's post or its profile now and then, a list, look-ups, and two sets of questions. */
function readings(pair: GeneratedPair, random: Random): CorpusDocument[] {
  const documents: CorpusDocument[] = []
  if (random.chance(0.04)) documents.push({ text: pair.jobText })
  if (random.chance(0.04)) documents.push({ text: pair.profileText })
  documents.push(random.chance(0.3) ? repetition(pair, random) : shuffled(random))
  for (let i = 0; i < 3; i++) documents.push(lookup(random))
  documents.push(asked(pair, random.sample(aboutLists(pair), 6)))
  const questions = random.shuffle([...pair.assessment.findings.map((finding) => aboutRequirement(finding, random))])
  documents.push(asked(pair, questions))
  return documents
}

/** Lists to repeat and look-ups for a pair, and nothing else: what a model learns to copy and to find from before it can read. */
export function listDocuments(pair: GeneratedPair): CorpusDocument[] {
  const random = new Random(`lists/${pair.id}`)
  const some = (count: number, make: () => CorpusDocument) => Array.from({ length: count }, make)
  return [
    ...some(1, () => repetition(pair, random)),
    ...some(4, () => shuffled(random)),
    ...some(3, () => lookup(random)),
  ]
}

/** Verdicts, as they came out or drawn anew, and what follows from them: match, gap and level. */
function summary({ assessment }: GeneratedPair, random: Random): CorpusDocument {
  const lean = random.float()
  const drawn = (): Status => (random.chance(lean) ? 'met' : random.pick(['partly', 'notMet', 'notMet']))
  const real = random.chance(0.5)
  const findings = assessment.findings
    .slice(0, maxRequirements)
    .map((finding) => (real ? finding : { ...finding, status: drawn() }))
  const drawnLine = ({ requirement: { short, kind }, status }: Finding) =>
    `${short}${kind === 'nice' ? ', nice to have' : ''} - ${VERDICT[status]}.`
  const line = real ? explainFinding : drawnLine
  const { level } = levelOf(findings.map(({ requirement, status }) => ({ kind: requirement.kind, status })))
  return {
    user: `Sum up:\n${findings.map((finding, i) => `${i + 1}. ${line(finding)}`).join('\n')}`,
    assistant: `${summarise(findings)}\nFit: ${level}`,
  }
}

/** A random list of words and names, and the same list again: nothing but copying predicts it. */
function repetition({ jobText, assessment }: GeneratedPair, random: Random): CorpusDocument {
  const length = 1 + shortOrLong(random, 4.5)
  const words = random.sample(jobText.split(/\s+/), 16)
  const terms = assessment.findings.map(({ requirement }) => requirement.short)
  const names = Array.from({ length: 12 }, () => pickCompany(employed, random))
  const list = random
    .shuffle([...words, ...terms, ...names])
    .slice(0, length)
    .join('; ')
  return { user: `Repeat:\n${list}`, assistant: list }
}

/** Facts to repeat in another order: after each name only the proof that belongs to it is right. */
function shuffled(random: Random): CorpusDocument {
  const facts = listedFacts(random).map(({ phrase }) => phrase)
  return { user: `Shuffle:\n${facts.join('; ')}`, assistant: random.shuffle(facts).join('; ') }
}

const known: readonly CatalogueEntry[] = [...skills, ...certificates]
const employed: readonly string[] = Object.values(employers).flat()

/** A list of facts and things to look up in it. Half of them are not there: then it is a related fact that counts in part, or nothing. */
function lookup(random: Random): CorpusDocument {
  const facts = listedFacts(random)
  const asked = new Map<string, { entry: CatalogueEntry; years?: number }>()
  const count = shortOrLong(random, 3)
  for (let i = 0; i < count; i++) {
    const fact = random.pick(facts)
    const roll = random.float()
    const near = roll < 0.7 ? known.filter(({ related }) => related.includes(fact.name)) : []
    const entry = roll < 0.5 ? catalogueEntry(fact.name)! : random.pick(near.length > 0 ? near : known)
    asked.set(entry.name, { entry, ...(random.chance(0.4) && { years: random.int(2, 8) }) })
  }
  const inSentences = random.chance(0.6)
  const lines = [...asked.values()].map(({ entry, years }) => {
    const ask = years === undefined ? entry.name : `${entry.name}, ${years}+ years`
    const requirement = { text: ask, kind: 'must', type: 'skill', short: ask, skill: entry.name, years } as const
    const finding = judgeNamed(requirement, facts)
    const answer = inSentences
      ? explainFinding(finding)
      : `${ask} - ${finding.evidence?.phrase ?? 'nothing'} - ${VERDICT[finding.status]}.`
    return { ask, answer }
  })
  const wanted = [inSentences ? 'Judge:' : 'Find:', ...lines.map(({ ask }, i) => `${i + 1}. ${ask}`)]
  const list = `In: ${facts.map(({ phrase }) => phrase).join('; ')}`
  return {
    user: (random.chance(0.6) ? [...wanted, list] : [list, ...wanted]).join('\n'),
    assistant: lines.map(({ answer }, i) => `${i + 1}. ${answer}`).join('\n'),
  }
}

/** 1 to 2^most, short lists as often as long ones: the fewer places there are to look at, the sooner looking is found. */
const shortOrLong = (random: Random, most: number) => Math.round(2 ** (most * random.float()))

const listedFacts = (random: Random): SkillFact[] =>
  random.sample(known, shortOrLong(random, 4)).map(({ name }) => listedFact(name, random))

function listedFact(name: string, random: Random): SkillFact {
  if (random.chance(0.4)) return { name, phrase: `${name} (listed)`, quote: name }
  const years = random.int(0, 9)
  const place = random.chance(0.6) ? ` at ${pickCompany(employed, random)}` : ''
  return { name, years, phrase: `${name} (${spellYears(years)}${place})`, quote: name }
}

/**
 * What is one token each: the proofs and demands that follow a name. Then one look at what follows the same name elsewhere copies a proof or
 * tells that there is none, which is what small models can do.
 */
export const tokenizerPhrases: readonly string[] = [
  ...Array.from({ length: 21 }, (_, years) => ` (${spellYears(years)}`).flatMap((proof) => [proof, `${proof} at`]),
  ...Array.from({ length: 15 }, (_, i) => `, ${i + 1}+ years`),
  ...languageLevels.flatMap((level) => [` (${level})`, `, ${level}`]),
  ' (listed)',
  ' (held)',
  ' (completed)',
  ', nice to have',
]

/** What a tokenizer is trained on: what there is to read, and the words of the task itself, those of its sums among them. */
export function tokenizerTexts(pair: GeneratedPair): string[] {
  const texts = readings(pair, new Random(`corpus/${pair.id}`)).map((d) =>
    'text' in d ? d.text : `${d.user}\n${d.assistant}`,
  )
  return [...texts, pair.prompt.system, pair.explanation.replace(numbers, '')]
}

const numbers = /^\d+\. /gm

function asked({ prompt }: GeneratedPair, questions: readonly Question[]): CorpusDocument {
  return {
    // The numbers belong to the questions here.
    user: [prompt.user.replace(numbers, '- '), 'Questions:', ...questions.map(({ ask }, i) => `${i + 1}. ${ask}`)].join(
      '\n',
    ),
    assistant: questions.map(({ answer }, i) => `${i + 1}. ${answer}`).join('\n'),
  }
}

const VERDICT: Record<Status, string> = { met: 'enough', partly: 'in part', notMet: 'not enough' }

function aboutRequirement({ requirement, status, evidence }: Finding, random: Random): Question {
  const { short, kind } = requirement
  const shown = evidence?.phrase.replace(/\.$/, '')
  const draw = random.float()
  if (draw < 0.3) return { ask: `Is ${short} shown?`, answer: `${shown ?? 'Nothing'}; ${VERDICT[status]}.` }
  if (draw < 0.6)
    return { ask: `How about ${short}?`, answer: `${short} - ${shown ?? 'nothing'} - ${VERDICT[status]}.` }
  if (draw < 0.9) return { ask: `What is said about ${short}?`, answer: `${shown ?? 'Nothing'}.` }
  return { ask: `Is ${short} a must?`, answer: kind === 'must' ? 'Yes, a must.' : 'No, nice to have.' }
}

function aboutLists({ prompt, assessment }: GeneratedPair): Question[] {
  const shorts = (kind: 'must' | 'nice') =>
    assessment.findings
      .filter(({ requirement }) => requirement.kind === kind)
      .map(({ requirement }) => requirement.short)
      .join('; ')
  const count = (kind: 'must' | 'nice') => {
    const all = assessment.findings.filter(({ requirement }) => requirement.kind === kind)
    const having = (status: Status) => all.filter((finding) => finding.status === status).length
    return `${having('met')} enough, ${having('partly')} in part, of ${all.length}.`
  }
  const line = (name: string) =>
    prompt.user
      .split('\n')
      .find((text) => text.startsWith(`${name}: `))
      ?.slice(name.length + 2)
  return [
    { ask: 'What are the musts?', answer: `${shorts('must') || 'None'}.` },
    { ask: 'What is nice to have?', answer: `${shorts('nice') || 'Nothing'}.` },
    { ask: 'How many of the musts are shown?', answer: count('must') },
    { ask: 'How much of what is nice to have is shown?', answer: count('nice') },
    { ask: 'Which skills are listed?', answer: `${line('Skills') ?? 'None'}.` },
    { ask: 'What is the job?', answer: `${line('Job')}.` },
    { ask: 'What does the profile say first?', answer: `${line('Profile')}.` },
    { ask: 'What work was done?', answer: `${line('Work') ?? 'None'}.` },
    { ask: 'What was shown?', answer: `${line('Shown') ?? 'Nothing'}.` },
    { ask: 'Which degrees are there?', answer: `${line('Degree') ?? 'None'}.` },
    { ask: 'Which languages are spoken?', answer: `${line('Languages') ?? 'None'}.` },
    { ask: 'Which certificates are there?', answer: `${line('Certificates') ?? 'None'}.` },
  ]
}
