import { HubError } from '../errors.js'
import { PassingFailure } from './retry.js'

/** Who asked whom for what: what messages of failures speak of. */
export interface Asked {
  endpoint: string
  name: string
  revision: string
  /** Whether there is a token. */
  token: boolean
}

/** An answer of the hub that is no success, as the error to throw: one that may pass, or a HubError that says what to do. */
export function statusFailure(response: Response, asked: Asked): PassingFailure | HubError {
  const { status } = response
  const { endpoint, name } = asked
  if (status === 429) {
    const advice = asked.token ? 'wait a while' : 'wait a while, or pass --token or set HF_TOKEN for a higher limit'
    const text = `${endpoint} takes no more requests for now (429); ${advice}, then pull ${name} again: it goes on where it was`
    return new PassingFailure('too many requests (429)', new HubError('ERR_HUB_RATE_LIMIT', text), waitOf(response))
  }
  if (status >= 500 || status === 408) {
    const text = `${endpoint} fails (${status}) at ${name}; pull again later: it goes on where it was`
    return new PassingFailure(`the hub fails (${status})`, new HubError('ERR_HUB_UNAVAILABLE', text), waitOf(response))
  }
  return refusal(status, response.headers.get('x-error-code') ?? '', asked)
}

function refusal(status: number, code: string, { endpoint, name, revision, token }: Asked): HubError {
  const page = `${endpoint}/${name}`
  if (code === 'GatedRepo') {
    const then = token
      ? "with the account of your token; the token must have the right to read gated models' files"
      : 'then pass --token or set HF_TOKEN'
    return new HubError('ERR_HUB_GATED', `${name} is gated: accept its licence at ${page}, ${then}`)
  }
  if (code === 'RevisionNotFound')
    return new HubError(
      'ERR_HUB_NOT_FOUND',
      `${name} has no revision ${revision}; see ${page}/commits/main for what it has`,
    )
  // The hub does not tell strangers whether a model is private or does not exist.
  if (status === 401 || code === 'RepoNotFound') {
    const advice = token
      ? 'check the spelling, and that the token is valid and has the right to read the model'
      : 'check the spelling; for a private model pass --token or set HF_TOKEN'
    const notFound = status === 404 || code === 'RepoNotFound'
    return new HubError(
      notFound ? 'ERR_HUB_NOT_FOUND' : 'ERR_HUB_UNAUTHORIZED',
      `${endpoint} shows no model ${name} ${token ? 'to the holder of this token' : 'to those without a token'} (${status}); ${advice}`,
    )
  }
  if (status === 403)
    return new HubError(
      'ERR_HUB_FORBIDDEN',
      `${endpoint} refuses ${name} (403); ${token ? 'use a token that has the right to read it' : `see ${page}, and pass --token or set HF_TOKEN`}`,
    )
  if (status === 404)
    return new HubError(
      'ERR_HUB_NOT_FOUND',
      `${endpoint} has no ${name}, or not at ${revision} (404); check the spelling, the revision and HF_ENDPOINT`,
    )
  return new HubError(
    'ERR_HUB_ANSWER',
    `${endpoint} answered ${status} to a request for ${name}; check HF_ENDPOINT, or try again later`,
  )
}

/** A connection that failed or broke. */
export function connectionFailure(
  cause: unknown,
  { endpoint, name }: Pick<Asked, 'endpoint' | 'name'>,
): PassingFailure {
  const reason = reasonOf(cause)
  const text = `the connection to ${endpoint} failed (${reason}); check the network and HF_ENDPOINT, then pull ${name} again: it goes on where it was`
  return new PassingFailure(`the connection failed (${reason})`, new HubError('ERR_HUB_CONNECTION', text, { cause }))
}

/** fetch says `fetch failed` or `terminated`; what happened is in the causes. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  if (error.cause instanceof Error) return reasonOf(error.cause)
  const code = 'code' in error && typeof error.code === 'string' ? error.code : ''
  return error.message && code && !error.message.includes(code) ? `${code}: ${error.message}` : error.message || code
}

/** Retry-After, seconds or a date, in milliseconds. */
function waitOf({ headers }: Response): number | undefined {
  const text = headers.get('retry-after')
  if (text === null) return undefined
  const wait = /^\d+$/.test(text.trim()) ? Number(text) * 1000 : Date.parse(text) - Date.now()
  return Number.isNaN(wait) ? undefined : Math.max(0, wait)
}
