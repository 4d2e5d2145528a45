import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, statSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

/** A file of the model. Large ones lie in LFS: the hub sends whoever asks for them to another host. */
export interface ServedFile {
  content: Buffer
  lfs?: boolean
}

/** A request as it came. */
export interface Asked {
  host: 'hub' | 'cdn'
  method: string
  path: string
  range: string | undefined
  authorization: string | undefined
}

/** Answers a request instead of the server; false leaves it to the server. */
type Fault = (request: IncomingMessage, response: ServerResponse, file: ServedFile | undefined) => boolean

export const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')
export const gitSha1 = (bytes: Buffer): string =>
  createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex')

/** A hub with one model, and the host that its large files lie on: the parts of https://huggingface.co/docs/hub/api that a pull asks for. */
export class HubServer {
  readonly name = 'tiny-org/Tiny-Model_1.5'
  revisions = new Set(['main'])
  files = new Map<string, ServedFile>()
  /** Entries of the listing besides those of the files. */
  extraEntries: unknown[] = []
  /** Only who shows this token may read. */
  token: string | undefined
  /** What the hub says to those who may not. */
  refusal = { status: 401, code: 'RepoNotFound' }
  /** Asked in turn before every answer of the host. */
  readonly faults: Record<Asked['host'], Fault[]> = { hub: [], cdn: [] }
  asked: Asked[] = []
  /** Entries on a page of the listing. */
  pageSize = 3
  readonly #hub = createServer((request, response) => this.#answer('hub', request, response))
  readonly #cdn = createServer((request, response) => this.#answer('cdn', request, response))

  async start(): Promise<void> {
    for (const server of [this.#hub, this.#cdn]) {
      server.listen(0, '127.0.0.1')
      await once(server, 'listening')
    }
  }

  async stop(): Promise<void> {
    for (const server of [this.#hub, this.#cdn]) {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    }
  }

  get endpoint(): string {
    return urlOf(this.#hub)
  }

  /** Changes with the files, as a commit does. */
  get commit(): string {
    const all = [...this.files].map(([name, { content }]) => `${name} ${gitSha1(content)}`).join('\n')
    return createHash('sha1').update(all).digest('hex')
  }

  /** Ranges that were asked for of a file where it lies; undefined for the whole. */
  ranges(name: string): (string | undefined)[] {
    const host = this.files.get(name)!.lfs ? 'cdn' : 'hub'
    return this.asked.filter((a) => a.host === host && a.path.endsWith(`/${name}`)).map(({ range }) => range)
  }

  #answer(host: Asked['host'], request: IncomingMessage, response: ServerResponse): unknown {
    const url = new URL(request.url!, this.endpoint)
    const { range, authorization } = request.headers
    this.asked.push({ host, method: request.method!, path: url.pathname, range, authorization })
    const file = this.files.get(decodeURIComponent(url.pathname.split('/').at(-1)!))
    if (this.faults[host].some((fault) => fault(request, response, file))) return
    if (host === 'cdn') return serve(request, response, file!.content, `"${sha256(file!.content).slice(0, 32)}"`)
    if (this.token !== undefined && authorization !== `Bearer ${this.token}`)
      return refuse(response, this.refusal.status, this.refusal.code)
    const [api, name, rest] = this.#parse(url.pathname)
    if (name === undefined) return refuse(response, 404, 'RepoNotFound')
    if (api && rest!.startsWith('revision/'))
      return this.#info(response, decodeURIComponent(rest!.slice('revision/'.length)))
    if (api && rest === `tree/${this.commit}`) return this.#tree(response, url)
    if (!api && file && rest!.startsWith(`resolve/${this.commit}/`)) return this.#resolve(request, response, url, file)
    return refuse(response, 404, 'EntryNotFound')
  }

  #parse(path: string): [api: boolean, name?: string, rest?: string] {
    const api = path.startsWith('/api/models/')
    const from = api ? path.slice('/api/models/'.length) : path.slice(1)
    return from.startsWith(`${this.name}/`) ? [api, this.name, from.slice(this.name.length + 1)] : [api]
  }

  #info(response: ServerResponse, revision: string): unknown {
    if (!this.revisions.has(revision)) return refuse(response, 404, 'RevisionNotFound')
    return json(response, {
      _id: '1',
      id: this.name,
      sha: this.commit,
      lastModified: new Date(0),
      private: false,
      gated: false,
    })
  }

  #tree(response: ServerResponse, url: URL): unknown {
    const entries: unknown[] = [...this.files].map(([path, { content, lfs }]) => {
      const pointer = { type: 'file', path, size: content.length, oid: gitSha1(lfs ? Buffer.from(path) : content) }
      const large = { lfs: { oid: sha256(content), size: content.length, pointerSize: 134 }, xetHash: 'ab'.repeat(32) }
      return { ...pointer, ...(lfs && large) }
    })
    entries.push(...this.extraEntries)
    const at = Number(url.searchParams.get('cursor') ?? 0)
    url.searchParams.set('cursor', String(at + this.pageSize))
    const next = at + this.pageSize < entries.length ? { link: `<${url}>; rel="next"` } : undefined
    return json(response, entries.slice(at, at + this.pageSize), next)
  }

