import { join } from 'node:path'
import { HubError } from '../errors.js'
import { fileError } from '../files.js'
import type { HubClient } from './client.js'
import { connectionFailure } from './failure.js'
import { isVerified, PartialFile } from './partialFile.js'
import { type RetryPolicy, retrying } from './retry.js'
import type { HubFile, Snapshot } from './snapshot.js'

/** What a download needs besides the file. */
export interface DownloadContext {
  client: HubClient
  snapshot: Snapshot
  /** Gets the file. */
  folder: string
  policy: RetryPolicy
  /** Hears how much of the file is there, and how many bytes just came over the network. */
  onBytes: (size: number, received: number) => void
}

/**
 * Fetches what is missing of a file and lets it take its name when its checksum is right. Wrong bytes are fetched again once, from the
 * beginning.
 * @throws HubError ERR_HUB_CHECKSUM when they are wrong again; FileError; what has been fetched stays for the next time
 */
export async function download(file: HubFile, context: DownloadContext): Promise<void> {
  const { folder, onBytes, policy } = context
  const { signal } = policy
  const target = join(folder, file.name)
  try {
    if (await isVerified(target, file, signal)) return onBytes(file.size, 0)
    const partial = await PartialFile.open(target, file, signal)
    try {
      onBytes(partial.size, 0)
      let actual = await complete(partial, file, context)
      if (actual !== file.checksum.digest) {
        policy.onRetry?.(`${file.name} arrived with wrong bytes`, 0)
        await partial.clear()
        actual = await complete(partial, file, context)
      }
      if (actual === file.checksum.digest) return await partial.finish()
      await partial.clear()
      throw wrongBytes(file, actual, context)
    } finally {
      await partial.close()
    }
  } catch (error) {
    signal?.throwIfAborted()
    throw await fileError(error, target, 'what has been fetched is kept for the next pull')
  }
}

/** Fetches until all bytes are there. @returns what they hash to, or why they are too many */
async function complete(partial: PartialFile, file: HubFile, context: DownloadContext): Promise<string> {
  const { client, snapshot, policy, onBytes } = context
  const fetchRest = async () => {
    if (partial.size === file.size) return partial.digest()
    const { from, chunks } = await client.open(snapshot, file, partial.size)
    if (from !== partial.size) await partial.clear()
    for await (const chunk of chunks) {
      if (partial.size + chunk.byteLength > file.size) return `more than ${file.size} bytes`
      await partial.write(chunk)
      onBytes(partial.size, chunk.byteLength)
    }
    if (partial.size === file.size) return partial.digest()
    throw connectionFailure(`${file.name} ended after ${partial.size} of ${file.size} bytes`, {
      endpoint: client.endpoint,
      name: snapshot.name,
    })
  }
  return retrying(policy, fetchRest, () => partial.size)
}

function wrongBytes({ name, checksum }: HubFile, actual: string, { client, snapshot }: DownloadContext): HubError {
  const { algorithm, digest } = checksum
  return new HubError(
    'ERR_HUB_CHECKSUM',
    `${name} of ${snapshot.name} arrived from ${client.endpoint} with wrong bytes twice: its ${algorithm} must be ${digest} but is ${actual}; they were thrown away. Check what stands between here and the hub, such as a proxy or HF_ENDPOINT, and pull again`,
  )
}
