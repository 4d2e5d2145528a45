import { type Hash, randomBytes } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { type FileHandle, mkdir, open, readdir, readlink, rename, rm, stat, statfs, symlink } from 'node:fs/promises'
import { hostname } from 'node:os'
import { basename, dirname, join, resolve } from 'node:path'
import { FileError } from './errors.js'

/** Appends bytes to a file that is being written. */
export interface ByteSink {
  /** Writes all of `bytes`. The caller may reuse the array once the promise resolves. */
  write(bytes: Uint8Array): Promise<void>
}

/**
 * Writes a whole file so that a reader, a crash or a full disk sees either the old content or the new, never a part:
 * temporary name in the same directory, fsync, rename.
 * @throws FileError; the old file is then intact and the temporary one gone.
 */
export async function writeFileAtomic(path: string, data: string | Uint8Array): Promise<void> {
  const bytes = typeof data === 'string' ? Buffer.from(data) : data
  await writeStreamAtomic(path, (sink) => sink.write(bytes))
}

/**
 * As `writeFileAtomic`, for content that `produce` writes piece by piece. An error of `produce` itself is passed on as it is.
 * @throws FileError
 */
export async function writeStreamAtomic(path: string, produce: (sink: ByteSink) => Promise<void>): Promise<void> {
  const target = resolve(path)
  const temporary = temporaryName(target)
  try {
    await removeAbandoned(target)
    const handle = await open(temporary, 'wx')
    try {
      await produce({ write: (bytes) => writeAll(handle, bytes) })
      await handle.sync()
    } finally {
      await handle.close()
    }
    await rename(temporary, target)
    await syncDirectory(dirname(target))
  } catch (error) {
    await rm(temporary, { force: true })
    throw await fileError(error, path)
  }
}

/**
 * Replaces a directory as a whole: `fill` writes into an empty one beside it, which then takes the name.
 * A crash leaves the old directory, the new one, or (between two renames) the old one under the name that `restoreDirectory` puts back.
 * @throws FileError; the old directory is then in place and the new one gone. An error of `fill` itself is passed on as it is.
 */
export async function replaceDirectory(path: string, fill: (directory: string) => Promise<void>): Promise<void> {
  const target = resolve(path)
  const temporary = temporaryName(target)
  try {
    await mkdir(dirname(target), { recursive: true })
    await restoreDirectory(target)
    await removeAbandoned(target)
    await mkdir(temporary)
    await fill(temporary)
    await adoptDirectory(temporary, target)
  } catch (error) {
    await rm(temporary, { recursive: true, force: true })
    // A file inside the temporary directory means nothing to the caller: name the directory that was to be written.
    throw await fileError(error instanceof FileError && error.file.startsWith(temporary) ? error.cause : error, path)
  }
}

/** The last step of `replaceDirectory`, for a directory `fresh` that was filled in several runs: it takes the name of `path`, which goes. */
export async function adoptDirectory(fresh: string, path: string): Promise<void> {
  const target = resolve(path)
  for (const name of await readdir(fresh, { recursive: true })) await syncPath(join(fresh, name))
  await syncPath(fresh)
  await swap(fresh, target)
  await syncDirectory(dirname(target))
}

/**
 * Does `work` while no other process holds the lock of `path`: a symbolic link beside it that names its holder, since a link comes into being
 * with its content. One that a killed process of this host left is taken over.
 * @throws FileError ERR_FILE_BUSY naming the holder
 */
export async function withLock<T>(path: string, work: () => Promise<T>): Promise<T> {
  const target = resolve(path)
  const lock = join(dirname(target), `.${basename(target)}.lock`)
  const take = () => symlink(`${process.pid}@${hostname()}`, lock)
  try {
    await mkdir(dirname(target), { recursive: true })
    await take().catch(async (error) => {
      if (errno(error) !== 'EEXIST') throw error
      await removeAbandonedLock(lock, path)
      await take()
    })
  } catch (error) {
    throw await fileError(error, path)
  }
  try {
    return await work()
  } finally {
    await rm(lock, { force: true })
  }
}

async function removeAbandonedLock(lock: string, path: string): Promise<void> {
  const holder = await readlink(lock).catch(() => '')
  const [pid, host] = [Number.parseInt(holder, 10), holder.slice(holder.indexOf('@') + 1)]
  if (host === hostname() && !isRunning(pid)) return rm(lock, { force: true })
  throw new FileError(
    'ERR_FILE_BUSY',
    `${path}: process ${holder} is writing it; wait until that is done, or remove ${lock} if it no longer runs`,
    path,
  )
}