  #resolve(request: IncomingMessage, response: ServerResponse, url: URL, { content, lfs }: ServedFile): unknown {
    if (!lfs) return serve(request, response, content, `"${gitSha1(content)}"`)
    const xet = { 'x-xet-hash': 'ab'.repeat(32), link: `<${url.origin}/xet>; rel="xet-auth"` }
    if (request.headers.accept?.includes('xet-fileinfo'))
      return json(response, { hash: 'ab' }, { ...xet, 'content-type': 'application/vnd.xet-fileinfo+json' })
    const linked = { 'x-linked-etag': `"${sha256(content)}"`, 'x-linked-size': content.length }
    response.writeHead(302, {
      ...xet,
      ...linked,
      location: `${urlOf(this.#cdn)}/blob/${url.pathname.split('/').at(-1)}`,
    })
    return response.end('Found')
  }
}

const urlOf = (server: Server): string => `http://127.0.0.1:${(server.address() as AddressInfo).port}`

function json(response: ServerResponse, value: unknown, headers: Record<string, string> = {}): unknown {
  response.writeHead(200, { 'content-type': 'application/json', ...headers })
  return response.end(JSON.stringify(value))
}

function refuse(response: ServerResponse, status: number, code: string): unknown {
  response.writeHead(status, { 'content-type': 'application/json', 'x-error-code': code })
  return response.end(JSON.stringify({ error: `refused: ${code}` }))
}

/** Bytes, from where they are asked for. */
export function serve(request: IncomingMessage, response: ServerResponse, content: Buffer, etag: string): unknown {
  const from = begin(request, response, content, etag)
  return response.end(content.subarray(from))
}

/** The head of such an answer. @returns where its body begins */
export function begin(request: IncomingMessage, response: ServerResponse, content: Buffer, etag = '"e"'): number {
  const from = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0)
  const partly = request.headers.range !== undefined
  response.writeHead(partly ? 206 : 200, {
    etag,
    'content-length': content.length - from,
    ...(partly && { 'content-range': `bytes ${from}-${content.length - 1}/${content.length}` }),
  })
  return from
}

/** A fault that happens `times` times, to requests for a file. */
export function times(count: number, name: string, fault: (...args: Parameters<Fault>) => void): Fault {
  let left = count
  return (request, response, file) => {
    if (left === 0 || !new URL(request.url!, 'http://x').pathname.endsWith(`/${name}`)) return false
    left--
    fault(request, response, file)
    return true
  }
}

/** Sends bytes up to `end` of the file and nothing more; `then` is called when they have all been written to `partial`. */
export const stallAt =
  (end: number, partial: string, then: (response: ServerResponse) => void): ((...args: Parameters<Fault>) => void) =>
  (request, response, file) => {
    const from = begin(request, response, file!.content)
    response.write(file!.content.subarray(from, end))
    const look = setInterval(() => {
      if (!existsSync(partial) || statSync(partial).size < end) return
      clearInterval(look)
      then(response)
    }, 2)
    response.on('close', () => clearInterval(look))
  }

/** As `stallAt`, and then the connection breaks off. */
export const dropAt = (end: number, partial: string): ReturnType<typeof stallAt> =>
  stallAt(end, partial, (response) => response.destroy())
