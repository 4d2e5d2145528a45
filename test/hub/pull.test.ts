import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { mkdir, rm, stat, writeFile } from 'node:fs/promises'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { ArgumentError, FileError, HubError } from '../../lib/errors.js'
import { stagingFolder } from '../../lib/hub/cache.js'
import { type PullOptions, type PullPlan, type PullProgress, pullModel } from '../../lib/hub/pull.js'
import { uniform } from '../support.js'
import { temporaryFolder } from '../tiny.js'
import { begin, dropAt, gitSha1, HubServer, type ServedFile, sha256, stallAt, times } from './hubServer.js'

const root = temporaryFolder()
let hub: HubServer
let folder = ''
let count = 0

const bytes = (seed: number, size: number): Buffer => {
  const next = uniform(seed)
  return Buffer.from(Uint8Array.from({ length: size }, () => next() * 256))
}
const WEIGHTS = 'model.safetensors'
const SIZE = 300_000
const weights = bytes(1, SIZE)
const model = (): Map<string, ServedFile> =>
  new Map([
    ['.gitattributes', { content: Buffer.from('*.safetensors filter=lfs') }],
    ['README.md', { content: Buffer.from('# Tiny') }],
    ['config.json', { content: Buffer.from('{"model_type":"qwen2"}') }],
    ['generation_config.json', { content: Buffer.from('{}') }],
    ['tokenizer.json', { content: bytes(2, 5000), lfs: true }],
    ['tokenizer_config.json', { content: Buffer.from('{"a":1}') }],
    ['chat_template.jinja', { content: Buffer.from('{{ messages }}') }],
    [WEIGHTS, { content: weights, lfs: true }],
    ['pytorch_model.bin', { content: bytes(3, 100), lfs: true }],
    ['model.gguf', { content: bytes(3, 100), lfs: true }],
    ['consolidated.safetensors', { content: bytes(3, 100), lfs: true }],
    ['model.onnx', { content: bytes(3, 100) }],
  ])
const TAKEN = [
  'chat_template.jinja',
  'config.json',
  'generation_config.json',
  'model.safetensors',
  'tokenizer.json',
  'tokenizer_config.json',
]

beforeAll(async () => {
  hub = new HubServer()
  await hub.start()
})
afterAll(() => hub.stop())
beforeEach(() => {
  vi.stubEnv('HF_TOKEN', '')
  vi.stubEnv('HF_ENDPOINT', '')
  hub.files = model()
  hub.revisions = new Set(['main'])
  hub.extraEntries = []
  hub.token = undefined
  hub.refusal = { status: 401, code: 'RepoNotFound' }
  hub.faults.hub.length = 0
  hub.faults.cdn.length = 0
  hub.asked = []
  folder = join(root, `model-${count++}`)
})
afterEach(() => {
  vi.unstubAllEnvs()
})

const pull = (options: PullOptions = {}) =>
  pullModel(hub.name, { to: folder, endpoint: hub.endpoint, retryDelay: 1, ...options })

const failure = (promise: Promise<unknown>): Promise<Error & { code?: string }> =>
  promise.then(
    () => Promise.reject(new Error('nothing was thrown')),
    (error) => error,
  )

const staged = (name: string) => join(stagingFolder(folder), name)
const part = () => staged(`${WEIGHTS}.partial`)

function expectComplete(): void {
  expect(readdirSync(folder).sort()).toEqual([...TAKEN, 'made-with.json'].sort())
  for (const name of TAKEN)
    expect(readFileSync(join(folder, name)).equals(hub.files.get(name)!.content), name).toBe(true)
  const beside = readdirSync(root).filter((name) => name.startsWith(`.${folder.split('/').at(-1)}.`))
  expect(beside).toEqual([])
}

/** A pull that breaks off in the middle of the weights and is not tried again. */
async function interrupted(at = 100_000): Promise<void> {
  hub.faults.cdn.push(times(1, WEIGHTS, dropAt(at, part())))
  expect(await failure(pull({ retries: 0 }))).toMatchObject({ code: 'ERR_HUB_CONNECTION' })
  expect((await stat(part())).size).toBe(at)
  hub.asked = []
}

