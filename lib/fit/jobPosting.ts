/** schema.org JobPosting (https://schema.org/JobPosting) as JSON-LD -> title, company, place and one plain text. */
import { z } from 'zod'
import { InputError } from '../errors.js'
import { htmlToText } from './text.js'

const loose = z.record(z.string(), z.unknown())
type Node = z.infer<typeof loose>

/** The first JobPosting in an object, an array or an @graph; undefined when there is none. */
export function jobPosting(input: unknown): Node | undefined {
  if (Array.isArray(input)) return input.map(jobPosting).find((found) => found !== undefined)
  const node = loose.safeParse(input)
  if (!node.success) return undefined
  const types = [node.data['@type']]
    .flat()
    .map((type) => String(type).replace(/^(?:https?:\/\/schema\.org\/|schema:)/, ''))
  if (types.includes('JobPosting')) return node.data
  return jobPosting(node.data['@graph'] ?? node.data.mainEntity)
}

/** Text of a value that schema.org allows to be a string, a node with a name or description, or a list of these. */
function textsOf(value: unknown): string[] {
  if (value === undefined || value === null || value === '') return []
  if (Array.isArray(value)) return value.flatMap(textsOf)
  if (typeof value === 'string' || typeof value === 'number') return [htmlToText(String(value))]
  const node = loose.parse(value)
  if (typeof node.monthsOfExperience === 'number' || typeof node.monthsOfExperience === 'string') {
    const years = Math.round(Number(node.monthsOfExperience) / 12)
    return years > 0 ? [`${years}+ years of professional experience`] : []
  }
  if (typeof node.credentialCategory === 'string') return [degreeOf(node.credentialCategory)]
  return textsOf(node.name ?? node.description ?? node.text)
}

/** Google's values of credentialCategory as people write them. */
function degreeOf(category: string): string {
  const names: Record<string, string> = {
    'associate degree': "Associate's degree",
    'bachelor degree': "Bachelor's degree",
    'postgraduate degree': "Master's degree",
    'professional certificate': 'Professional certificate',
    'high school': 'High school diploma',
  }
  return names[category.toLowerCase()] ?? category
}

function placeOf(value: unknown): string | undefined {
  const place = loose.safeParse([value].flat()[0])
  if (!place.success) return typeof value === 'string' ? value : undefined
  const address = place.data.address
  if (typeof address === 'string') return address
  const parts = loose.safeParse(address)
  if (!parts.success) return textsOf(place.data.name)[0]
  const country = textsOf(parts.data.addressCountry)[0]
  const named = [textsOf(parts.data.addressLocality)[0], textsOf(parts.data.addressRegion)[0], country]
  return named.filter(Boolean).join(', ') || undefined
}

/**
 * Title, company, place and plain text of a JobPosting; the structured fields follow the description as sections.
 * @throws InputError when title or description is missing or of the wrong type
 */
export function readJobPosting(node: Node): { title: string; company: string; location?: string; text: string } {
  const title = textsOf(node.title ?? node.name)[0]
  if (!title) throw new InputError('JobPosting: title is missing; schema.org/JobPosting needs a title, add it')
  if (node.description !== undefined && typeof node.description !== 'string') {
    throw new InputError('JobPosting: description is no string; pass the description as text or HTML')
  }
  const company = textsOf(node.hiringOrganization)[0] ?? ''
  const lines = (value: unknown) =>
    textsOf(value)
      .flatMap((text) => (text.includes('\n') ? text.split('\n') : text.split(/\s*;\s*/)))
      .filter((line) => line.trim())
  const section = (heading: string, ...values: unknown[]) => {
    const items = values.flatMap(lines).map((line) => `- ${line.replace(/^\s*(?:[-*•]|\d+[.)])\s+/, '')}`)
    return items.length > 0 ? `\n${heading}:\n${items.join('\n')}` : ''
  }
  const skills = textsOf(node.skills).flatMap((text) => text.split(/\s*[,;\n]\s*/))
  const parts = [
    company ? `${title} at ${company}\n` : `${title}\n`,
    htmlToText(node.description ?? ''),
    section('Responsibilities', node.responsibilities),
    section('Requirements', node.experienceRequirements, node.educationRequirements, node.qualifications, skills),
    section('Benefits', node.jobBenefits ?? node.incentives),
  ]
  return { title, company, location: placeOf(node.jobLocation), text: parts.filter(Boolean).join('\n').trim() }
}
