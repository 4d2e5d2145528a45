import { once } from 'node:events'
import { type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { FitService } from '../../lib/serve/fitService.js'
import { createServer, type ServerOptions } from '../../lib/serve/server.js'
import { testDevice } from '../support.js'
import { temporaryFolder } from '../tiny.js'
import { type TinyModels, tinyModels } from './tinyModels.js'

const device = testDevice({ threads: 1 }) // tiny models: more threads only wait for each other
const root = temporaryFolder()
let models: TinyModels
let service: FitService
beforeAll(async () => {
  models = await tinyModels(device, root)
  service = await FitService.open({ device, cacheTokens: 8192, ...models })
}, 60_000)
afterAll(() => service.close())

interface Running {
  app: FastifyInstance
  port: number
  post(path: string, body: unknown): Promise<Response>
  get(path: string): Promise<Response>
}

async function withServer(options: ServerOptions, use: (server: Running) => Promise<void>): Promise<void> {
  const app = createServer(service, { maxTokens: 800, ...options })
  await app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = app.server.address() as AddressInfo
  const url = `http://127.0.0.1:${port}`
  const post = (path: string, body: unknown) =>
    fetch(url + path, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    })
  try {
    await use({ app, port, post, get: (path) => fetch(url + path) })
  } finally {
    await app.close()
  }
}

const body = (i = 0, more: object = {}) => {
  const { job, profile } = models.pairs[i]!
  return { job: job.text, profile: profile.text, ...more }
}

interface Event {
  name: string
  data: Record<string, unknown>
}

function events(text: string): Event[] {
  return text.split('\n\n').flatMap((block) => {
    const [, name, data] = /^event: (\w+)\ndata: (.*)$/.exec(block) ?? []
    return name && data ? [{ name, data: JSON.parse(data) }] : []
  })
}

const explained = (list: Event[]) =>
  list
    .filter((e) => e.name === 'token')
    .map((e) => e.data.text)
    .join('')

/** A client that can hang up in the middle: it holds the connection, and resolves with the first bytes of the answer. */
async function begin(
  port: number,
  path: string,
  payload: unknown,
): Promise<{ client: ClientRequest; answer: IncomingMessage }> {
  const headers = { 'content-type': 'application/json' }
  const client = httpRequest({ host: '127.0.0.1', port, path, method: 'POST', headers, agent: false })
  client.on('error', () => {}) // its own hanging up
  client.end(JSON.stringify(payload))
  const [answer] = (await once(client, 'response')) as [IncomingMessage]
  await once(answer, 'readable')
  return { client, answer }
}

async function rest(answer: IncomingMessage): Promise<string> {
  let text = ''
  for await (const chunk of answer) text += chunk
  return text
}

async function until(condition: () => boolean): Promise<void> {
  for (let i = 0; i < 500 && !condition(); i++) await sleep(10)
  expect(condition()).toBe(true)
}

describe('POST /v1/fit', () => {
  test('level, probabilities and requirements of text and of JSON', async () => {
    await withServer({}, async ({ post }) => {
      const { job, profile } = models.pairs[0]!
      const answer = await post('/v1/fit', body())
      expect(answer.status).toBe(200)
      const { ms, ...told } = (await answer.json()) as { ms: number }
      const rated = await service.fit(job.text, profile.text)
      expect(told).toMatchObject({ level: rated.level })
      expect(told).toHaveProperty(
        'requirements',
        rated.job.requirements.map(({ short, kind }) => ({ short, kind })),
      )
      expect(ms).toBeGreaterThan(0)
      const posting = {
        '@context': 'https://schema.org',
        '@type': 'JobPosting',
        title: job.title,
        description: job.text,
      }
      const resume = { basics: { name: 'A. Person', label: profile.headline }, skills: [{ name: 'Python' }] }
      expect((await post('/v1/fit', { job: posting, profile: resume })).status).toBe(200)
    })
  })

  test('concurrent requests get the answers of sequential ones', async () => {
    await withServer({}, async ({ post }) => {
      const levels = async (answer: Response) => {
        const { level, probabilities } = (await answer.json()) as {
          level: string
          probabilities: Record<string, number>
        }
        return [level, ...Object.values(probabilities).map((p) => p.toFixed(4))]
      }
      const alone = []
      for (let i = 0; i < 10; i++) alone.push(await levels(await post('/v1/fit', body(i))))
      const together = await Promise.all(alone.map(async (_, i) => levels(await post('/v1/fit', body(i)))))
      expect(together).toEqual(alone)
    })
  })
})

