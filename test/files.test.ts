import { spawnSync } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { open, readlink, rename, symlink } from 'node:fs/promises'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { FileError } from '../lib/errors.js'
import { replaceDirectory, restoreDirectory, withLock, writeFileAtomic, writeStreamAtomic } from '../lib/files.js'

vi.mock('node:fs/promises', async (original) => {
  const actual = await original<typeof import('node:fs/promises')>()
  return { ...actual, rename: vi.fn(actual.rename) }
})

let root = ''
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'files-'))
})
afterEach(() => {
  vi.restoreAllMocks()
  rmSync(root, { recursive: true, force: true })
})

const text = (...names: string[]) => readFileSync(join(root, ...names), 'utf8')

/** Lets every write to a file handle fail as the system would. */
async function failWrites(code: string): Promise<void> {
  const handle = await open(join(root, 'probe'), 'w')
  const error = Object.assign(new Error(`${code}: write`), { code, syscall: 'write' })
  vi.spyOn(Object.getPrototypeOf(handle), 'write').mockRejectedValue(error)
  await handle.close()
  rmSync(join(root, 'probe'))
}

describe('writeFileAtomic', () => {
  it('writes and replaces, leaving nothing beside', async () => {
    await writeFileAtomic(join(root, 'a.json'), 'one')
    await writeFileAtomic(join(root, 'a.json'), new Uint8Array([116, 119, 111]))
    expect(text('a.json')).toBe('two')
    expect(readdirSync(root)).toEqual(['a.json'])
  })

  it('keeps the old file and names the free space when the disk is full', async () => {
    await writeFileAtomic(join(root, 'a'), 'old')
    await failWrites('ENOSPC')
    const error = await writeFileAtomic(join(root, 'a'), 'new').catch((e: unknown) => e)
    expect(error).toBeInstanceOf(FileError)
    expect(error).toMatchObject({ code: 'ERR_DISK_FULL', file: join(root, 'a') })
    expect((error as Error).message).toMatch(
      /the disk is full: it does not fit into the [\d.]+ MiB that are free; nothing was changed\. Free some space/,
    )
    expect(text('a')).toBe('old')
    expect(readdirSync(root)).toEqual(['a'])
  })

  it('names the file when its folder does not exist', async () => {
    const path = join(root, 'none', 'a')
    await expect(writeFileAtomic(path, 'x')).rejects.toMatchObject({ code: 'ERR_FILE_WRITE', file: path })
  })

  it('passes an error of the producer on, and keeps the old file', async () => {
    await writeFileAtomic(join(root, 'a'), 'old')
    const failure = new RangeError('mine')
    const writing = writeStreamAtomic(join(root, 'a'), async (sink) => {
      await sink.write(Buffer.from('half'))
      throw failure
    })
    await expect(writing).rejects.toBe(failure)
    expect(text('a')).toBe('old')
    expect(readdirSync(root)).toEqual(['a'])
  })

  it('completes partial writes', async () => {
    const handle = await open(join(root, 'probe'), 'w')
    const prototype = Object.getPrototypeOf(handle) as typeof handle
    const write = prototype.write
    await handle.close()
    const short = vi.spyOn(prototype, 'write') as unknown as ReturnType<typeof vi.fn>
    short.mockImplementation(function (this: typeof handle, data: Uint8Array, at: number, length: number) {
      return write.call(this, data as never, at as never, Math.min(length, 3) as never)
    })
    await writeFileAtomic(join(root, 'a'), 'abcdefgh')
    expect(text('a')).toBe('abcdefgh')
    expect(short).toHaveBeenCalledTimes(3)
  })

  it('clears away what a killed process left, and only that', async () => {
    const dead = spawnSync(process.execPath, ['-e', '']).pid
    const left = `.a.${hostname()}-${dead}-01234567.tmp`
    const running = `.a.${hostname()}-${process.pid}-01234567.tmp`
    const elsewhere = `.a.elsewhere-${dead}-01234567.tmp`
    for (const name of [left, running, elsewhere]) writeFileSync(join(root, name), 'part')
    await writeFileAtomic(join(root, 'a'), 'x')
    expect(readdirSync(root).sort()).toEqual([running, elsewhere, 'a'].sort())
  })
})

