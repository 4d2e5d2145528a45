import type { z } from 'zod'

/** Keys and indices from the top of the file to a value. */
export type ConfigPath = readonly (string | number)[]

/** A key of the file that the schema has no place for. */
export interface UnknownKey {
  path: ConfigPath
  key: string
  /** The keys that the schema has at that place. */
  known: readonly string[]
}

type Schema = z.core.$ZodType

/** Definition of a schema below its wrappers (optional, default, readonly, transform ...). */
function definition(schema: Schema): z.core.$ZodTypes['_zod']['def'] {
  let { def } = (schema as z.core.$ZodTypes)._zod
  for (;;) {
    switch (def.type) {
      case 'optional':
      case 'nullable':
      case 'default':
      case 'prefault':
      case 'nonoptional':
      case 'catch':
      case 'readonly':
        def = (def.innerType as z.core.$ZodTypes)._zod.def
        break
      case 'pipe':
        def = (def.in as z.core.$ZodTypes)._zod.def
        break
      case 'lazy':
        def = (def.getter() as z.core.$ZodTypes)._zod.def
        break
      default:
        return def
    }
  }
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** The union option that the value's discriminator names, or undefined. */
function discriminated(def: z.core.$ZodUnionDef, value: unknown): Schema | undefined {
  if (!('discriminator' in def) || typeof def.discriminator !== 'string' || !isRecord(value)) return undefined
  const name = def.discriminator
  const tag = value[name]
  return def.options.find((option) => {
    const shape = definition(option)
    const field = shape.type === 'object' ? shape.shape[name] : undefined
    const literal = field && definition(field)
    if (literal?.type === 'literal') return literal.values.includes(tag as string)
    return literal?.type === 'enum' && Object.values(literal.entries).includes(tag as string)
  })
}

/** All keys of the value that the schema does not know, also where the schema itself would drop them silently. */
export function unknownKeys(schema: Schema, value: unknown, path: ConfigPath = []): UnknownKey[] {
  const def = definition(schema)
  if (Array.isArray(value)) {
    if (def.type === 'array') return value.flatMap((item, i) => unknownKeys(def.element, item, [...path, i]))
    if (def.type === 'tuple') {
      return value.flatMap((item, i) => (def.items[i] ? unknownKeys(def.items[i], item, [...path, i]) : []))
    }
  }
  if (def.type === 'union') {
    const option = discriminated(def, value)
    if (option) return unknownKeys(option, value, path)
    if ('discriminator' in def && def.discriminator !== undefined) return [] // the discriminator itself is reported
    const container = (type: string): boolean => (Array.isArray(value) ? type === 'array' : /object|record/.test(type))
    const fitting = def.options.filter((candidate) => container(definition(candidate).type))
    const found = fitting.map((candidate) => unknownKeys(candidate, value, path))
    return found.sort((a, b) => a.length - b.length)[0] ?? []
  }
  if (!isRecord(value)) return []
  if (def.type === 'record') {
    return Object.entries(value).flatMap(([key, item]) => unknownKeys(def.valueType, item, [...path, key]))
  }
  if (def.type !== 'object') return []
  const open = def.catchall !== undefined && definition(def.catchall).type !== 'never'
  return Object.entries(value).flatMap(([key, item]) => {
    const field = Object.hasOwn(def.shape, key) ? def.shape[key] : undefined
    if (field) return unknownKeys(field, item, [...path, key])
    return open ? [] : [{ path, key, known: Object.keys(def.shape) }]
  })
}

/** Paths of all objects in the schema that have this key; array items are written `[]`. */
export function placesOfKey(schema: Schema, key: string): string[] {
  const places = new Set<string>()
  const visit = (current: Schema, path: string, depth: number): void => {
    if (depth > 12) return // recursive schemas repeat themselves
    const def = definition(current)
    if (def.type === 'array') visit(def.element, `${path}[]`, depth + 1)
    if (def.type === 'union') for (const option of def.options) visit(option, path, depth + 1)
    if (def.type !== 'object') return
    if (Object.hasOwn(def.shape, key)) places.add(path)
    for (const [name, field] of Object.entries(def.shape)) visit(field, path ? `${path}.${name}` : name, depth + 1)
  }
  visit(schema, '', 0)
  return [...places]
}