describe('POST /v1/explain', () => {
  test('a level, the pieces of the explanation, the usage', async () => {
    await withServer({}, async ({ post }) => {
      const answer = await post('/v1/explain', body(0, { maxTokens: 20 }))
      expect(answer.headers.get('content-type')).toMatch(/^text\/event-stream/)
      const list = events(await answer.text())
      const { prompt, level } = await service.fit(body().job, body().profile)
      let text = ''
      for await (const piece of service.explain(prompt, { maxTokens: 20 })) text += piece
      expect(list[0]).toMatchObject({ name: 'level', data: { level } })
      expect(explained(list)).toBe(text)
      expect(list.at(-1)).toMatchObject({
        name: 'done',
        data: { usage: { completionTokens: 20, finishReason: 'length' } },
      })
    })
  })

  test('concurrent streams say what sequential ones do', async () => {
    await withServer({}, async ({ post }) => {
      const say = async (i: number) =>
        explained(events(await (await post('/v1/explain', body(i, { maxTokens: 25 }))).text()))
      const alone = []
      for (let i = 0; i < 4; i++) alone.push(await say(i))
      expect(await Promise.all(alone.map((_, i) => say(i)))).toEqual(alone)
    })
  })

  test('a client that hangs up frees its cache, and the others go on', async () => {
    await withServer({}, async ({ port, post, get }) => {
      const { free } = service.load.cache
      const { client, answer } = await begin(port, '/v1/explain', body(0, { maxTokens: 800 }))
      await until(() => service.load.explainer.running === 1)
      expect(service.load.cache.free).toBeLessThan(free)
      const other = post('/v1/explain', body(1, { maxTokens: 30 }))
      client.destroy()
      answer.destroy()
      const list = events(await (await other).text())
      expect(list.at(-1)).toMatchObject({ name: 'done' })
      await until(() => service.load.cache.free === free)
      expect(service.load.explainer).toEqual({ waiting: 0, running: 0 })
      expect(await (await get('/metrics')).text()).toMatch(
        /lantern_requests_total\{route="\/v1\/explain",status="499"\} 1\n/,
      )
    })
  })
})

describe('bad requests', () => {
  const refused = async (answer: Response, status: number, code: string, message: RegExp) => {
    expect(answer.status).toBe(status)
    expect(await answer.json()).toEqual({ error: { code, message: expect.stringMatching(message) } })
  }

  test('each has a status, a code and what to do', async () => {
    await withServer({ bodyLimit: 20_000 }, async ({ post, get, port }) => {
      await refused(await post('/v1/fit', '{"job": '), 400, 'ERR_BODY', /send valid JSON/)
      await refused(await post('/v1/fit', ''), 400, 'ERR_BODY', /send a JSON object/)
      await refused(await post('/v1/fit', { job: 'x' }), 400, 'ERR_BODY', /'profile'; send/)
      await refused(
        await post('/v1/fit', { job: 7, profile: 'x' }),
        400,
        'ERR_BODY',
        /^job must be string,object,array; send/,
      )
      await refused(await post('/v1/fit', body(0, { jop: 1 })), 400, 'ERR_BODY', /field "jop"/)
      await refused(
        await post('/v1/explain', body(0, { maxTokens: 801 })),
        400,
        'ERR_BODY',
        /^maxTokens must be <= 800/,
      )
      await refused(
        await post('/v1/explain', body(0, { maxTokens: '9' })),
        400,
        'ERR_BODY',
        /^maxTokens must be integer/,
      )
      await refused(
        await post('/v1/fit', { job: 'x'.repeat(30_000), profile: '' }),
        413,
        'ERR_BODY_TOO_LARGE',
        /shorten/,
      )
      await refused(
        await post('/v1/fit', { job: ' ', profile: 'x' }),
        422,
        'ERR_INPUT',
        /job post: the text is empty; pass/,
      )
      await refused(await post('/v1/explain', { job: {}, profile: 'x' }), 422, 'ERR_INPUT', /job post: no schema\.org/)
      await refused(await get('/v1/fit'), 404, 'ERR_NOT_FOUND', /use POST \/v1\/fit/)
      await refused(await get('/%zz'), 400, 'ERR_REQUEST', /correct the request/)
      const plain = await fetch(`http://127.0.0.1:${port}/v1/fit`, {
        method: 'POST',
        body: '<job/>',
        headers: { 'content-type': 'text/xml' },
      })
      await refused(plain, 415, 'ERR_MEDIA_TYPE', /application\/json/)
      expect((await post('/v1/fit', body())).status).toBe(200)
    })
  })

  test('a body of nothing but spaces does not hold the server up', async () => {
    await withServer({}, async ({ post }) => {
      const spaces = ' '.repeat(60_000) // reading them in quadratic time outlasts the test by minutes
      expect((await post('/v1/fit', { job: `Requirements\n- x${spaces}y`, profile: 'Jane' })).status).toBe(200)
    })
  })

  test('an explanation that does not fit the cache is refused before the stream begins', async () => {
    await withServer({ maxTokens: 2040 }, async ({ post }) => {
      await refused(await post('/v1/explain', body()), 413, 'ERR_PROMPT', /do not fit/)
    })
  })

  test('options out of range', () => {
    expect(() => createServer(service, { maxQueue: 0 })).toThrow(/maxQueue is 0; give an integer of 1 or more/)
  })
})

