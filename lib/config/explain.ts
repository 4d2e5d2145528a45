import type { z } from 'zod'
import { type ConfigPath, isRecord } from './schemaKeys.js'
import { suggest } from './suggest.js'

/** One problem with its place, before it has a line. */
export interface Explained {
  path: ConfigPath
  message: string
}

type Issue = z.core.$ZodIssue

const TYPE_NAMES: Record<string, string> = {
  string: 'text',
  number: 'a number',
  int: 'an integer',
  boolean: 'true or false',
  array: 'a list',
  tuple: 'a list',
  object: 'a section of keys',
  record: 'a section of keys',
  null: 'nothing (null)',
}

const typeName = (type: string): string => TYPE_NAMES[type] ?? type

function describe(value: unknown): string {
  if (value === null) return 'nothing (null)'
  if (Array.isArray(value)) return `a list of ${value.length}`
  if (isRecord(value)) return 'a section of keys'
  if (typeof value !== 'string') return String(value)
  return `the text ${JSON.stringify(value.length > 60 ? `${value.slice(0, 57)}...` : value)}`
}

function valueAt(root: unknown, path: ConfigPath): unknown {
  let value = root
  for (const key of path) value = typeof value === 'object' && value !== null ? Reflect.get(value, key) : undefined
  return value
}

function explainType(expected: string, value: unknown): string {
  if (value === undefined) return `is missing; add it (${typeName(expected)})`
  const numeric = (expected === 'number' || expected === 'int') && typeof value === 'string' && value.trim() !== ''
  const hint =
    numeric && Number.isFinite(Number(value))
      ? '; remove the quotes'
      : expected === 'boolean' && /^(yes|no|on|off)$/i.test(String(value))
        ? '; YAML 1.2 knows only true and false'
        : expected === 'string' && (typeof value === 'number' || typeof value === 'boolean')
          ? '; put it in quotes'
          : ''
  return `must be ${typeName(expected)} but is ${describe(value)}${hint}`
}

function explainSize(issue: z.core.$ZodIssueTooBig | z.core.$ZodIssueTooSmall, value: unknown): string {
  const [limit, words] =
    issue.code === 'too_small'
      ? [issue.minimum, issue.inclusive === false ? 'more than' : 'at least']
      : [issue.maximum, issue.inclusive === false ? 'less than' : 'at most']
  if (issue.origin === 'string') return `has ${String(value).length} characters but must have ${words} ${limit}`
  if (Array.isArray(value)) return `has ${value.length} entries but must have ${words} ${limit}`
  return `must be ${words} ${limit} but is ${describe(value)}`
}

function explainChoice(values: readonly unknown[], value: unknown): string {
  const choices = values.map(String)
  const meant = typeof value === 'string' ? suggest(value, choices) : undefined
  const list = `must be ${choices.length === 1 ? '' : 'one of '}${choices.join(', ')}`
  if (value === undefined) return `is missing; it ${list}`
  return `${list} but is ${describe(value)}${meant === undefined ? '' : `; did you mean "${meant}"?`}`
}

/** Of a union's branches the one that the value was meant for, if that is clear; else the list of what would do. */
function explainUnion(issue: z.core.$ZodIssueInvalidUnion, path: ConfigPath, root: unknown): Explained[] {
  const value = valueAt(root, path)
  if (issue.errors.length === 0) {
    const options = 'options' in issue && Array.isArray(issue.options) ? issue.options : []
    return [{ path, message: options.length > 0 ? explainChoice(options, value) : issue.message }]
  }
  const wrongKind = (inner: Issue): boolean =>
    inner.path.length === 0 && (inner.code === 'invalid_type' || inner.code === 'invalid_value')
  const meant = issue.errors.filter((branch) => !branch.some(wrongKind))
  if (meant.length === 1) return meant[0]!.flatMap((inner) => explainIssue(inner, root, path))
  const kinds = issue.errors.flat().filter(wrongKind)
  const expected = kinds.flatMap((inner) =>
    inner.code === 'invalid_type'
      ? [typeName(inner.expected)]
      : inner.code === 'invalid_value'
        ? inner.values.map(String)
        : [],
  )
  if (expected.length === 0 || value === undefined) {
    return [{ path, message: value === undefined ? 'is missing; add it' : issue.message }]
  }
  return [{ path, message: `must be ${[...new Set(expected)].join(' or ')} but is ${describe(value)}` }]
}

/**
 * What a validation issue means for the person who wrote the file. Unknown keys are left out: `unknownKeys` finds them,
 * also in schemas that would drop them.
 * @param root the value of the whole file
 * @param base path that the issue's own path continues
 */
export function explainIssue(issue: Issue, root: unknown, base: ConfigPath = []): Explained[] {
  const path = [...base, ...issue.path.map((key) => (typeof key === 'symbol' ? String(key) : key))]
  const value = valueAt(root, path)
  switch (issue.code) {
    case 'unrecognized_keys':
      return []
    case 'invalid_type':
      return [{ path, message: explainType(issue.expected, value) }]
    case 'too_big':
    case 'too_small':
      return [{ path, message: explainSize(issue, value) }]
    case 'invalid_value':
      return [{ path, message: explainChoice(issue.values, value) }]
    case 'not_multiple_of':
      return [{ path, message: `must be a multiple of ${issue.divisor} but is ${describe(value)}` }]
    case 'invalid_format':
      return [{ path, message: `is ${describe(value)}; ${issue.message}` }]
    case 'invalid_union':
      return explainUnion(issue, path, root)
    default:
      return [{ path, message: issue.message }]
  }
}
