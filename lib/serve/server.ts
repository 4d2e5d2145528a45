import { Readable } from 'node:stream'
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyServerOptions } from 'fastify'
import { ArgumentError } from '../errors.js'
import { bodyError, failureOf, ServeError } from './failure.js'
import type { FitService } from './fitService.js'
import { ServerMetrics } from './metrics.js'

/** How a server treats its clients. */
export interface ServerOptions {
  /** Requests for a model that are answered at once, waiting ones included; more get 503. Default 64. */
  maxQueue?: number
  /** Seconds after which a client that was turned away may try again; default 1. */
  retryAfter?: number
  /** Bytes of a request, all of which are parsed on the event loop; default 64 KiB, several times a long post and profile. */
  bodyLimit?: number
  /** Most tokens of an explanation, and what is generated unless a request asks for less; default 256. */
  maxTokens?: number
  /** Milliseconds that `close()` lets running requests go on before it hangs up; default 30,000. */
  shutdownTimeout?: number
  /** Fastify's logger; default none. */
  logger?: FastifyServerOptions['logger']
}

interface FitBody {
  job: unknown
  profile: unknown
}

interface ExplainBody extends FitBody {
  maxTokens?: number
}

/** A job post or a profile: text, or JSON of one of the schemas that the parsers know. */
const document = { type: ['string', 'object', 'array'] }

const bodySchema = (more: object = {}) => ({
  body: {
    type: 'object',
    required: ['job', 'profile'],
    additionalProperties: false,
    properties: { job: document, profile: document, ...more },
  },
})

/**
 * An HTTP server over a fit service:
 *
 * - `POST /v1/fit` {job, profile} -> {level, probabilities, requirements, ms}
 * - `POST /v1/explain` {job, profile, maxTokens?} -> server-sent events: one `level`, many `token`, then `done` with the usage, or `error`
 * - `GET /healthz`, `GET /metrics` (Prometheus)
 *
 * Errors are {error: {code, message}}: 400 for a body that does not fit the schema, 413 for one that is too long, 422 for a post or profile
 * that cannot be read, 503 with Retry-After when too many wait. A client that leaves ends its work. `close()` lets running requests finish
 * and refuses new ones; the service stays open and belongs to the caller.
 */
export function createServer(service: FitService, options: ServerOptions = {}): FastifyInstance {
  const { maxQueue = 64, retryAfter = 1, maxTokens = 256, shutdownTimeout = 30_000 } = options
  for (const [name, value] of Object.entries({ maxQueue, maxTokens }))
    if (!Number.isInteger(value) || value < 1)
      throw new ArgumentError(`createServer: ${name} is ${value}; give an integer of 1 or more`)
  const app = Fastify({
    bodyLimit: options.bodyLimit ?? 64 * 1024,
    logger: options.logger ?? false,
    return503OnClosing: false, // the gate says it with a code
    schemaErrorFormatter: bodyError,
    frameworkErrors: (error, _, reply) => fail(error, reply, retryAfter),
    ajv: { customOptions: { coerceTypes: false, removeAdditional: false, allowUnionTypes: true } },
  })
  const gate = new Gate(maxQueue)
  const metrics = new ServerMetrics(service, () => gate.size)
  answerFailures(app, retryAfter)
  app.addHook('onRequest', async (request, reply) => {
    const route = request.routeOptions.url ?? 'unknown'
    const began = performance.now()
    // Not onResponse: it is silent about clients that hang up.
    reply.raw.once('close', () => {
      metrics.answered(route, reply.raw.writableFinished ? reply.statusCode : 499, performance.now() - began)
    })
  })
  drainOnClose(app, gate, shutdownTimeout)
  app.addHook('onClose', async () => metrics.close())
  app.get('/healthz', async () => {
    gate.assertOpen()
    return { status: 'ok' }
  })
  app.get('/metrics', async (_, reply) => {
    reply.type(metrics.registry.contentType)
    return metrics.registry.metrics()
  })
  app.register(async (models) => {
    models.addHook('onRequest', async (_, reply) => gate.enter(reply))
    fitRoute(models, service, gate)
    explainRoute(models, service, gate, metrics, maxTokens)
  })
  return app
}

function fitRoute(app: FastifyInstance, service: FitService, gate: Gate): void {
  app.post<{ Body: FitBody }>('/v1/fit', { schema: bodySchema() }, async ({ body }, reply) => {
    const visit = gate.visit(reply)
    const { level, probabilities, job } = await service.fit(body.job, body.profile, visit.signal)
    const requirements = job.requirements.map(({ short, kind }) => ({ short, kind }))
    return { level, probabilities, requirements, ms: visit.elapsed() }
  })
}

