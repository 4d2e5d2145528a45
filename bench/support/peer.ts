import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import type { Contender } from './measure.js'
import type { Rival } from './table.js'

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
  about?: string
}

/** A rival that could not run its case. */
export class PeerError extends Error {
  constructor(
    readonly rival: Rival,
    message: string,
  ) {
    super(message)
  }
}

/** How a script is started. */
export interface PeerProcess {
  rival: Rival
  /** The program that runs it, and its arguments. */
  command: readonly [string, ...string[]]
  /** Called when it has ended. */
  onClose?: () => void
}

/**
 * A script of bench/peers, running. It reads one request a line and answers each with a line: `{"case": {...}}` makes ready and runs once,
 * `{"seconds": s}` runs that case for a turn.
 */
export class Peer {
  readonly #child: ChildProcessWithoutNullStreams
  readonly #waiting: ((reply: Reply) => void)[] = []
  #lastWords = ''
  #about = ''

  constructor(readonly process: PeerProcess) {
    const [program, ...args] = process.command
    this.#child = spawn(program, args)
    createInterface({ input: this.#child.stdout }).on('line', (line) => this.#answer(JSON.parse(line) as Reply))
    this.#child.stderr.on('data', (text: Buffer) => {
      this.#lastWords = (this.#lastWords + text.toString()).slice(-2000)
    })
    this.#child.stdin.on('error', () => {}) // the exit tells more
    const failed = (why: string) => {
      while (this.#waiting.length > 0) this.#answer({ error: why })
    }
    this.#child.on('error', (error) => failed(error.message))
    this.#child.on('close', (code, signal) => {
      failed(`it ended with ${code ?? signal}: ${this.#lastWords.trim().split('\n').at(-1)}`)
      process.onClose?.()
    })
  }

  /** What it says of itself, beyond its name: empty before its first answer, or where there is nothing to say. */
  get about(): string {
    return this.#about
  }

  #answer(reply: Reply): void {
    this.#waiting.shift()?.(reply)
  }

  async #ask(request: object): Promise<{ samples: number[]; extraBytes: number }> {
    const reply = await new Promise<Reply>((resolve) => {
      this.#waiting.push(resolve)
      if (this.#child.exitCode !== null) this.#answer({ error: `it ended with ${this.#child.exitCode}` })
      else this.#child.stdin.write(`${JSON.stringify(request)}\n`)
    })
    if (reply.error !== undefined) throw new PeerError(this.process.rival, reply.error)
    this.#about = reply.about ?? ''
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
