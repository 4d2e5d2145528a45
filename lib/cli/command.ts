import { type Command, InvalidArgumentError, Option } from 'commander'
import { z } from 'zod'
import { loadConfig } from '../config/config.js'
import { explainIssue } from '../config/explain.js'
import { ConfigError } from '../errors.js'

/** Takes one line of output. */
export type Print = (line: string) => void

/** A command whose flags, defaults, help and configuration file all come from one schema. */
export interface CommandDefinition<S extends z.ZodObject> {
  name: string
  description: string
  /**
   * Sections and values. A value's `describe()` text is its help; `meta({ argument })` names its placeholder. The last key of the path is
   * the flag, `training.batchSize` is `--batch-size`, so keys must be unique over all sections.
   */
  schema: S
  /** The key of a setting, at the top of the schema, that is given by its place instead of a flag. */
  positional?: keyof S['shape'] & string
  /** Offer `--config FILE`: a YAML or JSON document of the schema, which flags override. */
  configFile?: boolean
  /** Text after the list of options. */
  examples?: string
  /** Does the work; resolves to the exit code. */
  run(settings: z.output<S>): Promise<number>
}

/** Adds a command to the program. */
export function defineCommand<S extends z.ZodObject>(program: Command, definition: CommandDefinition<S>): void {
  const { name, description, schema, positional, configFile = false, examples, run } = definition
  const command = program.command(name).description(description)
  if (configFile)
    command.option(
      '--config <file>',
      `YAML or JSON file of the settings below, in sections: ${sectionsOf(schema).join(', ')}; flags override it`,
    )
  for (const value of valuesOf(schema)) {
    if (value.key === positional) command.argument(`<${value.argument ?? value.key}>`, value.help)
    else command.addOption(flagOf(value))
  }
  if (examples) command.addHelpText('after', `\n${examples}`)
  command.action(async (...given: unknown[]) => {
    const flags = given.at(-2) as Record<string, unknown> // the last is the command itself, before its options stand the arguments
    if (positional) flags[positional] = given[0]
    const code = await run(await readSettings(fullName(command), schema, flags, configFile))
    if (code) process.exitCode = code
  })
}

/** The words that call a command: `lantern data`, `lantern table 1`. */
const fullName = (command: Command): string =>
  command.parent ? `${fullName(command.parent)} ${command.name()}` : command.name()

/** Checks settings given as an object and fills in the defaults. @throws ConfigError naming every setting that does not fit */
export function checkSettings<S extends z.ZodObject>(source: string, schema: S, settings: unknown): z.output<S> {
  const result = schema.safeParse(settings)
  if (result.success) return result.data
  const problems = result.error.issues
    .flatMap((issue) => explainIssue(issue, settings))
    .map(({ path, message }) => {
      const flag = flagName(String(path.at(-1)))
      const missing =
        path.reduce<unknown>((value, key) => (value as Record<string, unknown> | undefined)?.[key], settings) ===
        undefined
      return { path: path.join('.'), message: missing ? `is missing; pass ${flag}` : message }
    })
  const lines = problems.map(({ path, message }) => `${source}: ${path} ${message}`)
  throw new ConfigError('CONFIG_INVALID', lines.join('\n'), source, problems)
}

/** Defaults, under the file of `--config` where that is one of these settings, under the flags. */
async function readSettings<S extends z.ZodObject>(
  source: string,
  schema: S,
  flags: Record<string, unknown>,
  configFile: boolean,
): Promise<z.output<S>> {
  const merged: Record<string, unknown> =
    configFile && typeof flags.config === 'string' ? await loadConfig(flags.config, withoutDefaults(schema)) : {}
  for (const { path, key } of valuesOf(schema)) {
    if (flags[key] === undefined) continue
    let section = merged
    for (const step of path) {
      section[step] ??= {}
      section = section[step] as Record<string, unknown>
    }
    section[key] = flags[key]
  }
  return checkSettings(source, schema, merged)
}

interface Value {
  /** The sections that it is in. */
  path: string[]
  key: string
  /** Without default and optional. */
  schema: z.ZodType
  help: string
  argument: string | undefined
  fallback: unknown
}

