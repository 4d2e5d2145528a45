/**
 * What the base models in assets/ are pre-trained on: posts and profiles as plain text, and questions about condensed prompts that teach
 * to look things up and to copy. The explanation task itself is not in it: that is what a teacher is fine-tuned on and a student learns.
 */

import { Random } from '../random.js'
import type { GeneratedPair } from './generate.js'
import type { Finding, Status } from './rubric.js'

/** A document of the corpus: running text, or a question with its answer. */
export type CorpusDocument = { text: string } | { user: string; assistant: string }

type Question = { ask: string; answer: string }

/** The documents of one pair: its post or its profile now and then, and one set of questions. Depends on the pair's id alone. */
export function corpusDocuments(pair: GeneratedPair): CorpusDocument[] {
  const random = new Random(`corpus/${pair.id}`)
  const documents: CorpusDocument[] = []
  if (random.chance(0.1)) documents.push({ text: pair.jobText })
  if (random.chance(0.15)) documents.push({ text: pair.profileText })
  const questions = random.shuffle([
    ...pair.assessment.findings.map((finding) => aboutRequirement(finding, random)),
    ...random.sample(aboutLists(pair), 1),
  ])
  documents.push({
    user: [pair.prompt.user, 'Questions:', ...questions.map(({ ask }, i) => `${i + 1}. ${ask}`)].join('\n'),
    assistant: questions.map(({ answer }, i) => `${i + 1}. ${answer}`).join('\n'),
  })
  return documents
}

const VERDICT: Record<Status, string> = { met: 'Yes', partly: 'In part', notMet: 'No' }

function aboutRequirement({ requirement, status, evidence }: Finding, random: Random): Question {
  const shown = evidence?.phrase.replace(/\.$/, '')
  const draw = random.float()
  if (draw < 0.5)
    return { ask: `Is there ${requirement.short}?`, answer: `${VERDICT[status]}${shown ? `: ${shown}` : ''}.` }
  if (draw < 0.9) return { ask: `What is said about ${requirement.short}?`, answer: shown ? `${shown}.` : 'Nothing.' }
  const answer = requirement.kind === 'must' ? 'Yes, a must.' : 'No, nice to have.'
  return { ask: `Is ${requirement.short} a must?`, answer }
}

function aboutLists({ prompt, assessment }: GeneratedPair): Question[] {
  const shorts = (kind: 'must' | 'nice') =>
    assessment.findings
      .filter(({ requirement }) => requirement.kind === kind)
      .map(({ requirement }) => requirement.short)
      .join('; ')
  const line = (name: string) =>
    prompt.user
      .split('\n')
      .find((text) => text.startsWith(`${name}: `))
      ?.slice(name.length + 2)
  return [
    { ask: 'What are the musts?', answer: `${shorts('must') || 'None'}.` },
    { ask: 'What is nice to have?', answer: `${shorts('nice') || 'Nothing'}.` },
    { ask: 'Which skills are listed?', answer: `${line('Skills') ?? 'None'}.` },
    { ask: 'What is the job?', answer: `${line('Job')}.` },
  ]
}