describe('a pull', () => {
  it('fetches the files of a model folder and no others, and tells their sizes before', async () => {
    const plans: PullPlan[] = []
    const reports: PullProgress[] = []
    const pulled = await pull({
      listener: {
        onPlan: (plan) => {
          expect(existsSync(staged('config.json'))).toBe(false)
          plans.push(plan)
        },
        onProgress: (report) => reports.push(report),
      },
    })
    expectComplete()
    const total = TAKEN.reduce((n, name) => n + hub.files.get(name)!.content.length, 0)
    expect(pulled).toEqual({
      folder,
      name: hub.name,
      revision: 'main',
      commit: hub.commit,
      bytes: total,
      received: total,
    })
    expect(plans).toHaveLength(1)
    expect(plans[0]!.files.map(({ name, size, present }) => [name, size, present]).sort()).toEqual(
      TAKEN.map((name) => [name, hub.files.get(name)!.content.length, 0]),
    )
    expect(plans[0]!.files.at(-1)!.name).toBe(WEIGHTS)
    expect(reports.at(-1)).toMatchObject({ file: WEIGHTS, present: total, total, received: total })
    for (let i = 1; i < reports.length; i++) expect(reports[i]!.present).toBeGreaterThanOrEqual(reports[i - 1]!.present)
  })

  it('takes every page of a listing, shards and their index', async () => {
    hub.files.delete(WEIGHTS)
    const shards = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors']
    for (const [i, name] of shards.entries()) hub.files.set(name, { content: bytes(10 + i, 1000), lfs: true })
    hub.files.set('model.safetensors.index.json', { content: Buffer.from('{}') })
    hub.pageSize = 2
    await pull()
    expect(readdirSync(folder)).toEqual(expect.arrayContaining([...shards, 'model.safetensors.index.json']))
  })

  it('takes large files plainly from where they lie, not through xet, and shows the token to the hub alone', async () => {
    hub.token = 'hf_secret'
    await pull({ token: 'hf_secret' })
    expectComplete()
    const cdn = hub.asked.filter(({ host }) => host === 'cdn')
    expect(cdn.map(({ path }) => path.split('/').at(-1)).sort()).toEqual([WEIGHTS, 'tokenizer.json'])
    expect(cdn.every(({ authorization }) => authorization === undefined)).toBe(true)
    expect(hub.asked.filter(({ host }) => host === 'hub').every((a) => a.authorization === 'Bearer hf_secret')).toBe(
      true,
    )
    expect(readFileSync(join(folder, 'made-with.json'), 'utf8')).not.toContain('hf_secret')
  })

  it('does not follow a listing to another host with the token', async () => {
    const other = new HubServer()
    await other.start()
    try {
      hub.token = 'hf_secret'
      hub.faults.hub.push((request, response) => {
        if (!request.url!.includes('/tree/')) return false
        response.writeHead(200, {
          'content-type': 'application/json',
          link: `<${other.endpoint}/api/next>; rel="next"`,
        })
        response.end('[]')
        return true
      })
      await failure(pull({ token: 'hf_secret' }))
      expect(other.asked).toMatchObject([{ path: '/api/next', authorization: undefined }])
    } finally {
      await other.stop()
    }
  })

  it('heeds HF_ENDPOINT and HF_TOKEN, options before them', async () => {
    hub.token = 'hf_env'
    vi.stubEnv('HF_ENDPOINT', `${hub.endpoint}/`)
    vi.stubEnv('HF_TOKEN', 'hf_env\n')
    await pull({ endpoint: undefined })
    expectComplete()
    expect(await failure(pull({ token: 'hf_other' }))).toBeInstanceOf(HubError)
    vi.stubEnv('HF_ENDPOINT', 'hub.example')
    expect(await failure(pull({ endpoint: undefined }))).toBeInstanceOf(ArgumentError)
    expect((await failure(pull({ token: 'hf_\u00e9secret' }))).message).not.toContain('secret')
  })

  it('pins what it fetches to the commit, and writes it down', async () => {
    hub.revisions.add('refs/pr/1')
    const { commit, revision } = await pull({ revision: 'refs/pr/1' })
    expect(revision).toBe('refs/pr/1')
    const resolved = hub.asked.filter(({ path }) => path.includes('/resolve/'))
    expect(resolved.length).toBe(TAKEN.length)
    expect(resolved.every(({ path }) => path.includes(`/resolve/${commit}/`))).toBe(true)
    const record = JSON.parse(readFileSync(join(folder, 'made-with.json'), 'utf8'))
    expect(record.pulled).toMatchObject({ endpoint: hub.endpoint, name: hub.name, revision: 'refs/pr/1', commit })
    expect(record.pulled.files[WEIGHTS]).toEqual({ size: SIZE, algorithm: 'sha256', digest: sha256(weights) })
    const config = hub.files.get('config.json')!.content
    expect(record.pulled.files['config.json']).toMatchObject({ algorithm: 'sha1', digest: gitSha1(config) })
  })

  it('fetches nothing of a model that is here, and of one that has changed only what is new', async () => {
    await pull()
    hub.asked = []
    expect((await pull()).received).toBe(0)
    expect(hub.asked.every(({ path }) => path.startsWith('/api/'))).toBe(true)

    hub.files.set('README.md', { content: Buffer.from('# New') })
    expect((await pull()).received).toBe(0)
    expect(JSON.parse(readFileSync(join(folder, 'made-with.json'), 'utf8')).pulled.commit).toBe(hub.commit)

    const config = Buffer.from('{"model_type":"qwen3"}')
    hub.files.set('config.json', { content: config })
    expect((await pull()).received).toBe(config.length)
    expectComplete()
  })

  it('keeps the old model in its place until the new one is complete', async () => {
    await pull()
    hub.files.set(WEIGHTS, { content: bytes(7, SIZE), lfs: true })
    hub.faults.cdn.push(times(1, WEIGHTS, dropAt(1000, part())))
    await failure(pull({ retries: 0 }))
    expect(readFileSync(join(folder, WEIGHTS)).equals(weights)).toBe(true)
    await pull()
    expectComplete()
  })

  it('puts right a folder whose files were damaged by size, and takes none that is somebody else’s', async () => {
    await pull()
    writeFileSync(join(folder, 'tokenizer.json'), 'x')
    await pull()
    expectComplete()
    const other = join(root, 'photos')
    await mkdir(other)
    await writeFile(join(other, 'cat.jpg'), '')
    const error = await failure(pull({ to: other }))
    expect(error).toMatchObject({ code: 'ERR_FOLDER_IN_USE' })
    expect(error.message).toMatch(/photos holds something other than .*; pull to a new folder instead/)
    expect(readdirSync(other)).toEqual(['cat.jpg'])
  })
})

