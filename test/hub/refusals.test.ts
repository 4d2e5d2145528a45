import { existsSync } from 'node:fs'
import { rm, writeFile } from 'node:fs/promises'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { join } from 'node:path'
import { describe, expect, it, vi } from 'vitest'
import { ArgumentError, FileError, HubError } from '../../lib/errors.js'
import { stagingFolder } from '../../lib/hub/cache.js'
import { pullModel } from '../../lib/hub/pull.js'
import { gitSha1, times } from './hubServer.js'
import { expectComplete, failure, folder, hub, interrupted, model, pull, root, WEIGHTS } from './pulling.js'

describe('a hub that refuses or fails', () => {
  it.each([503, 500, 429, 408])('%i is tried again', async (status) => {
    hub.faults.hub.push(times(1, 'main', (_, response) => void response.writeHead(status).end()))
    hub.faults.cdn.push(times(2, WEIGHTS, (_, response) => void response.writeHead(status).end()))
    const waits: number[] = []
    await pull({ listener: { onRetry: (_, wait) => waits.push(wait) } })
    expect(waits).toHaveLength(3)
    expectComplete()
  })

  it('waits as long as Retry-After says, and not for hours', async () => {
    const busy = (after: string) => (_: IncomingMessage, response: ServerResponse) =>
      void response.writeHead(429, { 'retry-after': after }).end()
    hub.faults.hub.push(times(1, 'main', busy('1')))
    hub.faults.hub.push(times(1, 'main', busy(new Date(Date.now() - 1000).toUTCString())))
    const waits: number[] = []
    const started = performance.now()
    await pull({ listener: { onRetry: (_, wait) => waits.push(wait) } })
    expect(waits).toEqual([1000, 0])
    expect(performance.now() - started).toBeGreaterThan(990)

    hub.faults.hub.push(times(1, 'main', busy('86400')))
    expect(await failure(pull())).toMatchObject({ code: 'ERR_HUB_RATE_LIMIT' })
  })

  it('waits longer every time', async () => {
    hub.faults.hub.push(times(-1, 'main', (_, response) => void response.writeHead(502).end()))
    const waits: number[] = []
    const error = await failure(
      pull({ retries: 3, retryDelay: 8, listener: { onRetry: (_, wait) => waits.push(wait) } }),
    )
    expect(error).toMatchObject({ code: 'ERR_HUB_UNAVAILABLE' })
    expect(waits).toHaveLength(3)
    for (const [i, wait] of waits.entries()) {
      expect(wait).toBeGreaterThanOrEqual(6 * 2 ** i)
      expect(wait).toBeLessThanOrEqual(10 * 2 ** i)
    }
  })

  it.each([
    [
      401,
      'GatedRepo',
      undefined,
      'ERR_HUB_GATED',
      /is gated: accept its licence at http:\S+, then pass --token or set HF_TOKEN$/,
    ],
    [403, 'GatedRepo', 'hf_mine', 'ERR_HUB_GATED', /accept its licence at http:\S+, with the account of your token/],
    [
      401,
      'RepoNotFound',
      undefined,
      'ERR_HUB_NOT_FOUND',
      /check the spelling; for a private model pass --token or set HF_TOKEN$/,
    ],
    [401, '', 'hf_mine', 'ERR_HUB_UNAUTHORIZED', /check the spelling, and that the token is valid/],
    [403, '', 'hf_mine', 'ERR_HUB_FORBIDDEN', /use a token that has the right to read it$/],
    [404, '', undefined, 'ERR_HUB_NOT_FOUND', /check the spelling, the revision and HF_ENDPOINT$/],
    [418, '', undefined, 'ERR_HUB_ANSWER', /answered 418/],
  ] as const)('%i %s: says what to do', async (status, code, token, expected, message) => {
    hub.token = 'hf_right'
    hub.refusal = { status, code }
    const error = await failure(pull({ token }))
    expect(error).toBeInstanceOf(HubError)
    expect(error).toMatchObject({ code: expected })
    expect(error.message).toMatch(message)
    expect(error.message).not.toContain('hf_mine')
    expect(hub.asked).toHaveLength(1)
  })

  it('names a revision and a model that do not exist', async () => {
    expect((await failure(pull({ revision: 'v9' }))).message).toMatch(/Tiny-Model_1.5 has no revision v9; see http:/)
    const nobody = pullModel('nobody/nothing', { to: folder, endpoint: hub.endpoint })
    expect(await failure(nobody)).toMatchObject({ code: 'ERR_HUB_NOT_FOUND' })
  })

  it('cannot be reached', async () => {
    const error = await failure(pull({ endpoint: 'http://127.0.0.1:1', retries: 1 }))
    expect(error).toMatchObject({ code: 'ERR_HUB_CONNECTION' })
    expect(error.message).toMatch(/check the network and HF_ENDPOINT/)
  })
})