function valuesOf(schema: z.ZodObject, path: string[] = []): Value[] {
  return Object.entries(schema.shape).flatMap(([key, field]: [string, z.ZodType]): Value[] => {
    const { inner, fallback, meta } = unwrap(field)
    if (inner instanceof z.ZodObject) return valuesOf(inner, [...path, key])
    const argument = meta.argument as string | undefined
    return [{ path, key, schema: inner, help: meta.description ?? '', argument, fallback }]
  })
}

const sectionsOf = (schema: z.ZodObject): string[] =>
  Object.entries(schema.shape).map(([key, field]: [string, z.ZodType]) => {
    const { inner } = unwrap(field)
    return inner instanceof z.ZodObject ? `${key}: {...}` : key
  })

/** The schema inside its wrappers, the default among them, and what was said of any of them, outer words before inner ones. */
function unwrap(schema: z.ZodType): { inner: z.ZodType; fallback: unknown; meta: z.GlobalMeta } {
  let inner = schema
  let fallback: unknown
  let meta: z.GlobalMeta = {}
  for (;;) {
    meta = { ...inner.meta(), ...meta }
    if (inner instanceof z.ZodDefault) fallback = inner.def.defaultValue
    else if (!(inner instanceof z.ZodOptional || inner instanceof z.ZodPrefault)) return { inner, fallback, meta }
    inner = inner.def.innerType as z.ZodType
  }
}

/** The same schema with nothing required and nothing filled in: what a file may leave to the flags, or to other defaults. */
export function withoutDefaults(schema: z.ZodObject): z.ZodObject<Record<string, z.ZodOptional<z.ZodType>>> {
  const fields = Object.entries(schema.shape).map(([key, field]: [string, z.ZodType]) => {
    const { inner, meta } = unwrap(field)
    return [key, (inner instanceof z.ZodObject ? withoutDefaults(inner) : inner).optional().meta(meta)]
  })
  return z.object(Object.fromEntries(fields))
}

const flagName = (key: string): string => `--${key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`

function flagOf({ path, key, schema, help, argument, fallback }: Value): Option {
  const shown = fallback === undefined || fallback === false ? '' : ` (default: ${String(fallback)})`
  if (schema instanceof z.ZodBoolean) return new Option(flagName(key), `${help}${shown}`)
  const one = schema instanceof z.ZodArray ? (schema.element as z.ZodType) : schema
  const choices = one instanceof z.ZodEnum ? one.options.map(String) : undefined
  const option = new Option(
    `${flagName(key)} <${argument ?? placeholder(schema)}>`,
    `${help}${choices ? `: ${choices.join(', ')}` : ''}${shown}`,
  )
  if (path.length > 0) option.helpGroup(`${path.join('.')}:`)
  return option.argParser((text) => {
    const value = parseFlag(schema, text)
    const result = schema.safeParse(value)
    if (result.success) return result.data
    throw new InvalidArgumentError(`It ${explainIssue(result.error.issues[0]!, value)[0]!.message}.`)
  })
}

function placeholder(schema: z.ZodType): string {
  if (schema instanceof z.ZodNumber) return schema.isInt ? 'n' : 'x'
  if (schema instanceof z.ZodTuple) return schema.def.items.map(() => 'x').join(',')
  if (schema instanceof z.ZodArray) return `${placeholder(schema.element as z.ZodType)},...`
  return schema instanceof z.ZodEnum ? 'name' : 'text'
}

/** The text of a flag as the value that a file would hold. */
function parseFlag(schema: z.ZodType, text: string): unknown {
  if (schema instanceof z.ZodNumber) return text.trim() === '' || Number.isNaN(Number(text)) ? text : Number(text)
  if (schema instanceof z.ZodUnion) {
    const values = (schema.options as z.ZodType[]).map((option) => parseFlag(option, text))
    return values.find((value) => schema.safeParse(value).success) ?? text
  }
  if (schema instanceof z.ZodTuple)
    return text.split(',').map((part) => parseFlag(schema.def.items[0] as z.ZodType, part))
  if (schema instanceof z.ZodArray) return text.split(',').map((part) => parseFlag(schema.element as z.ZodType, part))
  return text
}
