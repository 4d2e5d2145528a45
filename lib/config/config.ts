import { readFile } from 'node:fs/promises'
import { type Document, isAlias, isMap, isNode, isScalar, isSeq, LineCounter, parseDocument } from 'yaml'
import type { z } from 'zod'
import { ConfigError, type ConfigProblem } from '../errors.js'
import { type Explained, explainIssue } from './explain.js'
import { type ConfigPath, isRecord, placesOfKey, type UnknownKey, unknownKeys } from './schemaKeys.js'
import { suggest } from './suggest.js'

/** A configuration is written by hand; anything larger is another file named by mistake. */
const MAX_BYTES = 1 << 20

function fail(code: string, file: string, problems: ConfigProblem[], cause?: unknown): never {
  const lines = problems.map(({ path, message, line, column }) => {
    const place = line === undefined ? file : `${file}:${line}:${column ?? 1}`
    return `${place}: ${path ? `${path}: ` : ''}${message}`
  })
  throw new ConfigError(code, lines.join('\n'), file, problems, cause === undefined ? undefined : { cause })
}

/** `stages[0].learningRate`; keys that are no identifiers are quoted. */
function formatPath(path: ConfigPath): string {
  let text = ''
  for (const key of path) {
    if (typeof key === 'number') text += `[${key}]`
    else if (!/^[\w-]+$/.test(key)) text += `[${JSON.stringify(key)}]`
    else text += text ? `.${key}` : key
  }
  return text
}

/** Where values and keys stand in the text. */
class Positions {
  constructor(
    private readonly document: Document,
    private readonly lines: LineCounter,
  ) {}

  /** Start of the value at a path, or of its key when `ofKey`; of the nearest thing around it when it is missing. */
  find(path: ConfigPath, ofKey = false): { line: number; column: number } | undefined {
    let node: unknown = this.document.contents
    let offset = isNode(node) ? node.range?.[0] : undefined
    for (const [depth, step] of path.entries()) {
      if (isAlias(node)) node = node.resolve(this.document)
      if (isSeq(node) && typeof step === 'number') {
        node = node.items[step]
      } else if (isMap(node)) {
        const pair = node.items.find(({ key }) => String(isScalar(key) ? key.value : key) === String(step))
        if (!pair) break
        const last = depth === path.length - 1
        if (isNode(pair.key)) offset = pair.key.range?.[0]
        node = pair.value
        if (last && ofKey) break
        if (!last) continue // a missing inner key is best shown at the key of its section
      } else break
      if (isNode(node) && node.range) offset = node.range[0]
    }
    if (offset === undefined) return undefined
    const { line, col } = this.lines.linePos(offset)
    return { line, column: col }
  }
}

function explainUnknownKey({ path, key, known }: UnknownKey, schema: z.ZodType): Explained {
  const meant = suggest(key, known)
  const here = formatPath(path).replace(/\[\d+\]/g, '[]')
  const elsewhere = placesOfKey(schema, key).filter((place) => place !== here)
  let next = `known keys: ${known.join(', ')}`
  if (meant !== undefined) next = `did you mean "${meant}"?`
  else if (elsewhere.length === 1)
    next = elsewhere[0] ? `it belongs under "${elsewhere[0]}"` : 'it belongs at the top level'
  return { path: [...path, key], message: `unknown key; ${next}` }
}

/** The value of the text, or an error with every syntax problem. */
function parseText(text: string, file: string): { value: unknown; positions: Positions } {
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false })
  const broken = [...document.errors, ...document.warnings]
  if (broken.length > 0) {
    const problems = broken.map((error) => {
      const { line, col } = lines.linePos(error.pos[0])
      return { path: '', message: `${error.message}; correct the YAML or JSON here`, line, column: col }
    })
    fail('CONFIG_SYNTAX', file, problems)
  }
  try {
    return { value: document.toJS() ?? {}, positions: new Positions(document, lines) }
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    return fail('CONFIG_SYNTAX', file, [{ path: '', message: `${reason}; write the values out instead` }], cause)
  }
}

/**
 * Validates the text of a configuration file, YAML 1.2 or JSON. An empty text counts as an empty section, so that a
 * schema of defaults accepts it. Unknown keys are errors, whether the schema is strict or not.
 * @param file name for messages
 * @returns the schema's output, defaults filled in
 * @throws ConfigError with all problems at once, each with path, line and column
 */
export function parseConfig<S extends z.ZodType>(text: string, file: string, schema: S): z.output<S> {
  const { value, positions } = parseText(text, file)
  if (!isRecord(value)) {
    fail('CONFIG_INVALID', file, [
      { path: '', message: 'must be a section of keys; write lines of the form "key: value"' },
    ])
  }
  const result = schema.safeParse(value)
  const unknown = unknownKeys(schema, value)
  const problems: ConfigProblem[] = unknown.map((found) => {
    const { path, message } = explainUnknownKey(found, schema)
    return { path: formatPath(path), message, ...positions.find(path, true) }
  })
  for (const issue of result.error?.issues ?? []) {
    for (const { path, message } of explainIssue(issue, value)) {
      problems.push({ path: formatPath(path), message, ...positions.find(path) })
    }
  }
  if (result.success && problems.length === 0) return result.data
  problems.sort((a, b) => (a.line ?? 0) - (b.line ?? 0) || (a.column ?? 0) - (b.column ?? 0))
  return fail('CONFIG_INVALID', file, problems)
}

/**
 * Reads and validates a configuration file, YAML 1.2 or JSON; see `parseConfig`.
 * @throws ConfigError when the file cannot be read, is no text, or does not fit the schema
 */
export async function loadConfig<S extends z.ZodType>(file: string, schema: S): Promise<z.output<S>> {
  let bytes: Buffer
  try {
    bytes = await readFile(file)
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    return fail('CONFIG_READ', file, [{ path: '', message: `cannot be read (${reason}); check the path` }], cause)
  }
  if (bytes.length > MAX_BYTES) {
    const message = `has ${bytes.length} bytes, more than any configuration; name the YAML or JSON file`
    fail('CONFIG_READ', file, [{ path: '', message }])
  }
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (cause) {
    return fail('CONFIG_READ', file, [{ path: '', message: 'is not UTF-8 text; name the YAML or JSON file' }], cause)
  }
  return parseConfig(text, file, schema)
}