/** @throws FileError ERR_DISK_FULL when fewer than `bytes` are free where `path` is to be written */
export async function requireSpace(path: string, bytes: number): Promise<void> {
  const free = await freeBytes(path)
  if (free === null || free >= bytes) return
  const message = `${path}: the disk is full: ${mib(bytes)} do not fit into the ${mib(free)} that are free; nothing was changed. Free some space or write to another disk`
  throw new FileError('ERR_DISK_FULL', message, path)
}

/** Puts the old directory back if a crash interrupted `replaceDirectory` between its two renames; otherwise does nothing. */
export async function restoreDirectory(path: string): Promise<void> {
  const target = resolve(path)
  if (!(await exists(target)) && (await exists(previousName(target)))) await rename(previousName(target), target)
}

async function swap(fresh: string, target: string): Promise<void> {
  const previous = previousName(target)
  await rm(previous, { recursive: true, force: true }) // left when a crash came after the swap: the target is newer
  const replaced = await exists(target)
  if (replaced) await rename(target, previous)
  try {
    await rename(fresh, target)
  } catch (error) {
    if (replaced) await rename(previous, target)
    throw error
  }
  await rm(previous, { recursive: true, force: true })
}

const previousName = (target: string): string => join(dirname(target), `.${basename(target)}.previous`)

const temporaryPrefix = (target: string): string => `.${basename(target)}.${hostname()}-`

function temporaryName(target: string): string {
  return join(dirname(target), `${temporaryPrefix(target)}${process.pid}-${randomBytes(4).toString('hex')}.tmp`)
}

/** Removes what a process that was killed on this host left of an earlier attempt: it can be as large as a model. */
async function removeAbandoned(target: string): Promise<void> {
  const prefix = temporaryPrefix(target)
  for (const name of await readdir(dirname(target))) {
    if (!name.startsWith(prefix) || !name.endsWith('.tmp')) continue
    const pid = Number(/^(\d+)-[0-9a-f]{8}\.tmp$/.exec(name.slice(prefix.length))?.[1])
    if (pid > 0 && !isRunning(pid)) await rm(join(dirname(target), name), { recursive: true, force: true })
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return errno(error) !== 'ESRCH'
  }
}

/** Feeds a file to a hash, a mebibyte at a time. @returns the digest, hexadecimal. @throws the file system's error; the signal's reason */
export async function hashFile(path: string, hash: Hash, signal?: AbortSignal): Promise<string> {
  for await (const piece of createReadStream(path, { signal, highWaterMark: 2 ** 20 })) hash.update(piece)
  return hash.digest('hex')
}

/** Writes all of `bytes`, from `position` of the file on or at the end of what has been written. */
export async function writeAll(handle: FileHandle, bytes: Uint8Array, position?: number): Promise<void> {
  for (let at = 0; at < bytes.byteLength; ) {
    const to = position === undefined ? undefined : position + at
    const { bytesWritten } = await handle.write(bytes, at, Math.min(bytes.byteLength - at, 2 ** 26), to)
    at += bytesWritten
  }
}

async function syncPath(path: string): Promise<void> {
  const handle = await open(path, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** Makes a rename last through a power cut. Some file systems cannot sync a directory; the rename has happened all the same. */
async function syncDirectory(path: string): Promise<void> {
  await syncPath(path).catch(() => undefined)
}

/** Whether there is a file or folder of that path. */
export async function exists(path: string): Promise<boolean> {
  try {
    await stat(path)
    return true
  } catch (error) {
    if (errno(error) === 'ENOENT' || errno(error) === 'ENOTDIR') return false
    throw error
  }
}

const errno = (error: unknown): string | undefined =>
  error instanceof Error && 'code' in error && 'syscall' in error ? String(error.code) : undefined

/**
 * Errors of the file system as FileError of the file that the caller named; all others as they are.
 * @param kept what is left as it was, for the message
 */
export async function fileError(error: unknown, path: string, kept = 'nothing was changed'): Promise<unknown> {
  const code = errno(error)
  if (!code) return error
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    const free = await freeBytes(path)
    const room = free === null ? 'the space that is free' : `the ${mib(free)} that are free`
    const message = `${path}: the disk is full: it does not fit into ${room}; ${kept}. Free some space or write to another disk`
    return new FileError('ERR_DISK_FULL', message, path, { cause: error })
  }
  const reason = (error as Error).message
  const message = `${path}: cannot be written (${reason}); ${kept}. Check that the folder exists and may be written to`
  return new FileError('ERR_FILE_WRITE', message, path, { cause: error })
}

/** Bytes that are free where `path` is; null where the system does not tell. */
async function freeBytes(path: string): Promise<number | null> {
  try {
    const { bavail, bsize } = await statfs(dirname(resolve(path)))
    return bavail * bsize
  } catch {
    return null
  }
}

const mib = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`
