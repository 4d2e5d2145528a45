import { createHash, type Hash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { type FileHandle, open, readFile, rename, rm, stat } from 'node:fs/promises'
import { hashFile, writeAll, writeFileAtomic } from '../files.js'
import type { HubFile } from './snapshot.js'

/** Beside the partial file: what the whole must hash to, which is the ETag that the hub gives it. Bytes of another ETag are of no use. */
const etagOf = (partial: string): string => `${partial}.etag`

const partialOf = (target: string): string => `${target}.partial`

/** Bytes of `file` that a partial file beside `target` holds. */
export async function partialSize(target: string, file: HubFile): Promise<number> {
  const partial = partialOf(target)
  const etag = await readFile(etagOf(partial), 'utf8').catch(() => null)
  const size = etag === file.checksum.digest ? await sizeOf(partial) : 0
  return size <= file.size ? size : 0
}

/** A file that grows beside its target and takes its name when it is known to be right. Hashed as it is written. */
export class PartialFile {
  readonly #target: string
  readonly #file: HubFile
  readonly #handle: FileHandle
  #hash: Hash
  #size = 0

  private constructor(target: string, file: HubFile, handle: FileHandle) {
    this.#target = target
    this.#file = file
    this.#handle = handle
    this.#hash = hashOf(file)
  }

  /** Takes up what an earlier run left of the same content. The caller closes it. */
  static async open(target: string, file: HubFile, signal?: AbortSignal): Promise<PartialFile> {
    const path = partialOf(target)
    if ((await partialSize(target, file)) === 0) {
      await rm(path, { force: true }) // before the new ETag: old bytes must never stand beside it
      await writeFileAtomic(etagOf(path), file.checksum.digest)
    }
    const partial = new PartialFile(target, file, await open(path, 'a'))
    try {
      for await (const chunk of createReadStream(path, { signal, highWaterMark: 2 ** 20 })) partial.#add(chunk)
    } catch (error) {
      await partial.close()
      throw error
    }
    return partial
  }

  /** Bytes that are there. */
  get size(): number {
    return this.#size
  }

  async write(bytes: Uint8Array): Promise<void> {
    await writeAll(this.#handle, bytes)
    this.#add(bytes)
  }

  /** Begins anew. */
  async clear(): Promise<void> {
    await this.#handle.truncate()
    this.#hash = hashOf(this.#file)
    this.#size = 0
  }

  /** The digest of what is there, hexadecimal. */
  digest(): string {
    return this.#hash.copy().digest('hex')
  }

  /** Gives the file its name, for good. */
  async finish(): Promise<void> {
    await this.#handle.sync()
    await rename(partialOf(this.#target), this.#target)
    await rm(etagOf(partialOf(this.#target)), { force: true })
  }

  close(): Promise<void> {
    return this.#handle.close()
  }

  #add(bytes: Uint8Array): void {
    this.#hash.update(bytes)
    this.#size += bytes.byteLength
  }
}

/** Whether a file is there with the right content. */
export async function isVerified(path: string, file: HubFile, signal?: AbortSignal): Promise<boolean> {
  if ((await sizeOf(path)) !== file.size) return false
  return (await hashFile(path, hashOf(file), signal)) === file.checksum.digest
}

/** Bytes of a file, 0 when there is none. */
export const sizeOf = (path: string): Promise<number> =>
  stat(path).then(
    ({ size }) => size,
    () => 0,
  )

/** Git hashes a blob with its kind and size before it: https://git-scm.com/book/en/v2/Git-Internals-Git-Objects */
function hashOf({ size, checksum }: HubFile): Hash {
  const hash = createHash(checksum.algorithm)
  return checksum.algorithm === 'sha1' ? hash.update(`blob ${size}\0`) : hash
}