describe('resuming', () => {
  it('asks for the missing bytes only', async () => {
    await interrupted(100_000)
    expect(existsSync(folder)).toBe(false)
    expect((await pull()).received).toBe(SIZE - 100_000)
    expect(hub.ranges(WEIGHTS)).toEqual(['bytes=100000-'])
    expect(hub.ranges('config.json')).toEqual([])
    expectComplete()
  })

  it('goes on within one pull when the connection drops, as often as bytes come', async () => {
    const drops = [50_000, 120_000, 120_001, 250_000]
    for (const at of drops) hub.faults.cdn.push(times(1, WEIGHTS, dropAt(at, part())))
    const retries: string[] = []
    await pull({ retries: 1, listener: { onRetry: (reason) => retries.push(reason) } })
    expect(hub.ranges(WEIGHTS)).toEqual([undefined, ...drops.map((at) => `bytes=${at}-`)])
    expect(retries).toHaveLength(4)
    for (const reason of retries) expect(reason).toMatch(/^the connection failed \(.+\)$/)
    expectComplete()
  })

  it('gives up when nothing comes any more, and keeps what came', async () => {
    for (let i = 0; i < 5; i++) hub.faults.cdn.push(times(1, WEIGHTS, dropAt(60_000, part())))
    const error = await failure(pull({ retries: 2 }))
    expect(error).toBeInstanceOf(HubError)
    expect(error).toMatchObject({ code: 'ERR_HUB_CONNECTION' })
    expect(error.message).toMatch(/then pull tiny-org\/Tiny-Model_1.5 again: it goes on where it was$/)
    expect(hub.ranges(WEIGHTS)).toEqual([undefined, 'bytes=60000-', 'bytes=60000-'])
    expect((await stat(part())).size).toBe(60_000)
  })

  it('begins again when the file is another by now', async () => {
    await interrupted()
    const changed = bytes(9, SIZE)
    hub.files.set(WEIGHTS, { content: changed, lfs: true })
    await pull()
    expect(hub.ranges(WEIGHTS)).toEqual([undefined])
    expectComplete()
  })

  it('begins again where the server knows no ranges, and refuses one that begins elsewhere', async () => {
    await interrupted()
    const ignoring = (request: IncomingMessage, response: ServerResponse) => {
      request.headers.range = undefined
      begin(request, response, weights)
      response.end(weights)
    }
    hub.faults.cdn.push(times(1, WEIGHTS, ignoring))
    expect((await pull()).received).toBe(SIZE)
    expectComplete()

    folder += '-elsewhere'
    await interrupted()
    const elsewhere = (request: IncomingMessage, response: ServerResponse) => {
      request.headers.range = 'bytes=5000-'
      response.end(weights.subarray(begin(request, response, weights)))
    }
    hub.faults.cdn.push(times(1, WEIGHTS, elsewhere))
    expect(await failure(pull())).toMatchObject({ code: 'ERR_HUB_ANSWER' })
    expect(existsSync(folder)).toBe(false)
  })

  it('finds bytes that went bad on the disk', async () => {
    await interrupted()
    const bad = readFileSync(part())
    bad[17]! ^= 1
    writeFileSync(part(), bad)
    await pull()
    expect(hub.ranges(WEIGHTS)).toEqual(['bytes=100000-', undefined])
    expectComplete()
  })

  it('stops at the signal in the middle of a slow file and goes on from there', async () => {
    const controller = new AbortController()
    const reason = new Error('enough')
    hub.faults.cdn.push(
      times(
        1,
        WEIGHTS,
        stallAt(80_000, part(), () => controller.abort(reason)),
      ),
    )
    expect(await failure(pull({ signal: controller.signal }))).toBe(reason)
    expect((await stat(part())).size).toBe(80_000)
    expect(existsSync(folder)).toBe(false)
    hub.asked = []
    const presents: number[] = []
    await pull({ listener: { onPlan: ({ files }) => presents.push(files.at(-1)!.present) } })
    expect(presents).toEqual([80_000])
    expect(hub.ranges(WEIGHTS)).toEqual(['bytes=80000-'])
    expectComplete()
  })

  it('stops at the signal while it waits, and before it begins', async () => {
    const controller = new AbortController()
    hub.faults.hub.push(times(1, 'main', (_, response) => void response.writeHead(503).end()))
    const stopping = pull({
      signal: controller.signal,
      retryDelay: 60_000,
      listener: { onRetry: () => controller.abort() },
    })
    expect(await failure(stopping)).toMatchObject({ name: 'AbortError' })
    expect(await failure(pull({ signal: AbortSignal.abort() }))).toMatchObject({ name: 'AbortError' })
  })

  it('clears away files of a pull of something else', async () => {
    await interrupted()
    writeFileSync(staged('left.safetensors.partial'), 'x')
    await pull()
    expectComplete()
  })
})

