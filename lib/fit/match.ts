/** Finds catalogue names in running text: longest match first, whole words only, everyday words only where context fits. */
import { type CatalogueEntry, certificates, skills } from './catalogue.js'

/** A catalogue entry found in text at the characters [start, end). */
export type Match = { name: string; table: string; start: number; end: number }

type Pattern = { entry: CatalogueEntry; lower: string; word: string; strict: boolean; exactCase: boolean }

/** Names that are also everyday words or single letters: they count in their own spelling and between fitting words only. */
const strictWords = new Set([
  'Go',
  'R',
  'C',
  'REST',
  'Excel',
  'Swift',
  'Rust',
  'Spark',
  'Helm',
  'React',
  'Sage',
  'SEA',
  'Workday',
])
const before =
  /(?:^|[,/(;:|•*\-–]\s*|\b(?:in|with|of|using|and|or|like|is|are|as|know|knows|e\.g\.|especially|including|modern|programming|built|write|wrote|writing|learn|learning|both|on|to|from|language|microsoft|via|use|used|our)\s+)$/i
const after =
  /^(?:$|\s*[,/);:|.!•–(]|\s+-\s|\s*\+(?!\+)|\s+(?:and|or|at|for|is|programming|development|developer|developers|code|services|service|microservices|language|experience|skills|knowledge|applications|systems|components|apps|frontend|front-end|backend|apis?|api|scripts|charts|jobs|clusters|pipelines|models|packages|reports|sheets|spreadsheets|macros|accounting|software|campaigns|interfaces|in|since|with|as|engineer|tutoring|library|libraries|required|preferred|hooks)\b)/i

const patterns = new Map<string, Pattern[]>()
for (const entry of [...certificates, ...skills]) {
  for (const word of [entry.name, ...entry.synonyms]) {
    const strict = strictWords.has(word)
    const pattern = { entry, word, lower: word.toLowerCase(), strict, exactCase: strict || /^[A-Z&]{2,4}$/.test(word) }
    const key = pattern.lower.slice(0, 2)
    patterns.set(key, [...(patterns.get(key) ?? []), pattern])
  }
}
for (const list of patterns.values()) list.sort((a, b) => b.word.length - a.word.length)

/** Codes of the ASCII letters, digits and _: a quick test before the exact one of isWhole. */
const asciiWord = new Set(
  Array.from({ length: 128 }, (_, code) => code).filter((code) => /\w/.test(String.fromCharCode(code))),
)

const wordCharacter = /[\p{L}\p{N}_]/u

/** True when [start, end) of the text is a whole name: "Java" is none in "JavaScript", "C" none in "C++", "C#" or "C-level". */
function isWhole(text: string, start: number, end: number): boolean {
  const [left, right, next] = [text[start - 1] ?? ' ', text[end] ?? ' ', text[end + 1] ?? ' ']
  if (
    wordCharacter.test(left) ||
    left === '#' ||
    left === '&' ||
    (left === '.' && wordCharacter.test(text[start] ?? ''))
  ) {
    return false
  }
  if (wordCharacter.test(right) || right === '#' || right === '&') return false
  if (right === '+') return next !== '+'
  return !(right === '.' && /^(?:js|net)\b/i.test(text.slice(end + 1)))
}

function fits(pattern: Pattern, text: string, start: number): boolean {
  const end = start + pattern.word.length
  if (pattern.exactCase && text.slice(start, end) !== pattern.word) return false
  if (!isWhole(text, start, end)) return false
  if (!pattern.strict) return true
  if (/[-–]\w/.test(text.slice(end, end + 2)) || /\w-$/.test(text.slice(0, start))) return false // "Go-to-market", "C-level"
  return before.test(text.slice(Math.max(0, start - 24), start)) && after.test(text.slice(end, end + 24))
}

/** Every catalogue skill and certificate named in the text, in order; overlapping names yield the longest. */
export function findEntries(text: string): Match[] {
  const lower = text.toLowerCase()
  if (lower.length !== text.length) return findEntries(text.replace(/[^\p{L}\p{N}\p{P}\p{S}\s]|İ/gu, ' ')) // keep offsets aligned
  const matches: Match[] = []
  for (let at = 0; at < text.length; at++) {
    if (at > 0 && asciiWord.has(text.charCodeAt(at - 1))) continue // no name begins inside a word
    const candidates = patterns.get(lower.slice(at, at + 2)) ?? []
    const single = patterns.get(lower.slice(at, at + 1)) ?? [] // one-letter names: C, R
    const hit = [...candidates, ...single].find((p) => lower.startsWith(p.lower, at) && fits(p, text, at))
    if (!hit) continue
    const end = at + hit.word.length
    matches.push({ name: hit.entry.name, table: hit.entry.table, start: at, end })
    at = end - 1
  }
  return matches
}

/** The distinct names of one kind that the text mentions, in order of first mention. */
export function findNames(text: string, kind: 'skill' | 'certificate'): string[] {
  const wanted = findEntries(text).filter((match) => (match.table === 'certificate') === (kind === 'certificate'))
  return [...new Set(wanted.map((match) => match.name))]
}
