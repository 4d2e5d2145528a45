import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Contender } from './measure.js'
import { root } from './root.js'

/** A case as a script of bench/peers understands it. */
export type PeerCase = Readonly<Record<string, unknown>>

/** What a peer says of a case besides its times. */
export interface PeerFacts {
  /** Growth of the resident set over the runs so far, at its highest. */
  extraBytes: number
}

/** The case of a peer, as a side of a comparison. */
export interface PeerContender extends Contender {
  facts(): PeerFacts
}

interface Reply {
  error?: string
  samples?: number[]
  extraBytes?: number
}

/**
 * A script of bench/peers, running. It reads one request a line and answers each with a line: `{"case": {...}}` makes ready and runs once,
 * `{"seconds": s}` runs that case for a turn.
 */
export class Peer {
  readonly #child: ChildProcessWithoutNullStreams
  readonly #waiting: ((reply: Reply) => void)[] = []
  #lastWords = ''

  /** @param script file name within bench/peers */
  constructor(python: string, script: string, threads: number) {
    this.#child = spawn(python, [join(root, 'bench', 'peers', script), String(threads)])
    createInterface({ input: this.#child.stdout }).on('line', (line) => this.#answer(JSON.parse(line) as Reply))
    this.#child.stderr.on('data', (text: Buffer) => {
      this.#lastWords = (this.#lastWords + text.toString()).slice(-2000)
    })
    this.#child.stdin.on('error', () => {}) // the exit tells more
    const failed = (why: string) => {
      while (this.#waiting.length > 0) this.#answer({ error: why })
    }
    this.#child.on('error', (error) => failed(error.message))
    this.#child.on('close', (code) => failed(`it ended with ${code}: ${this.#lastWords.trim().split('\n').at(-1)}`))
  }

  #answer(reply: Reply): void {
    this.#waiting.shift()?.(reply)
  }

  async #ask(request: object): Promise<Required<Omit<Reply, 'error'>>> {
    const reply = await new Promise<Reply>((resolve) => {
      this.#waiting.push(resolve)
      if (this.#child.exitCode !== null) this.#answer({ error: `it ended with ${this.#child.exitCode}` })
      else this.#child.stdin.write(`${JSON.stringify(request)}\n`)
    })
    if (reply.error !== undefined) throw new Error(`peer: ${reply.error}`)
    return { samples: reply.samples ?? [], extraBytes: reply.extraBytes ?? 0 }
  }

  /** A case of this peer. Cases run one after the other: the next one replaces what the last one held. */
  contender(values: PeerCase): PeerContender {
    let extraBytes = 0
    const ask = async (request: object) => {
      const reply = await this.#ask(request)
      extraBytes = Math.max(extraBytes, reply.extraBytes)
      return reply.samples
    }
    return {
      warm: async () => (await ask({ case: values }))[0]!,
      sample: (seconds) => ask({ seconds }),
      facts: () => ({ extraBytes }),
    }
  }

  /** Ends the script. */
  async close(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const ended = new Promise((resolve) => this.#child.once('close', resolve))
    this.#child.stdin.end()
    await ended
  }
}
