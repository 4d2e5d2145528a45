/** Spoken languages and their CEFR levels in posts and profiles. */
import { languageLevels, languageWords, spokenLanguages } from './catalogue.js'

/** CEFR level, or `native`. */
export type LanguageLevel = (typeof languageLevels)[number]

/** A spoken language with its level where the text gives one. */
export type LanguageSkill = { language: string; level?: LanguageLevel }

const names = new RegExp(
  String.raw`\b(${spokenLanguages.join('|')})\b(?![- ](?:speaking|language market|market|GAAP|Commercial))`,
  'i',
)

/** The level that a phrase states: an explicit CEFR level before words such as "fluent". */
export function readLevel(phrase: string): LanguageLevel | undefined {
  const explicit = /\b([ABC][12])\b/.exec(phrase)?.[1] as LanguageLevel | undefined
  return explicit ?? languageWords.find((entry) => entry.match.test(phrase))?.level
}

/** Every spoken language that a text names, in order: "Fluent German and English (B2)", "English: C1, native Polish". */
export function readLanguages(text: string): LanguageSkill[] {
  const found: LanguageSkill[] = []
  let shared: LanguageLevel | undefined // "fluent German and English": the word before holds for both
  for (const chunk of text.split(/[,;|/•\n]|\band\b|\bor\b|\.\s/)) {
    const hit = names.exec(chunk)
    const previous = found.at(-1)
    if (!hit) {
      const late = readLevel(chunk) // "English, at least B1"
      if (previous && late && !previous.level) previous.level = late
      continue
    }
    const spelling = spokenLanguages.find((language) => language.toLowerCase() === hit[1]!.toLowerCase())!
    const after = readLevel(chunk.slice(hit.index + hit[0].length))
    const before = readLevel(chunk.slice(0, hit.index))
    const level = after ?? before ?? shared
    shared = after ? undefined : (before ?? shared)
    if (!found.some((entry) => entry.language === spelling))
      found.push(level ? { language: spelling, level } : { language: spelling })
  }
  return found
}

/** Position on the scale A1..C2, native; higher is better. */
export function levelRank(level: LanguageLevel): number {
  return languageLevels.indexOf(level)
}
