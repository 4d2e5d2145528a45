import Benchmark from 'benchmark'
import type { Device } from '../../lib/tensor/device.js'

/** How much time a case gets. */
export interface Effort {
  /** Times that each side has its turn. */
  rounds: number
  /** Seconds of a turn. */
  seconds: number
  /** A side whose first run took this many seconds is not run again: that run is its figure. */
  slow: number
}

/** Seconds of one operation, over all turns. */
export interface Timing {
  median: number
  best: number
  /** Half the distance between the quartiles, as a part of the median. */
  spread: number
  samples: number
}

/** One side of a comparison. */
export interface Contender {
  /** The first run: caches, allocations, calibration. Returns its seconds an operation. */
  warm(): Promise<number>
  /** A turn of about so many seconds. Returns seconds an operation, one number a sample. */
  sample(seconds: number): Promise<number[]>
}

/** Seconds since some moment, from the monotonic clock. */
export const now = (): number => Number(process.hrtime.bigint()) / 1e9

/**
 * Times the sides in turn, so that what else the machine does and its clock rate meet both alike. A side that is null stays null.
 */
export async function alternate<T extends readonly (Contender | null)[]>(
  sides: T,
  effort: Effort,
): Promise<{ [K in keyof T]: T[K] extends Contender ? Timing : Timing | null }> {
  const samples: number[][] = []
  const done: boolean[] = []
  for (const side of sides) {
    const first = side ? await side.warm() : 0
    done.push(!side || first > effort.slow)
    samples.push(first > effort.slow ? [first] : [])
  }
  for (let round = 0; round < effort.rounds; round++)
    for (const [i, side] of sides.entries())
      if (side && !done[i]) samples[i]!.push(...(await side.sample(effort.seconds)))
  return samples.map((s) => (s.length > 0 ? timing(s) : null)) as never
}

/** Median, best and spread of some samples. */
export function timing(samples: readonly number[]): Timing {
  const sorted = [...samples].sort((a, b) => a - b)
  const at = (q: number) => sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))]!
  const median = at(0.5)
  return { median, best: sorted[0]!, spread: (at(0.75) - at(0.25)) / 2 / median, samples: sorted.length }
}

/**
 * An asynchronous function as a contender: through Benchmark.js where a turn holds several runs, else one timed run a turn. A run comes
 * before that one: the first after seconds of the other side's turn takes a tenth longer, on either side.
 */
export function contender(run: () => Promise<void>, operations = 1): Contender {
  let first = 0
  const once = async () => {
    const started = now()
    await run()
    return (now() - started) / operations
  }
  return {
    async warm() {
      await run()
      first = await once()
      return first
    },
    async sample(seconds) {
      if (first * operations > seconds / 2) {
        await run()
        return [await once()]
      }
      return (await benchmark(run, seconds)).map((s) => s / operations)
    },
  }
}

function benchmark(run: () => Promise<void>, seconds: number): Promise<readonly number[]> {
  return new Promise((resolve, reject) => {
    let failure: unknown
    const test = new Benchmark(
      (deferred) => {
        run().then(
          () => deferred.resolve(),
          (error: unknown) => {
            failure ??= error
            test.abort()
            deferred.resolve()
          },
        )
      },
      { defer: true, maxTime: seconds, minTime: seconds / 8, minSamples: 3 },
    )
    test.on('complete', () => (failure || test.error ? reject(failure ?? test.error) : resolve(test.stats.sample)))
    test.run({ async: true })
  })
}

/** Work that lasts so long is enqueued before the stream is waited for, as a model enqueues a layer: the wait is no part of an op. */
const BURST_SECONDS = 0.004

/**
 * An op as a contender: `enqueue` calls it and disposes of what it returns.
 * It is called several times before each wait if it is short.
 */
export async function opContender(device: Device, enqueue: () => void): Promise<Contender> {
  const once = async (times: number) => {
    for (let i = 0; i < times; i++) enqueue()
    await device.synchronize()
  }
  await once(1)
  const started = now()
  await once(4)
  const each = (now() - started) / 4
  const times = Math.max(1, Math.min(256, Math.round(BURST_SECONDS / each)))
  return contender(() => once(times), times)
}
