import type { FastifyError, FastifySchemaValidationError } from 'fastify'
import { LanternError } from '../errors.js'

/** A request that the server turns down before any model sees it. */
export class ServeError extends LanternError {}

/** What a client is told of an error: the HTTP status and the body. */
export interface Failure {
  status: number
  error: { code: string; message: string }
}

const STATUS: Readonly<Record<string, number>> = {
  ERR_INPUT: 422,
  ERR_PROMPT: 413,
  ERR_BODY: 400,
  ERR_NOT_FOUND: 404,
  ERR_HANG_UP: 499,
  ERR_OVERLOADED: 503,
  ERR_CLOSED: 503,
  ERR_OUT_OF_MEMORY: 503,
}

/** Errors of Fastify itself that a client can do something about. */
const FASTIFY: Readonly<Record<string, [status: number, code: string, next: string]>> = {
  FST_ERR_CTP_INVALID_JSON_BODY: [400, 'ERR_BODY', 'send valid JSON'],
  FST_ERR_CTP_EMPTY_JSON_BODY: [400, 'ERR_BODY', 'send a JSON object with job and profile'],
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: [400, 'ERR_BODY', 'send as many bytes as Content-Length says'],
  FST_ERR_CTP_INVALID_MEDIA_TYPE: [415, 'ERR_MEDIA_TYPE', 'send JSON with Content-Type: application/json'],
  FST_ERR_CTP_BODY_TOO_LARGE: [413, 'ERR_BODY_TOO_LARGE', 'shorten the job post or the profile'],
}

/** What is wrong with a body, from the validator's findings. */
export function bodyError(findings: readonly FastifySchemaValidationError[]): ServeError {
  const { instancePath = '', message = 'does not fit', params = {} } = findings[0] ?? {}
  const where = instancePath.slice(1).replaceAll('/', '.') || 'the body'
  const unknown = params.additionalProperty
  const what = unknown === undefined ? message : `has the field ${JSON.stringify(unknown)}, which there is not`
  return new ServeError('ERR_BODY', `${where} ${what}; send {"job": ..., "profile": ...}, each as text or JSON`)
}

/** Translates an error; what a client cannot do anything about becomes a 500 without details. */
export function failureOf(error: unknown): Failure {
  const { code = '', message = '', statusCode = 500 } = error instanceof Error ? (error as Partial<FastifyError>) : {}
  const known = FASTIFY[code]
  if (known) {
    const [status, publicCode, next] = known
    return { status, error: { code: publicCode, message: `${message}; ${next}` } }
  }
  const status = error instanceof LanternError ? STATUS[error.code] : undefined
  if (status) return { status, error: { code, message } }
  if (code.startsWith('FST_') && statusCode < 500)
    return { status: statusCode, error: { code: 'ERR_REQUEST', message: `${message}; correct the request` } }
  const internal = 'the server failed; try again, and look into its log if it happens again'
  return { status: 500, error: { code: 'ERR_INTERNAL', message: internal } }
}
