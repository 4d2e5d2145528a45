import { Device, type DeviceOptions } from '../../lib/tensor/device.js'
import { type Ceiling, measureCeiling } from './ceilings.js'
import { alternate, type Contender, type Effort, type Timing } from './measure.js'
import { type NodePeers, type NodeRival, startNodePeer } from './nodePeers.js'
import { Peer, type PeerCase, type PeerContender, PeerError } from './peer.js'
import { type Python, peerScript } from './python.js'
import type { Goal, OfRivals, Rival, Row, Table, Unit } from './table.js'

/** A bench: one table. */
export interface Bench {
  name: string
  /** What it measures, in a line. */
  summary: string
  run(context: BenchContext): Promise<Table>
}

/** How a row is made of the times of all sides. */
export interface RowOptions {
  unit: Unit
  better: Row['better']
  /** From seconds an operation to the row's figure. */
  figure: (seconds: number) => number
  /** The ceiling in the row's unit. */
  ceiling?: number | null
  goal?: Goal
  headline?: boolean
}

/** Seconds an operation of all sides. */
export interface Timings {
  ours: Timing
  theirs: OfRivals<Timing>
}

/** The outcome of a race; the median of the ceiling is in GFLOP/s or GB/s. */
export interface Race extends Timings {
  peers: OfRivals<PeerContender>
  ceiling: number | null
}

/** Who takes part. */
export interface Sides {
  /** Threads of every side. */
  threads: number
  /** Null: without PyTorch. */
  python: Python | null
  /** Null: without the rivals of npm. */
  nodePeers: NodePeers | null
}

/** What a bench works with. */
export class BenchContext {
  readonly #say: (line: string) => void
  readonly #ceilings: Partial<Record<Ceiling, number>> = {}

  constructor(
    readonly options: Sides & {
      effort: Effort
      /** Sizes that only show that a bench runs. */
      tiny: boolean
      /** Hears what could not be measured. */
      say: (line: string) => void
    },
  ) {
    this.#say = options.say
  }

  get tiny(): boolean {
    return this.options.tiny
  }

  /** What to say once, beside the tables. */
  say(line: string): void {
    this.#say(line)
  }

  /** A device with as many threads as the peers get. */
  device(options: DeviceOptions = {}): Device {
    return Device.open('cpu', { threads: this.options.threads, ...options })
  }

  /** The highest that was measured of each ceiling. */
  get ceilings(): Partial<Record<Ceiling, number>> {
    return this.#ceilings
  }

  /** A ceiling as a side of a race: what it samples is no time but the ceiling itself. Nothing without a compiler. */
  #ceilingSide(ceiling: Ceiling): Contender {
    return {
      warm: async () => 0,
      sample: async (seconds) => {
        const measured = measureCeiling(ceiling, this.options.threads, seconds / 4)
        if (typeof measured === 'string') {
          this.#say(measured)
          return []
        }
        this.#ceilings[ceiling] = Math.max(this.#ceilings[ceiling] ?? 0, measured)
        return [measured]
      },
    }
  }

  /** Starts a script of bench/peers, or null when there is no Python, or one without what the script `needs`. */
  peer(script: string, needs: 'torch' | 'transformers' | 'safetensors' = 'torch'): Peer | null {
    const { python, threads } = this.options
    if (!python) return null
    if (python[needs] === null) {
      this.#say(`${script} is left out: ${python.path} has no ${needs}; install it there with pip`)
      return null
    }
    return new Peer({ rival: 'PyTorch', command: [python.path, peerScript(script), String(threads)] })
  }

  /**
   * Starts a rival of npm on a model of random weights, whose shape goes to the script that writes it. Null without a folder of such
   * rivals, or when something is missing.
   */
  nodePeer(rival: NodeRival, model: PeerCase): Peer | null {
    const { threads, python, nodePeers } = this.options
    if (!nodePeers) return null
    const started = startNodePeer(rival, model, { threads, python, nodePeers })
    if (typeof started !== 'string') return started
    this.#say(`${rival} is left out: ${started}`)
    return null
  }

  /**
   * Times ours and the case of each peer that runs in turn, and measures the ceiling of the case between them: on a machine that
   * others use too it is not the same all the time. A peer that fails is said and left out.
   */
  async race(
    ours: Contender,
    peers: Peer | null | readonly (Peer | null)[],
    values: PeerCase,
    ceiling: Ceiling | null = null,
  ): Promise<Race> {
    const running = new Map<Rival, PeerContender>()
    for (const peer of [peers].flat()) if (peer) running.set(peer.process.rival, peer.contender(values))
    const limit = ceiling && this.#ceilingSide(ceiling)
    for (;;)
      try {
        const [a, c, ...b] = await alternate([ours, limit, ...running.values()] as const, this.options.effort)
        const theirs = Object.fromEntries([...running.keys()].map((rival, i) => [rival, b[i]]))
        return { ours: a, theirs, peers: Object.fromEntries(running), ceiling: c?.median ?? null }
      } catch (error) {
        if (!(error instanceof PeerError)) throw error
        const { rival, message } = error
        this.#say(`${JSON.stringify(values)}: no figure of ${rival} (${message.split('\n').at(-1)})`)
        running.delete(rival)
      }
  }

  /** A row of the times of all sides. */
  row(name: string, timing: Timings, options: RowOptions): Row {
    const { unit, better, figure, ceiling = null, goal = {}, headline = false } = options
    const ours = figure(timing.ours.median)
    const theirs = Object.fromEntries(
      Object.entries(timing.theirs).map(([rival, { median }]) => [rival, figure(median)]),
    )
    const share = ceiling === null ? null : better === 'higher' ? ours / ceiling : ceiling / ours
    return {
      case: name,
      unit,
      better,
      ours,
      theirs,
      share,
      goal,
      timing: { ours: timing.ours, theirs: timing.theirs },
      headline,
    }
  }
}