describe('what is not to be trusted', () => {
  const entry = (path: string) => ({ type: 'file', path, size: 3, oid: gitSha1(Buffer.from('abc')) })

  it.each([
    '../evil.safetensors',
    '/etc/model.safetensors',
    'a/../../config.json',
    '..\\config.json',
    './x',
    'a\0.json',
  ])('refuses the file name %j', async (path) => {
    hub.extraEntries = [entry(path)]
    const error = await failure(pull())
    expect(error).toMatchObject({ code: 'ERR_HUB_FILE_NAME' })
    expect(error.message).toContain(JSON.stringify(path))
    expect(existsSync(stagingFolder(folder))).toBe(false)
  })

  it.each([
    [{ ...entry('config.json'), size: -1 }],
    [{ ...entry('config.json'), oid: '../x' }],
    [{ ...entry(WEIGHTS), lfs: { oid: 'short', size: 3 } }],
    [null],
  ])('refuses the entry %j', async (bad) => {
    hub.extraEntries = [bad]
    expect(await failure(pull())).toMatchObject({ code: 'ERR_HUB_ANSWER' })
  })

  it.each(['<html>', '{"sha":"../../x"}', 'null'])('refuses the answer %j', async (body) => {
    hub.faults.hub.push(times(1, 'main', (_, response) => void response.end(body)))
    const error = await failure(pull())
    expect(error, error.stack).toMatchObject({ code: 'ERR_HUB_ANSWER' })
    expect(error.message).toMatch(/check --endpoint and HF_ENDPOINT$/)
  })

  it('says so when there is nothing that can be opened', async () => {
    hub.files.delete(WEIGHTS)
    expect((await failure(pull())).message).toMatch(/has no weights in .safetensors files at main/)
    hub.files = model()
    hub.files.delete('config.json')
    expect(await failure(pull())).toMatchObject({ code: 'ERR_HUB_NO_WEIGHTS' })
  })

  it.each(['Qwen', 'a/b/c', '../b', 'a/..', 'a/b@../c', '-x', ''])('refuses the name %j', async (name) => {
    expect(await failure(pullModel(name, { endpoint: hub.endpoint }))).toBeInstanceOf(ArgumentError)
    expect(hub.asked).toEqual([])
  })

  it.each(['..', 'a/../b', '.hidden', '-f', 'a b'])('refuses the revision %j', async (revision) => {
    expect(await failure(pull({ revision }))).toBeInstanceOf(ArgumentError)
  })
})

describe('the disk', () => {
  it('lets one pull write at a time', async () => {
    hub.faults.cdn.push(times(1, WEIGHTS, (_, response) => void second!.then(() => response.destroy())))
    let second: Promise<unknown> | undefined
    const first = pull({
      listener: {
        onPlan: () => {
          second = failure(pull())
        },
      },
    })
    await first
    const error = await second
    expect(error).toBeInstanceOf(FileError)
    expect(error).toMatchObject({ code: 'ERR_FILE_BUSY' })
    expect((error as Error).message).toMatch(new RegExp(`process ${process.pid}@.* is writing it; wait`))
    expectComplete()
  })

  it('says so before it begins when there is too little space, and when it may not write', async () => {
    hub.files.get(WEIGHTS)!.lfs = false
    hub.extraEntries = [{ type: 'file', path: 'model-2.safetensors', size: 2 ** 50, oid: 'a'.repeat(40) }]
    const error = await failure(pull())
    expect(error).toMatchObject({ code: 'ERR_DISK_FULL' })
    expect(error.message).toMatch(/10737418\d\d\.\d MiB do not fit into the [\d.]+ MiB that are free/)
    expect(hub.asked.every(({ path }) => path.startsWith('/api/'))).toBe(true)

    await writeFile(join(root, 'a-file'), '')
    const nested = await failure(pull({ to: join(root, 'a-file', 'model') }))
    expect(nested).toBeInstanceOf(FileError)
    expect(nested).toMatchObject({ code: 'ERR_FILE_WRITE' })
  })

  it('keeps what it has when the disk is full or breaks in the middle', async () => {
    await interrupted()
    const { open } = await import('node:fs/promises')
    const probe = await open(join(root, 'probe'), 'w')
    const full = Object.assign(new Error('ENOSPC: no space left on device, write'), {
      code: 'ENOSPC',
      syscall: 'write',
    })
    const write = vi.spyOn(Object.getPrototypeOf(probe), 'write').mockRejectedValue(full)
    const error = await failure(pull())
    write.mockRestore()
    await probe.close()
    await rm(join(root, 'probe'))
    expect(error).toBeInstanceOf(FileError)
    expect(error).toMatchObject({ code: 'ERR_DISK_FULL' })
    expect(error.message).toMatch(
      /model.safetensors: the disk is full.*what has been fetched is kept for the next pull/,
    )
    hub.asked = []
    await pull()
    expect(hub.ranges(WEIGHTS)).toEqual(['bytes=100000-'])
    expectComplete()
  })
})
