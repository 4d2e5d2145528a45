/** Plain-text profiles: sections under headings, employments by their dates. */
import { areasOfTitle } from './catalogue.js'
import { findRange } from './dates.js'
import type { RawProfile } from './profile.js'
import { readYears } from './requirement.js'
import { type Line, readSections, type Section } from './text.js'

type ProfileSection = 'summary' | 'skills' | 'experience' | 'education' | 'languages' | 'certificates' | 'other'

const headings: readonly [ProfileSection, RegExp][] = [
  ['summary', /^(?:summary|profile|about(?: me)?|professional (?:summary|profile)|personal (?:statement|profile)|career summary|in brief|objective|who i am)$/],
  ['skills', /^(?:(?:core |key |technical |professional |main |it |other |my )?(?:skills|competenc(?:ies|es)|strengths)(?: and (?:tools|competencies|knowledge|technologies))?|tech(?:nology)? stack|technologies|tools|areas of expertise|expertise|what i (?:know|work with))$/],
  ['experience', /^(?:(?:professional |work |relevant |career |my )?(?:experience|history|background)|work history|employment(?: history)?|career(?: history)?|positions(?: held)?|where i worked|volunteer(?:ing| experience| work)?)$/],
  ['education', /^(?:education(?: and training)?|academic background|studies|degrees?|training|qualifications|education & training)$/],
  ['languages', /^(?:languages?(?: skills)?|spoken languages)$/],
  ['certificates', /^(?:certificates?|certifications?|licen[cs]es?|(?:certificates|certifications|licen[cs]es) (?:and|&) .*|further training)$/],
  ['other', /^(?:projects|awards|publications|interests|hobbies|references|contact|personal details|references available.*)$/],
] // biome-ignore format: one pattern a section

/** Reads a plain-text profile; what it does not find stays empty. */
export function readProfileText(text: string): RawProfile {
  const sections = readSections(text, (words) => headings.find(([, pattern]) => pattern.test(words))?.[0], 'other')
  const lines = (kind: ProfileSection) =>
    sections.filter((section) => section.kind === kind).flatMap((section) => section.lines)
  const header = sections[0]?.lines ?? []
  return {
    ...readHeader(header),
    summary: summaryOf(lines('summary'), header),
    skills: lines('skills').flatMap((line) => readSkills(line.text)),
    experience: readExperience(experienceLines(sections)),
    education: lines('education').map((line) => readEducation(line.text)),
    languages: lines('languages').map((line) => line.text),
    certificates: lines('certificates')
      .flatMap((line) => (line.bullet ? [line.text] : line.text.split(/\s*[,;]\s+/)))
      .map(bareCertificate),
  }
}

/** "Skills: a, b" lines inside an employment open a skills section by their word; they belong to the employment. */
function experienceLines(sections: readonly Section<ProfileSection>[]): Line[] {
  return sections.filter((section) => section.kind === 'experience').flatMap((section) => section.lines)
}

function readHeader(header: readonly Line[]): { name?: string; headline: string } {
  const plain = header.filter((line) => !/[@]|https?:|\+\d|\d{5}/.test(line.text)).map((line) => line.text)
  const [first, second] = plain
  if (first === undefined) return { headline: '' }
  const pair = /^(.{3,40}?)\s+(?:[|–—-]|,)\s+(.+)$/.exec(first)
  if (pair && areasOfTitle(pair[1]!).length === 0) return { name: pair[1]!, headline: pair[2]! }
  const isTitle = (line: string | undefined) => line !== undefined && areasOfTitle(line).length > 0
  if (isTitle(first) && !isTitle(second)) return { headline: first } // "Baker" and "Cook" are names, too
  return {
    name: first.replace(/^(?:name|cv|résumé|resume)\s*:?\s*/i, ''),
    headline: second && second.split(' ').length <= 10 ? second : '',
  }
}

function summaryOf(summary: readonly Line[], header: readonly Line[]): string {
  const lines = summary.length > 0 ? summary : header.slice(1).filter((line) => line.text.split(' ').length > 10)
  return lines.map((line) => line.text).join(' ')
}