function explainRoute(
  app: FastifyInstance,
  service: FitService,
  gate: Gate,
  metrics: ServerMetrics,
  most: number,
): void {
  const schema = bodySchema({ maxTokens: { type: 'integer', minimum: 1, maximum: most } })
  app.post<{ Body: ExplainBody }>('/v1/explain', { schema }, async ({ body, log }, reply) => {
    const visit = gate.visit(reply)
    const { signal } = visit
    const { prompt } = service.read(body.job, body.profile)
    // Both fail before the response begins, when a status can still say so.
    const explanation = service.explain(prompt, { signal, maxTokens: body.maxTokens ?? most })
    const rating = await service.rate(prompt, signal)
    reply.header('content-type', 'text/event-stream; charset=utf-8')
    reply.header('cache-control', 'no-store')
    reply.header('x-accel-buffering', 'no') // a proxy that buffers would hold the pieces back
    return reply.send(Readable.from(events()))

    async function* events(): AsyncGenerator<string> {
      yield event('level', rating)
      try {
        let next = await explanation.next()
        metrics.firstToken(visit.elapsed())
        for (; !next.done; next = await explanation.next()) yield event('token', { text: next.value })
        metrics.explained(next.value)
        yield event('done', { usage: next.value, ms: visit.elapsed() })
      } catch (error) {
        if (signal.aborted) return // nobody listens
        log.error(error)
        yield event('error', failureOf(error).error)
      }
    }
  })
}

const event = (name: string, data: unknown): string => `event: ${name}\ndata: ${JSON.stringify(data)}\n\n`

function answerFailures(app: FastifyInstance, retryAfter: number): void {
  app.setErrorHandler((error, _, reply) => fail(error, reply, retryAfter))
  app.setNotFoundHandler(({ method, url }) => {
    throw new ServeError(
      'ERR_NOT_FOUND',
      `there is no ${method} ${url}; use POST /v1/fit, POST /v1/explain, GET /healthz or GET /metrics`,
    )
  })
}

function fail(failure: unknown, reply: FastifyReply, retryAfter: number): FastifyReply {
  const { status, error } = failureOf(failure)
  if (status === 500) reply.log.error(failure)
  if (status === 503) reply.header('retry-after', retryAfter)
  return reply.code(status).send({ error })
}

/** Running requests finish; the connections of those that outlast the time are cut, which also aborts their work. */
function drainOnClose(app: FastifyInstance, gate: Gate, timeout: number): void {
  let timer: NodeJS.Timeout | undefined
  app.addHook('preClose', async () => {
    gate.close()
    timer = setTimeout(() => app.server.closeAllConnections(), timeout)
  })
  app.addHook('onClose', async () => clearTimeout(timer))
}

/** A request in progress. */
class Visit {
  readonly #controller = new AbortController()
  readonly #began = performance.now()

  /** Aborts when the client leaves before the response is complete. */
  get signal(): AbortSignal {
    return this.#controller.signal
  }

  /** Milliseconds so far, to a tenth. */
  elapsed(): number {
    return Math.round((performance.now() - this.#began) * 10) / 10
  }

  hangUp(): void {
    this.#controller.abort(new ServeError('ERR_HANG_UP', 'the client left; send the request again'))
  }
}

/** Lets in as many requests for a model as there is room for. */
class Gate {
  readonly #inside = new Set<Visit>()
  readonly #visits = new WeakMap<FastifyReply, Visit>()
  #open = true

  constructor(readonly capacity: number) {}

  get size(): number {
    return this.#inside.size
  }

  /** @throws ServeError ERR_OVERLOADED, ERR_CLOSED */
  enter(reply: FastifyReply): void {
    this.assertOpen()
    if (this.#inside.size >= this.capacity)
      throw new ServeError('ERR_OVERLOADED', `${this.capacity} requests are in progress; try again after Retry-After`)
    const visit = new Visit()
    this.#inside.add(visit)
    this.#visits.set(reply, visit)
    reply.raw.once('close', () => {
      this.#inside.delete(visit)
      if (!reply.raw.writableFinished) visit.hangUp()
    })
  }

  /** What `enter` made for this reply. */
  visit(reply: FastifyReply): Visit {
    return this.#visits.get(reply)!
  }

  /** @throws ServeError ERR_CLOSED */
  assertOpen(): void {
    if (!this.#open) throw new ServeError('ERR_CLOSED', 'the server is shutting down; try another one, or later')
  }

  close(): void {
    this.#open = false
  }
}