test('overload: 503 with Retry-After, and in again when there is room', async () => {
  await withServer({ maxQueue: 1, retryAfter: 3 }, async ({ port, post, get }) => {
    const { client } = await begin(port, '/v1/explain', body(0, { maxTokens: 800 }))
    const turnedAway = await post('/v1/fit', body())
    expect(turnedAway.status).toBe(503)
    expect(turnedAway.headers.get('retry-after')).toBe('3')
    expect(await turnedAway.json()).toMatchObject({ error: { code: 'ERR_OVERLOADED' } })
    expect((await get('/healthz')).status).toBe(200)
    client.destroy()
    await until(() => service.load.explainer.running === 0)
    expect((await post('/v1/fit', body())).status).toBe(200)
  })
})

test('metrics are Prometheus text and count what happened', async () => {
  await withServer({}, async ({ post, get }) => {
    await Promise.all([0, 1, 2].map((i) => post('/v1/fit', body(i)).then((r) => r.json())))
    await (await post('/v1/explain', body(0, { maxTokens: 7 }))).text()
    await (await post('/v1/fit', '{')).text()
    const answer = await get('/metrics')
    expect(answer.headers.get('content-type')).toMatch(/^text\/plain; version=0\.0\.4/)
    const samples = new Map<string, number>()
    for (const line of (await answer.text()).split('\n')) {
      if (line === '' || line.startsWith('#')) continue
      const [, name, value] = /^([a-z_]+(?:\{[^}]*\})?) (\S+)$/.exec(line) ?? []
      expect(name, line).toBeDefined()
      samples.set(name!, Number(value))
    }
    expect(samples.get('lantern_requests_total{route="/v1/fit",status="200"}')).toBe(3)
    expect(samples.get('lantern_requests_total{route="/v1/fit",status="400"}')).toBe(1)
    expect(samples.get('lantern_request_duration_seconds_count{route="/v1/explain"}')).toBe(1)
    expect(samples.get('lantern_time_to_first_token_seconds_count')).toBe(1)
    expect(samples.get('lantern_explanation_tokens_total{kind="completion"}')).toBe(7)
    expect(samples.get('lantern_batch_sequences_sum{model="classifier",phase="classify"}')).toBe(4)
    expect(samples.get('lantern_tokens_total{model="explainer",phase="decode"}')).toBe(6) // the prefill draws the first
    expect(samples.get('lantern_queue_depth{model="explainer",state="running"}')).toBe(0)
    expect(samples.get('lantern_kv_cache_tokens{state="total"}')).toBe(8192)
    expect(samples.get('lantern_device_memory_bytes{state="live"}')).toBe(device.memory().live)
    expect(samples.get('lantern_requests_in_progress')).toBe(0)
  })
})

describe('shutdown', () => {
  test('running streams finish, new requests are refused', async () => {
    await withServer({ shutdownTimeout: 120_000 }, async ({ app, port }) => {
      const { answer } = await begin(port, '/v1/explain', body(0, { maxTokens: 60 }))
      const closed = app.close()
      await expect(fetch(`http://127.0.0.1:${port}/healthz`)).rejects.toThrow()
      expect(events(`${await rest(answer)}`).at(-1)).toMatchObject({
        name: 'done',
        data: { usage: { completionTokens: 60 } },
      })
      await closed
    })
  })

  test('a stream that outlasts the timeout is cut, and its work ended', async () => {
    await withServer({ shutdownTimeout: 20 }, async ({ app, port }) => {
      const { answer } = await begin(port, '/v1/explain', body(0, { maxTokens: 800 }))
      const cut = rest(answer).catch((error: Error) => error)
      await app.close()
      expect(await cut).toBeInstanceOf(Error)
      await until(() => service.load.explainer.running === 0)
    })
  })
})
