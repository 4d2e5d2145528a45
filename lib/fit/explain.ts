/** The explanation of an assessment, line by line in regular sentences, and the way back from text to verdicts. */
import type { Assessment, Finding, FitLevel, Shortfall, Status } from './rubric.js'

/** How many requirements prompts and explanations show at most; a post that asks for more is cut after its musts. */
export const maxRequirements = 8

const statusWords: Record<Status, string> = { met: 'Met', partly: 'Partly met', notMet: 'Not met' }

const shortfallWords: Record<Shortfall, string> = {
  short: ', which is not enough',
  related: ', which is related',
  noYears: ', without years',
  noLevel: ', without a level',
  otherSubject: ', a different field',
}

/**
 * The explanation: one numbered line a requirement, one summary sentence, and the level last. A line goes from the requirement over the evidence to
 * the verdict, so that a model that writes from left to right has before it whatever the next word depends on. Requirement and evidence
 * repeat the short forms of the prompt word by word, so that a small model can copy them.
 */
export function explain(assessment: Assessment): string {
  const shown = assessment.findings.slice(0, maxRequirements)
  const lines = shown.map((finding, i) => `${i + 1}. ${explainFinding(finding)}`)
  return [...lines, summarise(shown), `Fit: ${assessment.level}`].join('\n')
}

/** The line of one requirement, without its number. */
export function explainFinding({ requirement, status, evidence, shortfall }: Finding): string {
  const optional = requirement.kind === 'nice' ? ', nice to have' : ''
  const shown = evidence
    ? `profile shows ${evidence.phrase.replace(/\.$/, '')}${shortfall ? shortfallWords[shortfall] : ''}`
    : 'no evidence in the profile'
  return `${requirement.short}${optional}: ${shown}. ${statusWords[status]}.`
}

/** The summary sentence. Posts name first what matters most, so the first met requirement is the match and the first unmet one the gap. */
export function summarise(findings: readonly Finding[]): string {
  const first = (status: Status) => findings.find((entry) => entry.status === status)?.requirement.short
  const match = first('met')
  const gap = first('notMet') ?? first('partly')
  const strongest = match ? `The strongest match is ${match}` : 'No requirement is fully met'
  return `${strongest}${gap ? `; the biggest gap is ${gap}` : '; there is no gap'}.`
}

/** What an explanation claims about one requirement. */
export type ExplainedRequirement = { short: string; kind: 'must' | 'nice'; status: Status; evidence?: string }

/** An explanation read back; `level` is undefined when the text states none. */
export type Explanation = { level?: FitLevel; requirements: ExplainedRequirement[]; summary?: string }

/** Reads an explanation, also a malformed one written by a model: lines that fit no form are skipped. */
export function parseExplanation(text: string): Explanation {
  const lines = text
    .split('\n')
    .map((line) => line.trim())
    .filter(Boolean)
  const level = lines.map((line) => /^Fit:\s*(low|medium|high)\b/i.exec(line)?.[1]?.toLowerCase()).find(Boolean)
  const summary = lines.find((line) => /^(?:The strongest match is|No requirement is fully met)/i.test(line))
  const requirements = lines.flatMap((line): ExplainedRequirement[] => {
    const found =
      /^(?:\d+\.\s+)?(.+?)(,\s*nice to have)?:\s+(?:profile shows\s+(.*)|no evidence\b.*?)\.\s+(Met|Partly met|Not met)\.?$/i.exec(
        line,
      )
    if (!found) return []
    const [, short, nice, evidence, verdict] = found
    const status: Status = /^met/i.test(verdict!) ? 'met' : /^partly/i.test(verdict!) ? 'partly' : 'notMet'
    return [{ short: short!, kind: nice ? 'nice' : 'must', status, ...(evidence && { evidence }) }]
  })
  return { ...(level && { level: level as FitLevel }), requirements, ...(summary && { summary }) }
}

/** How right a generated explanation is, measured against the rubric's own. */
export type ExplanationScore = {
  /** Share of the reference's requirements that the text names with the right status; missing ones count as wrong. */
  statusAccuracy: number
  /** Share of the reference's requirements that the text names at all. */
  coverage: number
  /** Share of the reference's requirements with the right status and exactly the reference's evidence. */
  evidenceAccuracy: number
  levelRight: boolean
}

/** Scores a generated explanation against a reference explanation of the same pair. */
export function scoreExplanation(generated: string, reference: string): ExplanationScore {
  const [have, want] = [parseExplanation(generated), parseExplanation(reference)]
  const byShort = new Map(have.requirements.map((entry) => [entry.short.toLowerCase(), entry]))
  let [named, right, proven] = [0, 0, 0]
  for (const wanted of want.requirements) {
    const found = byShort.get(wanted.short.toLowerCase())
    if (!found) continue
    named++
    if (found.status === wanted.status) right++
    if (found.status === wanted.status && found.evidence === wanted.evidence) proven++
  }
  const count = Math.max(1, want.requirements.length)
  return {
    statusAccuracy: right / count,
    coverage: named / count,
    evidenceAccuracy: proven / count,
    levelRight: have.level !== undefined && have.level === want.level,
  }
}
