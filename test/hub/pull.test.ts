import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { mkdir, stat, writeFile } from 'node:fs/promises'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { join } from 'node:path'
import { describe, expect, it, vi } from 'vitest'
import { ArgumentError, HubError } from '../../lib/errors.js'
import type { PullPlan, PullProgress } from '../../lib/hub/pull.js'
import { begin, dropAt, gitSha1, HubServer, type ServedFile, sha256, stallAt, times } from './hubServer.js'
import {
  bytes,
  expectComplete,
  failure,
  folder,
  hub,
  interrupted,
  nextFolder,
  part,
  pull,
  root,
  SIZE,
  staged,
  TAKEN,
  WEIGHTS,
  weights,
} from './pulling.js'

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

    nextFolder()
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