/** "Python (7 years), Docker" or "Python - 7 years" or "Tools: Git, Jira" -> names with years where given. */
export function readSkills(line: string): { name: string; years?: number }[] {
  const bare = line.replace(/^[\p{L} &/]{3,30}:\s+(?!\d)/u, '')
  const items = bare
    .split(/\s*[,;•|]\s*(?![^()]*\))/)
    .map((item) => item.trim().replace(/\.$/, ''))
    .filter(Boolean)
  return items.map((item) => {
    const years = readYears(item)
    const name = item
      .replace(
        /\s*[(–—:-]?\s*(?:for )?(?:about |over )?\d{1,2}\s*\+?\s*(?:years?|yrs?)(?:['’] experience| of experience)?\s*\)?\s*$/i,
        '',
      )
      .replace(/^\d{1,2}\+?\s*(?:years?|yrs?) (?:of |with |in )?/i, '')
      .trim()
    return years === undefined ? { name } : { name, years }
  })
}

/** Employments: a line with a period opens one; title and company stand on it or on the lines before it. */
function readExperience(lines: readonly Line[]): RawProfile['experience'] {
  const found: RawProfile['experience'] = []
  let pending: string[] = []
  for (const [i, line] of lines.entries()) {
    const range = line.bullet && found.length > 0 ? undefined : findRange(line.text)
    const current = found.at(-1)
    if (range) {
      found.push({
        ...splitTitle([...pending, range.rest]),
        start: range.start,
        end: range.end,
        highlights: [],
        skills: [],
      })
      pending = []
    } else if (
      /^(?:tech(?:nologies|nology|\.? ?stack)?|tools|skills|stack|environment|focus|used)\s*:\s+/i.test(line.text) &&
      current
    ) {
      current.skills.push(...readSkills(line.text).map((skill) => skill.name))
    } else if (!line.bullet && opensNext(line.text, lines.slice(i + 1, i + 3))) pending.push(line.text)
    else if (current) current.highlights.push(line.text)
  }
  return found
}

/** True when a line is the title or company of an employment whose period stands one or two lines below. */
function opensNext(text: string, next: readonly Line[]): boolean {
  if (text.split(' ').length > 10 || /[.!]$/.test(text)) return false
  const dated = next.findIndex((line) => !line.bullet && findRange(line.text) !== undefined)
  if (dated < 0 || next.slice(0, dated).some((line) => line.bullet)) return false
  return dated === 0 || next[0]!.text.split(' ').length <= 10
}

const titleWord =
  /\b(?:manager|engineer|developer|assistant|specialist|consultant|analyst|officer|director|lead|head|clerk|technician|designer|administrator|teacher|intern|trainee|president|ceo|cto|founder|supervisor|coordinator|representative|executive|partner|worker|operator|scientist|architect|planner|freelancer|agent|waiter|cashier|nurse|cook|chef|accountant|recruiter|dispatcher)\b/i

function splitTitle(parts: readonly string[]): { title: string; company: string } {
  const pieces = parts
    .flatMap((part) => part.split(/\s+(?:at|@|with|for|[|·–—-])\s+|\s*[,|;]\s+|:\s+/))
    .map((piece) => piece.replace(/^[\s,:()|–—-]+|[\s,:(|–—-]+$/g, ''))
    .filter(Boolean)
  const named = pieces.findIndex((piece) => titleWord.test(piece)) // before areas: "Basalt Software" is an employer
  const at = named >= 0 ? named : pieces.findIndex((piece) => areasOfTitle(piece).length > 0)
  const titleAt = Math.max(at, 0)
  const others = pieces.filter((_, index) => index !== titleAt)
  return { title: pieces[titleAt] ?? '', company: others[0] ?? '' }
}

function readEducation(line: string): { degree: string; school?: string } {
  const bare = line.replace(/\s*[,(]?\s*(?:(?:19|20)\d\d\s*[-–—]\s*)?(?:19|20)\d\d\)?\s*[:,]?\s*/g, ' ').trim()
  const pieces = bare.split(/\s*[,|;]\s+|\s+[–—-]\s+|\s+(?:at|from)\s+/).filter(Boolean)
  const school = pieces.find(
    (piece) => /universit|school|college|institute|academy|hochschule/i.test(piece) && piece !== pieces[0],
  )
  const degree = pieces.filter((piece) => piece !== school).join(', ')
  return school ? { degree, school } : { degree }
}

/** A certificate's name without "(2021)" or "since 2019". */
function bareCertificate(text: string): string {
  return text.replace(/\s*[(,]?\s*(?:since |valid until |issued )?(?:19|20)\d\d\)?\.?\s*$/i, '').replace(/\.$/, '')
}
