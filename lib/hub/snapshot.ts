import { z } from 'zod'
import { HubError } from '../errors.js'
import type { ModelName } from './cache.js'

/** What a file's content must hash to: SHA-256 for those in large file storage, for all others git's SHA-1 of a blob. */
export interface Checksum {
  algorithm: 'sha256' | 'sha1'
  /** Hexadecimal. */
  digest: string
}

/** A file of a model on a hub. */
export interface HubFile {
  name: string
  /** Bytes. */
  size: number
  /** The hub sends the digest as the file's ETag, too. */
  checksum: Checksum
}

/** A model as it was at a commit. */
export interface Snapshot extends ModelName {
  commit: string
  /** The files that a model folder consists of, by name. */
  files: readonly HubFile[]
}

/** Weights are safetensors alone: what else there may be (.bin, .pt) runs code when it is opened. `consolidated` is a copy of them in another form. */
const WEIGHTS = /^(?!consolidated)[^/]+\.safetensors$/
const WANTED = [
  /^(config|generation_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab|chat_template)\.json$/,
  /^(merges\.txt|vocab\.txt|tokenizer\.model|chat_template\.jinja)$/,
  /^(?!consolidated)[^/]+\.safetensors\.index\.json$/,
  WEIGHTS,
]

const entrySchema = z.object({
  type: z.string(),
  path: z.string().min(1),
  size: z.int().min(0).default(0),
  oid: z.string().optional(),
  lfs: z.object({ oid: z.string().regex(/^[0-9a-f]{64}$/), size: z.int().min(0) }).optional(),
})

/** A problem with what an endpoint says of itself: it is no hub, or not to be trusted. */
export const badAnswer = (endpoint: string, problem: string, cause?: unknown): HubError =>
  new HubError(
    'ERR_HUB_ANSWER',
    `${endpoint} does not answer as a hub does: ${problem}; check --endpoint and HF_ENDPOINT`,
    { cause },
  )

/** A commit, which becomes a part of addresses. @throws HubError ERR_HUB_ANSWER for what is none */
export function readCommit(endpoint: string, name: string, commit: unknown): string {
  if (typeof commit === 'string' && /^[0-9a-f]{40,64}$/.test(commit)) return commit
  throw badAnswer(endpoint, `${name} is at the commit ${JSON.stringify(commit)}`)
}

/**
 * The snapshot that a hub's answers describe, with the files of a model folder only.
 * @param entries of the top folder, as the hub lists them
 * @throws HubError ERR_HUB_ANSWER for what no hub says, ERR_HUB_FILE_NAME for names that lead out of a folder, ERR_HUB_NO_WEIGHTS
 */
export function readSnapshot(
  endpoint: string,
  model: ModelName,
  commit: string,
  entries: readonly unknown[],
): Snapshot {
  const files = entries.flatMap((entry) => readEntry(endpoint, model, entry) ?? [])
  for (const [what, wanted] of [
    ['config.json', /^config\.json$/],
    ['weights in .safetensors files', WEIGHTS],
  ] as const)
    if (!files.some(({ name }) => wanted.test(name)))
      throw new HubError(
        'ERR_HUB_NO_WEIGHTS',
        `${model.name} has no ${what} at ${model.revision}; choose another model or --revision, or have its files converted`,
      )
  files.sort((a, b) => a.size - b.size || (a.name < b.name ? -1 : 1)) // what is small is soon known to be right
  return { ...model, commit, files }
}

function readEntry(endpoint: string, { name: model }: ModelName, entry: unknown): HubFile | null {
  const read = entrySchema.safeParse(entry)
  if (!read.success) throw badAnswer(endpoint, `${model} has the file ${JSON.stringify(entry)}`)
  const { type, path: name, size, oid, lfs } = read.data
  if (name.split('/').some((part) => part === '' || part === '.' || part === '..') || /[\\\p{Cc}]/u.test(name))
    throw new HubError(
      'ERR_HUB_FILE_NAME',
      `${endpoint} lists ${JSON.stringify(name)} among the files of ${model}, which leads out of its folder; nothing was written. Do not use this endpoint`,
    )
  if (type !== 'file' || !WANTED.some((wanted) => wanted.test(name))) return null
  if (lfs) return { name, size: lfs.size, checksum: { algorithm: 'sha256', digest: lfs.oid } }
  if (!/^[0-9a-f]{40}$/.test(oid ?? ''))
    throw badAnswer(endpoint, `${name} of ${model} has the oid ${JSON.stringify(oid)}`)
  return { name, size, checksum: { algorithm: 'sha1', digest: oid! } }
}
