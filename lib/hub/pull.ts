import { link, mkdir, readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { ArgumentError, FileError } from '../errors.js'
import {
  adoptDirectory,
  exists,
  fileError,
  requireSpace,
  restoreDirectory,
  withLock,
  writeFileAtomic,
} from '../files.js'
import { cachedFolder, requireModelName, stagingFolder } from './cache.js'
import { HubClient } from './client.js'
import { download } from './download.js'
import { partialSize, sizeOf } from './partialFile.js'
import type { HubFile, Snapshot } from './snapshot.js'

/** What is to be fetched, told before anything is. */
export interface PullPlan {
  name: string
  revision: string
  /** The commit that the revision is now. */
  commit: string
  /** Files in the order they are fetched in. Sizes in bytes; `present` are there already. */
  files: readonly { name: string; size: number; present: number }[]
}

/** How far a pull is. */
export interface PullProgress {
  /** The file in hand. */
  file: string
  /** Bytes of all files that are here, and that there are. */
  present: number
  total: number
  /** Bytes that came over the network in this run, and its seconds so far. */
  received: number
  seconds: number
}

/** Hears of a pull. */
export interface PullListener {
  /** Before anything is fetched. */
  onPlan?(plan: PullPlan): void
  /** After every piece of a file. */
  onProgress?(progress: PullProgress): void
  /** Something failed that may pass: why, and in how many milliseconds it is tried again. */
  onRetry?(reason: string, wait: number): void
}

/** How to pull. */
export interface PullOptions {
  /** Branch, tag or commit; default `main`, or what follows `@` in the name. */
  revision?: string
  /** Folder of the model; default: its place in the cache, where its name is enough to find it. */
  to?: string
  /** The hub; default: what HF_ENDPOINT names, else https://huggingface.co. */
  endpoint?: string
  /** An access token; default: HF_TOKEN. Sent to the endpoint alone. */
  token?: string
  /** How often in a row something that fails is tried again, until bytes come again; default 6. */
  retries?: number
  /** Milliseconds until it is tried again for the first time; default 1000. They double up to 30 s; a server's Retry-After comes first. */
  retryDelay?: number
  signal?: AbortSignal
  listener?: PullListener
}

/** A model that is here. */
export interface PulledModel {
  folder: string
  name: string
  revision: string
  commit: string
  /** Bytes of its files, and of those that came over the network this time. */
  bytes: number
  received: number
}

const RECORD = 'made-with.json'
const recordSchema = z.object({
  pulled: z.object({
    name: z.string(),
    commit: z.string(),
    files: z.record(z.string(), z.object({ size: z.number(), digest: z.string() })),
  }),
})
type Pulled = z.output<typeof recordSchema>['pulled']

/**
 * Downloads a model folder from the Hugging Face Hub: config.json, generation_config.json, tokenizer, chat template and weights in
 * .safetensors, each verified by the checksum that the hub lists. The folder takes its name when it is complete; until then its files are
 * gathered beside it, and a pull that was interrupted goes on there, in the middle of a file. Of a model that has changed, only the files that
 * are others now are fetched; the old one stays in use until the new one is complete. `made-with.json` in the folder names the commit.
 * @param name `owner/name` or `owner/name@revision`
 * @throws HubError: ERR_HUB_NOT_FOUND, ERR_HUB_GATED, ERR_HUB_UNAUTHORIZED, ERR_HUB_FORBIDDEN, ERR_HUB_RATE_LIMIT, ERR_HUB_UNAVAILABLE,
 *   ERR_HUB_CONNECTION, ERR_HUB_CHECKSUM, ERR_HUB_NO_WEIGHTS, ERR_HUB_FILE_NAME, ERR_HUB_ANSWER. FileError: ERR_DISK_FULL, ERR_FILE_WRITE,
 *   ERR_FILE_BUSY, ERR_FOLDER_IN_USE. ArgumentError. The signal's reason; what has been fetched stays
 */
export async function pullModel(name: string, options: PullOptions = {}): Promise<PulledModel> {
  const model = requireModelName(name, options.revision)
  const folder = options.to ?? cachedFolder(model)
  const { retries = 6, retryDelay: delay = 1000, signal, listener } = options
  const policy = { retries, delay, signal, onRetry: listener?.onRetry?.bind(listener) }
  const client = new HubClient(endpointOf(options), tokenOf(options), policy)
  const snapshot = await client.snapshot(model)
  return withLock(folder, async () => {
    await restoreDirectory(folder)
    const old = await readRecord(folder)
    await requireReplaceable(folder, snapshot, old)
    const pull = new Pull(snapshot, folder, listener)
    if (!(await isComplete(folder, snapshot, old))) {
      await pull.gather(old, (file, onBytes) =>
        download(file, { client, snapshot, folder: pull.staging, policy, onBytes }),
      )
      await writeRecord(pull.staging, client.endpoint, snapshot)
      await adoptDirectory(pull.staging, folder).catch(async (error) => {
        throw await fileError(error, folder, 'what has been fetched is kept for the next pull')
      })
    } else {
      pull.tellPlan(snapshot.files.map(({ size }) => size))
      if (old!.commit !== snapshot.commit) await writeRecord(folder, client.endpoint, snapshot)
    }
    const { total: bytes, received } = pull
    return { folder, ...model, commit: snapshot.commit, bytes, received }
  })
}

/** One pull: its files, gathered in the staging folder, and how far they are. */
class Pull {
  readonly staging: string
  readonly total: number
  received = 0
  readonly #snapshot: Snapshot
  readonly #folder: string
  readonly #listener: PullListener | undefined
  readonly #started = performance.now()

  constructor(snapshot: Snapshot, folder: string, listener: PullListener | undefined) {
    this.staging = stagingFolder(folder)
    this.total = bytesOf(snapshot.files.map(({ size }) => size))
    this.#snapshot = snapshot
    this.#folder = folder
    this.#listener = listener
  }

  tellPlan(present: readonly number[]): void {
    const { name, revision, commit, files } = this.#snapshot
    const planned = files.map((file, i) => ({ name: file.name, size: file.size, present: present[i]! }))
    this.#listener?.onPlan?.({ name, revision, commit, files: planned })
  }

  /** Fetches what is missing, file by file. */
  async gather(
    old: Pulled | null,
    fetch: (file: HubFile, onBytes: (size: number, received: number) => void) => Promise<void>,
  ): Promise<void> {
    const { files } = this.#snapshot
    const present = await this.#prepare(old).catch(async (error) => {
      throw await fileError(error, this.#folder)
    })
    this.tellPlan(present)
    await requireSpace(this.#folder, this.total - bytesOf(present))
    for (const [i, file] of files.entries())
      await fetch(file, (size, received) => {
        present[i] = size
        this.received += received
        this.#tell(file.name, bytesOf(present))
      })
  }

  /** The staging folder with nothing in it but files of this snapshot, and those of the old one that are the same. @returns bytes of each */
  async #prepare(old: Pulled | null): Promise<number[]> {
    const { files } = this.#snapshot
    await mkdir(this.staging, { recursive: true })
    const wanted = new Set(files.flatMap(({ name }) => [name, `${name}.partial`, `${name}.partial.etag`]))
    for (const name of await readdir(this.staging))
      if (!wanted.has(name)) await rm(join(this.staging, name), { recursive: true, force: true })
    return Promise.all(files.map((file) => this.#present(file, old)))
  }

  async #present(file: HubFile, old: Pulled | null): Promise<number> {
    const target = join(this.staging, file.name)
    if ((await sizeOf(target)) === file.size) return file.size
    await rm(target, { force: true })
    const before = join(this.#folder, file.name)
    if (old?.files[file.name]?.digest === file.checksum.digest && (await sizeOf(before)) === file.size)
      // Verified like any other. Where the file system has no links it is fetched.
      await link(before, target).catch(() => {})
    return (await sizeOf(target)) || partialSize(target, file)
  }

  #tell(file: string, present: number): void {
    const { total, received } = this
    const seconds = (performance.now() - this.#started) / 1000
    this.#listener?.onProgress?.({ file, present, total, received, seconds })
  }
}

const bytesOf = (sizes: readonly number[]): number => sizes.reduce((sum, size) => sum + size, 0)

function endpointOf({ endpoint }: PullOptions): string {
  const text = endpoint || process.env.HF_ENDPOINT || 'https://huggingface.co'
  if (!URL.canParse(text) || !/^https?:$/.test(new URL(text).protocol))
    throw new ArgumentError(`${JSON.stringify(text)} is no address of a hub; give one such as https://huggingface.co`)
  return text.replace(/\/+$/, '')
}

/** Never part of a message. */
function tokenOf({ token }: PullOptions): string | undefined {
  const text = (token || process.env.HF_TOKEN || '').trim()
  if (/^[\x21-\x7e]*$/.test(text)) return text || undefined
  throw new ArgumentError('the token holds characters that no token has; copy it again for --token or HF_TOKEN')
}

/** What an earlier pull wrote into a folder; null where there was none. */
async function readRecord(folder: string): Promise<Pulled | null> {
  try {
    return recordSchema.parse(JSON.parse(await readFile(join(folder, RECORD), 'utf8'))).pulled
  } catch {
    return null
  }
}

async function writeRecord(
  folder: string,
  endpoint: string,
  { name, revision, commit, files }: Snapshot,
): Promise<void> {
  const listed = files.map((file) => [file.name, { size: file.size, ...file.checksum }])
  const pulled = { endpoint, name, revision, commit, files: Object.fromEntries(listed) }
  const command = `lantern pull ${name} --revision ${commit}`
  await writeFileAtomic(join(folder, RECORD), `${JSON.stringify({ command, pulled }, null, 2)}\n`)
}

/** Whether a folder holds the snapshot's files. It took its name complete and verified: their sizes are enough. */
async function isComplete(folder: string, { files }: Snapshot, old: Pulled | null): Promise<boolean> {
  if (!old || Object.keys(old.files).length !== files.length) return false
  const sizes = await Promise.all(files.map(({ name }) => sizeOf(join(folder, name))))
  return files.every(({ name, size, checksum }, i) => old.files[name]?.digest === checksum.digest && sizes[i] === size)
}

/** A folder is replaced as a whole: it must be new, empty, or what an earlier pull of the same model made. */
async function requireReplaceable(folder: string, { name }: Snapshot, old: Pulled | null): Promise<void> {
  if (!(await exists(folder)) || old?.name === name) return
  const found = await readdir(folder).catch(() => ['a file'])
  if (found.length === 0) return
  throw new FileError(
    'ERR_FOLDER_IN_USE',
    `${folder} holds something other than ${name}; pull to a new folder instead`,
    folder,
  )
}
