/** Job posts: schema.org JobPosting, plain text or HTML, and our own JSON, all read into one shape. */
import { z } from 'zod'
import { InputError } from '../errors.js'
import { jobPosting, readJobPosting } from './jobPosting.js'
import { findEntries } from './match.js'
import { type Requirement, readRequirements, uniqueRequirements } from './requirement.js'
import { htmlToText, type Line, readSections, sentences } from './text.js'

/** A job post as the rubric and the prompts see it. */
export type JobPost = {
  title: string
  company: string
  location?: string
  /** `junior`, `senior`, `lead` and the like, where the title says so. */
  seniority?: string
  /** The largest number of years that any must requirement asks for. */
  years?: number
  responsibilities: string[]
  requirements: Requirement[]
  benefits: string[]
  /** The whole post as plain text. */
  text: string
}

type JobSection = 'must' | 'nice' | 'responsibilities' | 'benefits' | 'other'

/** Bare heading words to sections; the first that matches wins, so "preferred qualifications" is nice before it is must. */
const headings: readonly [JobSection, RegExp][] = [
  ['nice', /^(?:nice[- ]to[- ]haves?|(?:it's |what's )?nice to have.*|bonus(?: points| skills)?(?: for| if.*)?|(?:big )?plus(?:es)?|(?:it's )?a (?:big )?plus(?: if.*)?|preferred(?: .*)?|desirable(?: .*)?|desired(?: .*)?|good to have|extra credit|extras|optional|advantageous|ideally,?(?: you.*)?|even better(?: if.*)?|(?:requirements|qualifications|skills) \((?:nice|preferred|optional).*|what would (?:also )?(?:be great|help|set you apart)|also (?:great|helpful|welcome)|you (?:will )?stand out if.*|we would also love)$/],
  ['responsibilities', /^(?:(?:key |main |your |core )?responsibilities|(?:your|main|key) (?:tasks|role|mission|duties|work|job|day)|what you(?:'ll| will)(?: be)? (?:do|doing)|what you do|the role|(?:your |the )?(?:role|duties|tasks)|your day.*|day[- ]to[- ]day|in this role,?(?: you will)?|job duties|how you will contribute|what the job is about|your impact|tasks and responsibilities|what awaits you)$/],
  ['benefits', /^(?:(?:your |our )?benefits(?: and perks)?|perks.*|(?:what )?we offer(?: you)?|what you(?:'ll| will)? get|why (?:join )?us|our offer|what's in it for you|compensation.*|what you can expect(?: from us)?|good reasons to join)$/],
  ['other', /^(?:about (?:us|the (?:company|role|team|job|position)|our .*)|who we are|the company|our (?:company|story|team|culture)|(?:how to )?apply(?: now)?|application(?: process)?|how to apply|equal opportunit.*|diversity.*|contact|next steps|job description|description|overview|summary|introduction|interested\??|hiring process)$/],
  ['must', /^(?:(?:.* )?requirements|(?:.* )?qualifications|required(?: .*)?|must[- ]haves?|what you(?:'ll| will)? (?:bring|need|have|should have|must have|should bring)(?: to the (?:table|role))?|your (?:profile|skills|background|qualifications|experience|strengths)|who you are|about you|you (?:have|bring|offer)|(?:key |required )?skills(?: and (?:experience|qualifications))?|(?:who|what) we(?:'re| are) looking for|what we(?:'re| are)? (?:expect|expecting|ask for)|we (?:expect|are looking for)|we're looking for|you should have|essential(?: .*)?|(?:your )?experience|what it takes|profile|(?:the |our )?ideal candidate|what makes you a (?:good )?fit|candidate profile|to succeed,? you need|this is you)$/],
] // biome-ignore format: one pattern a section

/** The section a heading opens, by its bare words; undefined when the words are no heading. */
function classifyHeading(words: string): JobSection | undefined {
  if (words.length > 60) return undefined
  return headings.find(([, pattern]) => pattern.test(words))?.[0]
}

const ownJob = z.object({
  title: z.string().trim().min(1),
  company: z.string().trim().default(''),
  location: z.string().trim().optional(),
  seniority: z.string().trim().optional(),
  responsibilities: z.array(z.string().trim().min(1)).default([]),
  requirements: z
    .array(
      z.union([
        z.string().trim().min(1),
        z.object({ text: z.string().trim().min(1), kind: z.enum(['must', 'nice']).default('must') }),
      ]),
    )
    .min(1),
  benefits: z.array(z.string().trim().min(1)).default([]),
  text: z.string().optional(),
})

/**
 * Reads a job post.
 * @param input schema.org JobPosting JSON-LD (an object, an array or an `@graph` that contains one), our own JSON
 *   (`title`, `requirements` of strings or `{text, kind}`), either of them as a string, or the post as plain text or HTML
 * @throws InputError when the input is empty, not valid JSON, fits neither schema, or asks for nothing that can be read
 */
export function parseJob(input: unknown): JobPost {
  if (typeof input !== 'string') return parseJobObject(input)
  const text = input.trim()
  if (text === '') throw new InputError('job post: the text is empty; pass the post as text, HTML or JSON')
  return /^[[{]/.test(text) && !/^\[[^\]{"]*\]/.test(text)
    ? parseJobObject(parseJson(text, 'job post'))
    : parseJobText(htmlToText(text))
}

/** JSON.parse with a typed error. @throws InputError naming what was read and where the syntax broke */
export function parseJson(text: string, what: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new InputError(`${what}: starts like JSON but is not valid (${reason}); fix the JSON or pass plain text`, {
      cause,
    })
  }
}

/** The issues of a zod error as "path: message" in one line. */
export function describeIssues(error: z.ZodError): string {
  return error.issues.map((issue) => `${issue.path.map(String).join('.') || 'top level'}: ${issue.message}`).join('; ')
}

function parseJobObject(input: unknown): JobPost {
  const posting = jobPosting(input)
  if (posting) {
    const read = readJobPosting(posting)
    const post = parseJobText(read.text, { title: read.title, company: read.company, location: read.location })
    return post
  }
  const parsed = ownJob.safeParse(input)
  if (!parsed.success) {
    throw new InputError(
      `job post: no schema.org JobPosting, and not our own form (${describeIssues(parsed.error)}); pass an object with "@type": "JobPosting", or one with title and requirements`,
    )
  }
  const job = parsed.data
  const wanted = job.requirements.map((entry) =>
    typeof entry === 'string' ? { text: entry, kind: 'must' as const } : entry,
  )
  const requirements = uniqueRequirements(wanted.flatMap((entry) => readRequirements(entry.text, entry.kind)))
  const list = (title: string, lines: string[]) =>
    lines.length > 0 ? [`${title}:`, ...lines.map((line) => `- ${line}`), ''] : []
  const text = job.text ?? [
    job.title, [job.company, job.location].filter(Boolean).join(', '), '',
    ...list('Responsibilities', job.responsibilities),
    ...list('Requirements', wanted.filter((entry) => entry.kind === 'must').map((entry) => entry.text)),
    ...list('Nice to have', wanted.filter((entry) => entry.kind === 'nice').map((entry) => entry.text)),
    ...list('Benefits', job.benefits),
  ].join('\n').trim() // biome-ignore format: one section a line
  return finishJob({ ...job, requirements, text })
}

function finishJob(job: Omit<JobPost, 'years'>): JobPost {
  if (job.requirements.length === 0) {
    throw new InputError(
      `job post "${job.title}": no requirement found; put what you ask for under a heading such as "Requirements", one a line`,
    )
  }
  const seniority =
    job.seniority ?? /\b(junior|senior|lead|principal|head|trainee|intern)\b/i.exec(job.title)?.[1]?.toLowerCase()
  const years = Math.max(
    0,
    ...job.requirements.filter((wanted) => wanted.kind === 'must').map((wanted) => wanted.years ?? 0),
  )
  return { ...job, ...(seniority && { seniority }), ...(years > 0 && { years }) }
}

function parseJobText(text: string, known: { title?: string; company?: string; location?: string } = {}): JobPost {
  const sections = readSections(text, classifyHeading, 'other')
  const linesOf = (kind: JobSection) =>
    sections.filter((section) => section.kind === kind).flatMap((section) => section.lines)
  const header = readHeader(text)
  let requirements = [...requirementLines(linesOf('must'), 'must'), ...requirementLines(linesOf('nice'), 'nice')]
  if (requirements.length === 0) requirements = requirementsOfProse(linesOf('other'))
  const items = (kind: JobSection) =>
    linesOf(kind)
      .filter((line) => line.bullet || !/:$/.test(line.text))
      .map((line) => line.text)
  return finishJob({
    title: known.title || header.title,
    company: known.company || header.company,
    ...((known.location ?? header.location) && { location: known.location ?? header.location }),
    responsibilities: items('responsibilities'),
    requirements: uniqueRequirements(requirements),
    benefits: items('benefits'),
    text,
  })
}

/** Bullets are requirements; where a section has bullets, the running text around them is introduction. */
function requirementLines(lines: readonly Line[], kind: 'must' | 'nice'): Requirement[] {
  const bullets = lines.filter((line) => line.bullet)
  const texts = bullets.length > 0 ? bullets.map((line) => line.text) : lines.flatMap((line) => sentences(line.text))
  return texts.filter((text) => !/:$/.test(text)).flatMap((text) => readRequirements(text, kind))
}

const askingSentence =
  /\b(?:must|requir\w+|you have|you bring|you hold|you know|you should|experience (?:with|in|as)|knowledge of|years|looking for|proficien\w+|skilled in|familiar\w*|degree|certifi\w+|fluent)\b/i

/** A post without a requirements heading: the sentences that ask for something known. */
function requirementsOfProse(lines: readonly Line[]): Requirement[] {
  const asking = lines
    .flatMap((line) => sentences(line.text))
    .filter((sentence) => askingSentence.test(sentence) || findEntries(sentence).length > 1)
  return asking.flatMap((sentence) => readRequirements(sentence, 'must')).filter((wanted) => wanted.type !== 'other')
}

function readHeader(text: string): { title: string; company: string; location?: string } {
  const lines = text
    .split('\n')
    .map((line) => line.replace(/^[#*\s]+|[*\s]+$/g, ''))
    .filter(Boolean)
  const field = (pattern: RegExp) =>
    lines
      .slice(0, 12)
      .map((line) => pattern.exec(line)?.[1]?.trim())
      .find(Boolean)
  const first = (lines[0] ?? '').replace(/\s*\((?:[mfwdx]\/){1,3}[mfwdx]\)|\s*\(all genders\)/gi, '')
  const title = field(/^(?:job title|position|title|role)\s*:\s*(.+)$/i)
  const company = field(/^(?:company|employer|organi[sz]ation)\s*:\s*(.+)$/i)
  const location = field(/^(?:location|place of work|where|based in|office)\s*:\s*(.+)$/i)
  const hiring = /^(.+?) (?:is hiring|is looking for|seeks|is seeking|hires)(?: an?)?:? (.+)$/i.exec(first)
  const pair = /^(.+?)\s+(?:at|@|[|–—-])\s+(.+)$/.exec(first)
  const [pairCompany, pairPlace] = pair?.[2]?.split(/\s*(?:[|,–—]|\()\s*/) ?? []
  return {
    title: (title ?? hiring?.[2] ?? pair?.[1] ?? first).replace(/[.!]$/, '').slice(0, 120),
    company: company ?? hiring?.[1] ?? pairCompany ?? '',
    location: location ?? pairPlace?.replace(/\)$/, ''),
  }
}
