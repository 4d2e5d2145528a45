import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ChatTemplateError, TokenizerError } from '../errors.js'
import { modelFolder } from '../hub/cache.js'

/** A token that is matched before the model splits text, as tokenizer.json lists it. */
export interface AddedToken {
  id: number
  content: string
  special: boolean
}

/** The parts of tokenizer.json that we read ourselves; the rest goes to the tokenizers package as it is. */
export interface TokenizerJson {
  added_tokens: AddedToken[]
  model: { vocab: Record<string, number>; [key: string]: unknown }
  decoder?: { type?: string; [key: string]: unknown } | null
  [key: string]: unknown
}

/** What a Hugging Face folder says about its tokenizer. */
export interface TokenizerFiles {
  tokenizer: TokenizerJson
  config: Record<string, unknown>
  /** Source of the chat template, if there is one. */
  chatTemplate: string | undefined
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

async function readOptional(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, 'utf8')
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw new TokenizerError(
      'TOKENIZER_READ',
      `${file}: cannot be read (${error instanceof Error ? error.message : error}); check the path and its permissions.`,
      { cause: error },
    )
  }
}

function parseObject(file: string, text: string): Record<string, unknown> {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw new TokenizerError(
      'TOKENIZER_JSON',
      `${file}: not valid JSON (${cause instanceof Error ? cause.message : cause}); download or copy the file again.`,
      { cause },
    )
  }
  if (isObject(value)) return value
  throw new TokenizerError('TOKENIZER_JSON', `${file}: not a JSON object; download or copy the file again.`)
}

/** Ids index arrays; a stray huge one in a damaged file must not allocate the memory of its size. */
function isTokenId(value: unknown): boolean {
  return Number.isInteger(value) && Number(value) >= 0 && Number(value) < 1 << 24
}

function isAddedToken(value: unknown): value is AddedToken {
  return isObject(value) && isTokenId(value.id) && typeof value.content === 'string' && value.content !== ''
}

function formatProblem(json: Record<string, unknown>): string | undefined {
  const { model, added_tokens: added = [] } = json
  if (!isObject(model) || !isObject(model.vocab)) {
    return '"model.vocab" is missing or no object; only vocabularies of token -> id are supported (BPE, WordPiece)'
  }
  if (!Object.values(model.vocab).every(isTokenId)) return '"model.vocab" holds ids that are no integers below 2^24'
  if (!Array.isArray(added) || !added.every(isAddedToken))
    return '"added_tokens" is not a list of {id, content, special}'
  return undefined
}

/** Checks the members that we read and fills in the optional ones that the tokenizers package insists on. */
function checkTokenizerJson(file: string, json: Record<string, unknown>): TokenizerJson {
  const problem = formatProblem(json)
  if (problem !== undefined) {
    throw new TokenizerError('TOKENIZER_FORMAT', `${file}: ${problem}; use the tokenizer.json of a fast tokenizer.`)
  }
  const absent = { normalizer: null, pre_tokenizer: null, post_processor: null, decoder: null }
  return { added_tokens: [], ...absent, ...json } as unknown as TokenizerJson
}

/** tokenizer_config.json holds one template, or a list of named ones of which "default" is for plain conversations. */
function templateOf(file: string, value: unknown): string | undefined {
  if (value === undefined || value === null) return undefined
  if (typeof value === 'string') return value
  if (Array.isArray(value)) {
    const named = value.filter(isObject)
    const chosen = named.find((entry) => entry.name === 'default') ?? named[0]
    if (typeof chosen?.template === 'string') return chosen.template
  }
  throw new ChatTemplateError(
    'CHAT_TEMPLATE_FORMAT',
    `${file}: "chat_template" is neither a string nor a list of {name, template}; correct it or put the template into chat_template.jinja.`,
  )
}

/**
 * Reads tokenizer.json, tokenizer_config.json and, where present, special_tokens_map.json and chat_template.jinja of a folder or pulled model.
 * @throws TokenizerError on a missing, unreadable or broken file; HubError for a model that has not been pulled
 */
export async function readTokenizerFiles(pathOrName: string): Promise<TokenizerFiles> {
  const folder = await modelFolder(pathOrName)
  const [tokenizerFile, configFile, mapFile, templateFile] = [
    'tokenizer.json',
    'tokenizer_config.json',
    'special_tokens_map.json',
    'chat_template.jinja',
  ].map((name) => join(folder, name)) as [string, string, string, string]
  const [tokenizerText, configText, mapText, templateText] = await Promise.all(
    [tokenizerFile, configFile, mapFile, templateFile].map(readOptional),
  )
  for (const [file, text] of [
    [tokenizerFile, tokenizerText],
    [configFile, configText],
  ] as const) {
    if (text !== undefined) continue
    throw new TokenizerError(
      'TOKENIZER_MISSING',
      `${file}: no such file; point at a Hugging Face model folder that holds tokenizer.json and tokenizer_config.json.`,
    )
  }
  const tokenizer = checkTokenizerJson(tokenizerFile, parseObject(tokenizerFile, tokenizerText!))
  const specialTokens = mapText === undefined ? {} : parseObject(mapFile, mapText)
  const config = { ...specialTokens, ...parseObject(configFile, configText!) }
  return { tokenizer, config, chatTemplate: templateText ?? templateOf(configFile, config.chat_template) }
}

/** Content of a special-token entry, which is a string or an object with `content`; undefined when unset. */
export function specialTokenContent(value: unknown): string | undefined {
  if (typeof value === 'string') return value
  return isObject(value) && typeof value.content === 'string' ? value.content : undefined
}

/** What of a tokenizer.json decides the ids of a text. Truncation and padding are the caller's business. */
const DECISIVE = ['normalizer', 'pre_tokenizer', 'post_processor', 'added_tokens', 'model'] as const

/** SHA-256 of what decides the ids of a text, whatever the order of keys and the way merges are written in the file. */
export function tokenizerHash(json: TokenizerJson): string {
  const { merges } = json.model
  const pairs = Array.isArray(merges) ? merges.map((m) => (Array.isArray(m) ? m.join(' ') : m)) : merges
  const content: TokenizerJson = { ...json, model: { ...json.model, merges: pairs } }
  const hash = createHash('sha256')
  for (const key of DECISIVE) hash.update(`${key}:${JSON.stringify(content[key] ?? null, sorted)}\n`)
  return hash.digest('hex')
}

/** Objects with their keys in order, so that equal contents are equal texts. */
const sorted = (_key: string, value: unknown): unknown =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
    ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)))
    : value
