/**
 * What the base models in assets/ are pre-trained on: posts and profiles as plain text, word lists to repeat, and questions about condensed
 * prompts. They teach to copy and to look things up. The explanation task itself is not in it: that is what a teacher is fine-tuned on and a student learns.
 */

import { Random } from '../random.js'
import type { GeneratedPair } from './generate.js'
import type { Finding, Status } from './rubric.js'

/** A document of the corpus: running text, or a question with its answer. */
export type CorpusDocument = { text: string } | { user: string; assistant: string }

type Question = { ask: string; answer: string }

/** The documents of one pair: its post or its profile now and then, a list to repeat, and two sets of questions. Depends on the pair alone. */
export function corpusDocuments(pair: GeneratedPair): CorpusDocument[] {
  const random = new Random(`corpus/${pair.id}`)
  const documents: CorpusDocument[] = []
  if (random.chance(0.04)) documents.push({ text: pair.jobText })
  if (random.chance(0.04)) documents.push({ text: pair.profileText })
  documents.push(repetition(pair, random), asked(pair, random.sample(aboutLists(pair), 6)))
  const questions = random.shuffle([...pair.assessment.findings.map((finding) => aboutRequirement(finding, random))])
  documents.push(asked(pair, questions))
  return documents
}

/** Lists to repeat and nothing else, four of a pair: what a model learns to copy from before it can look anything up. */
export function repetitionDocuments(pair: GeneratedPair): CorpusDocument[] {
  const random = new Random(`repeat/${pair.id}`)
  return Array.from({ length: 4 }, () => repetition(pair, random))
}

/** A random list of words, and the same list again: nothing but copying predicts it. */
function repetition({ jobText, assessment }: GeneratedPair, random: Random): CorpusDocument {
  // Short lists among long ones: the fewer places there are to look at, the sooner copying is found.
  const length = Math.round(2 ** (1 + 3.5 * random.float()))
  const words = random.sample(jobText.split(/\s+/), 16)
  const terms = assessment.findings.map(({ requirement }) => requirement.short)
  const list = random
    .shuffle([...words, ...terms])
    .slice(0, length)
    .join('; ')
  return { user: `Repeat:\n${list}`, assistant: list }
}

/** What a tokenizer is trained on: the documents, and the words of the task that the corpus leaves out. */
export function tokenizerTexts(pair: GeneratedPair): string[] {
  const texts = corpusDocuments(pair).map((d) => ('text' in d ? d.text : `${d.user}\n${d.assistant}`))
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
