import type { ModelName } from './cache.js'
import { type Asked, connectionFailure, statusFailure } from './failure.js'
import { type PassingFailure, type RetryPolicy, retrying } from './retry.js'
import { badAnswer, type HubFile, readCommit, readSnapshot, type Snapshot } from './snapshot.js'

const MOST_ENTRIES = 10_000

/** Bytes of a file from `from` on, as they come. */
export interface FileStream {
  from: number
  chunks: AsyncGenerator<Uint8Array>
}

/**
 * Asks a hub. What models there are and what their files are, @huggingface/hub asks. The bytes of a file we ask for ourselves: its downloadFile
 * gives a Blob, which knows neither a signal, nor whether the server began where it was told to, nor why a stream ended early, and its
 * snapshotDownload begins again with every file. We ask where files lie without xet's Accept header, so that the hub sends all of them plainly.
 */
export class HubClient {
  readonly endpoint: string
  readonly #token: string | undefined
  readonly #policy: RetryPolicy

  /** @param endpoint without a slash at its end */
  constructor(endpoint: string, token: string | undefined, policy: RetryPolicy) {
    this.endpoint = endpoint
    this.#token = token
    this.#policy = policy
  }

  /** What a revision is now. @throws HubError; the signal's reason */
  async snapshot(model: ModelName): Promise<Snapshot> {
    const { listFiles, modelInfo } = await import('@huggingface/hub') // as large as all the rest of us: only here
    const { name, revision } = model
    const { endpoint: hubUrl } = this
    const ask: typeof fetch = (url) => retrying(this.#policy, () => this.#answer(String(url), model))
    try {
      const { sha } = await modelInfo({ name, revision, hubUrl, additionalFields: ['sha'], fetch: ask })
      const commit = readCommit(hubUrl, name, sha)
      const entries: unknown[] = []
      for await (const entry of listFiles({ repo: { type: 'model', name }, revision: commit, hubUrl, fetch: ask }))
        if (entries.push(entry) > MOST_ENTRIES) throw badAnswer(hubUrl, `${name} has more than ${MOST_ENTRIES} files`)
      return readSnapshot(hubUrl, model, commit, entries)
    } catch (error) {
      if (error instanceof SyntaxError || error instanceof TypeError) throw badAnswer(hubUrl, error.message, error)
      throw error
    }
  }

  /** Begins to fetch a file at `from`, or at its beginning if the server knows no ranges. @throws PassingFailure, HubError; the signal's reason */
  async open(snapshot: Snapshot, file: HubFile, from: number): Promise<FileStream> {
    const { name, commit } = snapshot
    const url = `${this.endpoint}/${name}/resolve/${commit}/${encodeURIComponent(file.name)}`
    const response = await this.#fetch(url, snapshot, {
      'accept-encoding': 'identity',
      ...(from > 0 && { range: `bytes=${from}-` }),
    })
    if (response.status === 416) return { from: 0, chunks: nothing() } // what is here is longer than the file there
    if (!response.ok) throw await failed(response, this.#asked(snapshot))
    const start =
      response.status === 206 ? Number(/^bytes (\d+)-/.exec(response.headers.get('content-range') ?? '')?.[1]) : 0
    if (start !== from && start !== 0) {
      await response.body?.cancel()
      throw badAnswer(this.endpoint, `${file.name} was asked for from byte ${from} on and came from ${start}`)
    }
    return { from: start, chunks: chunksOf(response, this.#asked(snapshot)) }
  }

  /** An answer of the API, whole: what breaks off is asked for again. */
  async #answer(url: string, model: ModelName): Promise<Response> {
    const response = await this.#fetch(url, model, { accept: 'application/json' })
    const asked = this.#asked(model)
    if (!response.ok) throw await failed(response, asked)
    const { status, headers } = response
    const body = await response.arrayBuffer().catch((cause) => {
      throw connectionFailure(cause, asked)
    })
    return new Response(body, { status, headers })
  }

  async #fetch(url: string, model: ModelName, headers: Record<string, string>): Promise<Response> {
    const { signal } = this.#policy
    signal?.throwIfAborted()
    // The token is for the endpoint alone, wherever links lead; fetch takes it off when it is redirected to another host.
    const trusted = new URL(url).origin === new URL(this.endpoint).origin
    const authorization = this.#token && trusted ? { authorization: `Bearer ${this.#token}` } : undefined
    try {
      return await fetch(url, { headers: { ...headers, ...authorization }, signal })
    } catch (cause) {
      signal?.throwIfAborted()
      throw connectionFailure(cause, this.#asked(model))
    }
  }

  #asked({ name, revision }: ModelName): Asked {
    return { endpoint: this.endpoint, name, revision, token: this.#token !== undefined }
  }
}

async function failed(response: Response, asked: Asked): Promise<PassingFailure | Error> {
  await response.body?.cancel()
  return statusFailure(response, asked)
}

async function* nothing(): AsyncGenerator<Uint8Array> {}

/** The body of a response. @throws PassingFailure where it breaks off */
async function* chunksOf({ body }: Response, asked: Asked): AsyncGenerator<Uint8Array> {
  const reader = body?.getReader()
  if (!reader) return
  try {
    for (;;) {
      const { done, value } = await reader.read().catch((cause) => {
        throw connectionFailure(cause, asked)
      })
      if (done) return
      yield value
    }
  } finally {
    await reader.cancel().catch(() => {}) // a caller that has left
  }
}
