/**
 * What the rubric and the generator know of the world: skills by field with synonyms and related skills, certificates,
 * degrees and languages. The tables themselves stand in catalogue/.
 */
import { fields } from './catalogue/fields.js'
import { certificateTable, degreeGroups } from './catalogue/people.js'
import { skillTables } from './catalogue/skills.js'

export { fields } from './catalogue/fields.js'
export * from './catalogue/people.js'
export type { FieldData } from './catalogue/types.js'

/** A skill or certificate: one name, what counts as the same, what counts as partly the same. */
export type CatalogueEntry = {
  readonly name: string
  readonly synonyms: readonly string[]
  readonly related: readonly string[]
  /** Key of the table it stands in: a field, `soft`, `sector` or `certificate`. */
  readonly table: string
}

export type SkillTable = keyof typeof skillTables

function readTable(table: string, text: string): CatalogueEntry[] {
  const list = (part: string | undefined) =>
    (part ?? '')
      .split(/\s*,\s*/)
      .map((word) => word.trim())
      .filter(Boolean)
  return text
    .split('\n')
    .map((line) => line.trim())
    .filter(Boolean)
    .map((line) => {
      const [own, related] = line.split(' ~ ')
      const [name, synonyms] = (own ?? '').split(' = ')
      return { name: (name ?? '').trim(), synonyms: list(synonyms), related: list(related), table }
    })
}

/** Every skill of every table, in table order. */
export const skills: readonly CatalogueEntry[] = Object.entries(skillTables).flatMap(([id, text]) =>
  readTable(id, text),
)

/** Every certificate. */
export const certificates: readonly CatalogueEntry[] = readTable('certificate', certificateTable)

const byName = new Map([...skills, ...certificates].map((entry) => [entry.name, entry]))

/** The entry of a skill or certificate by its catalogue name, if the catalogue knows it. */
export function catalogueEntry(name: string): CatalogueEntry | undefined {
  return byName.get(name)
}

/** The skills of one field, or of the `soft` and `sector` tables. */
export function skillsOf(table: string): readonly CatalogueEntry[] {
  return skills.filter((skill) => skill.table === table)
}

/** True when the two degree subjects are the same or belong to one group of the catalogue; case-insensitive. */
export function sameSubject(a: string, b: string): boolean {
  const [x, y] = [a.toLowerCase(), b.toLowerCase()]
  if (x === y || x.includes(y) || y.includes(x)) return true
  const names = (group: readonly string[], subject: string) =>
    group.some((name) => subject.includes(name.toLowerCase()))
  return degreeGroups.some((group) => names(group, x) && names(group, y))
}

/** The areas of work that a job title belongs to, such as `['nursing']`; empty for titles the catalogue does not know. */
export function areasOfTitle(title: string): string[] {
  const text = ` ${title.toLowerCase().replace(/[^\p{L}\p{N}-]+/gu, ' ')} `
  const areas = fields
    .filter((field) => field.titleWords.some((word) => text.includes(` ${word} `)))
    .map((field) => field.area)
  return [...new Set(areas)]
}
