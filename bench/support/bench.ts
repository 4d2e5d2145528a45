import { Device, type DeviceOptions } from '../../lib/tensor/device.js'
import { type Ceiling, measureCeiling } from './ceilings.js'
import { alternate, type Contender, type Effort, type Timing } from './measure.js'
import { Peer, type PeerCase, type PeerContender } from './peer.js'
import type { Python } from './python.js'
import type { Goal, Row, Table, Unit } from './table.js'

/** A bench: one table. */
export interface Bench {
  name: string
  /** What it measures, in a line. */
  summary: string
  run(context: BenchContext): Promise<Table>
}

/** How a row is made of the times of both sides. */
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

/** The outcome of a race: seconds an operation of both sides, and the median of the ceiling in GFLOP/s or GB/s. */
export interface Race {
  ours: Timing
  theirs: Timing | null
  peer: PeerContender | null
  ceiling: number | null
}

/** What a bench works with. */
export class BenchContext {
  readonly #say: (line: string) => void
  readonly #ceilings: Partial<Record<Ceiling, number>> = {}

  constructor(
    readonly options: {
      /** Threads of both sides. */
      threads: number
      /** Null: without peers. */
      python: Python | null
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

  get python(): Python | null {
    return this.options.python
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
    return new Peer(python.path, script, threads)
  }

  /**
   * Times ours and, if it runs, the peer's case in turn, and measures the ceiling of the case between them: on a machine that
   * others use too it is not the same all the time. A peer that fails is said and left out.
   */
  async race(ours: Contender, peer: Peer | null, values: PeerCase, ceiling: Ceiling | null = null): Promise<Race> {
    const theirs = peer?.contender(values) ?? null
    const limit = ceiling && this.#ceilingSide(ceiling)
    try {
      const [a, b, c] = await alternate([ours, theirs, limit] as const, this.options.effort)
      return { ours: a, theirs: b, peer: theirs, ceiling: c?.median ?? null }
    } catch (error) {
      if (!(error instanceof Error) || !error.message.startsWith('peer: ')) throw error
      this.#say(`${JSON.stringify(values)}: no figure of the peer (${error.message.slice(6).split('\n').at(-1)})`)
      const [a, c] = await alternate([ours, limit] as const, this.options.effort)
      return { ours: a, theirs: null, peer: null, ceiling: c?.median ?? null }
    }
  }

  /** A row of the times of both sides. */
  row(name: string, timing: { ours: Timing; theirs: Timing | null }, options: RowOptions): Row {
    const { unit, better, figure, ceiling = null, goal = {}, headline = false } = options
    const ours = figure(timing.ours.median)
    const theirs = timing.theirs && figure(timing.theirs.median)
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