describe('checksums', () => {
  const wrong = (request: IncomingMessage, response: ServerResponse, file?: ServedFile) => {
    const content = Buffer.from(file!.content)
    content[content.length >> 1]! ^= 1
    response.end(content.subarray(begin(request, response, content)))
  }

  it.each([
    ['cdn', WEIGHTS],
    ['hub', 'config.json'],
  ] as const)('of the %s: wrong bytes of %s are fetched again once', async (host, name) => {
    hub.faults[host].push(times(1, name, wrong))
    const retries: string[] = []
    await pull({ listener: { onRetry: (reason) => retries.push(reason) } })
    expect(retries).toEqual([`${name} arrived with wrong bytes`])
    expect(hub.ranges(name)).toEqual([undefined, undefined])
    expectComplete()
  })

  it.each([
    ['cdn', WEIGHTS, 'sha256', sha256],
    ['hub', 'config.json', 'sha1', gitSha1],
  ] as const)('of the %s: %s that stays wrong takes no name', async (host, name, algorithm, digestOf) => {
    hub.faults[host].push(times(-1, name, wrong))
    const error = await failure(pull())
    const { content } = hub.files.get(name)!
    const damaged = Buffer.from(content)
    damaged[damaged.length >> 1]! ^= 1
    expect(error).toBeInstanceOf(HubError)
    expect(error).toMatchObject({ code: 'ERR_HUB_CHECKSUM' })
    expect(error.message).toContain(`${name} of ${hub.name}`)
    expect(error.message).toContain(`its ${algorithm} must be ${digestOf(content)} but is ${digestOf(damaged)};`)
    expect(hub.ranges(name)).toEqual([undefined, undefined])
    expect(existsSync(folder)).toBe(false)
    expect(existsSync(staged(name))).toBe(false)
    expect((await stat(staged(`${name}.partial`))).size).toBe(0)
  })

  it('a file that goes on after its end is wrong, too', async () => {
    const long = (request: IncomingMessage, response: ServerResponse) => {
      const content = Buffer.concat([weights, Buffer.from('more')])
      response.end(content.subarray(begin(request, response, content)))
    }
    hub.faults.cdn.push(times(-1, WEIGHTS, long))
    expect((await failure(pull())).message).toContain(`but is more than ${SIZE} bytes`)
  })
})

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