describe('replaceDirectory', () => {
  const fill = (content: string) => async (directory: string) => {
    writeFileSync(join(directory, 'file'), content)
    mkdirSync(join(directory, 'inner'))
    writeFileSync(join(directory, 'inner', 'file'), content)
  }

  it('makes and replaces a directory as a whole', async () => {
    await replaceDirectory(join(root, 'deep', 'model'), fill('one'))
    writeFileSync(join(root, 'deep', 'model', 'stale'), '')
    await replaceDirectory(join(root, 'deep', 'model'), fill('two'))
    expect(text('deep', 'model', 'inner', 'file')).toBe('two')
    expect(readdirSync(join(root, 'deep', 'model')).sort()).toEqual(['file', 'inner'])
    expect(readdirSync(join(root, 'deep'))).toEqual(['model'])
  })

  it('keeps the old directory when filling fails, naming the directory and not the temporary file', async () => {
    await replaceDirectory(join(root, 'model'), fill('old'))
    await failWrites('ENOSPC')
    const path = join(root, 'model')
    const writing = replaceDirectory(path, (directory) => writeFileAtomic(join(directory, 'file'), 'new'))
    await expect(writing).rejects.toMatchObject({ code: 'ERR_DISK_FULL', file: path })
    expect(text('model', 'file')).toBe('old')
    expect(readdirSync(root)).toEqual(['model'])
  })

  it('puts the old directory back when the new one cannot take its name', async () => {
    await replaceDirectory(join(root, 'model'), fill('old'))
    const failure = Object.assign(new Error('EIO: i/o error, rename'), { code: 'EIO', syscall: 'rename' })
    const original = vi.mocked(rename).getMockImplementation()!
    vi.mocked(rename).mockImplementationOnce(original).mockRejectedValueOnce(failure)
    const writing = replaceDirectory(join(root, 'model'), fill('new'))
    await expect(writing).rejects.toMatchObject({ code: 'ERR_FILE_WRITE', cause: failure })
    expect(text('model', 'file')).toBe('old')
    expect(readdirSync(root)).toEqual(['model'])
  })

  it('puts the old directory back after a crash between the renames', async () => {
    await replaceDirectory(join(root, 'model'), fill('old'))
    renameSync(join(root, 'model'), join(root, '.model.previous'))
    await restoreDirectory(join(root, 'model'))
    expect(text('model', 'file')).toBe('old')
    await restoreDirectory(join(root, 'model'))
    expect(readdirSync(root)).toEqual(['model'])
  })

  it('removes the old directory that a crash after the swap left', async () => {
    await replaceDirectory(join(root, '.model.previous'), fill('older'))
    await replaceDirectory(join(root, 'model'), fill('old'))
    await restoreDirectory(join(root, 'model'))
    expect(text('model', 'file')).toBe('old')
    await replaceDirectory(join(root, 'model'), fill('new'))
    expect(text('model', 'file')).toBe('new')
    expect(existsSync(join(root, '.model.previous'))).toBe(false)
  })
})

describe('withLock', () => {
  const dead = spawnSync(process.execPath, ['-e', '']).pid
  const lock = () => join(root, '.model.lock')

  it('holds the lock while the work is done, and gives it back when the work fails', async () => {
    const work = withLock(join(root, 'model'), async () => {
      expect(await readlink(lock())).toBe(`${process.pid}@${hostname()}`)
      throw new RangeError('mine')
    })
    await expect(work).rejects.toThrow('mine')
    expect(readdirSync(root)).toEqual([])
  })

  it('takes over from a process that was killed, and from no other', async () => {
    await symlink(`${dead}@${hostname()}`, lock())
    expect(await withLock(join(root, 'model'), async () => 7)).toBe(7)
    for (const holder of [`${process.pid}@${hostname()}`, `${dead}@elsewhere`]) {
      await symlink(holder, lock())
      const path = join(root, 'model')
      const refused = withLock(path, async () => 7)
      await expect(refused).rejects.toMatchObject({ code: 'ERR_FILE_BUSY', file: path })
      await expect(refused).rejects.toThrow(`process ${holder} is writing it`)
      expect(await readlink(lock())).toBe(holder)
      rmSync(lock())
    }
  })
})
