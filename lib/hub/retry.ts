import { setTimeout as sleep } from 'node:timers/promises'
import type { HubError } from '../errors.js'

/** A failure that may pass, thrown by an attempt that is worth repeating. `error` is what it becomes when it does not pass. */
export class PassingFailure extends Error {
  readonly error: HubError
  /** Milliseconds that the server asks to wait. */
  readonly wait: number | undefined

  constructor(reason: string, error: HubError, wait?: number) {
    super(reason)
    this.error = error
    this.wait = wait
  }
}

/** How attempts are repeated. */
export interface RetryPolicy {
  /** Attempts after the first that may fail in a row. */
  retries: number
  /** Milliseconds before the second attempt; they double with every further one. */
  delay: number
  /** Hears why and in how many milliseconds an attempt is repeated. */
  onRetry?: (reason: string, wait: number) => void
  signal?: AbortSignal
}

const LONGEST_DELAY = 30_000
/** A server that wants to be left alone for longer is left alone: that is for the caller to wait for. */
const LONGEST_WAIT = 600_000

/**
 * Repeats `attempt` while it fails with a PassingFailure, waiting twice as long every time, or as long as the server asks for.
 * @param progress a number that grows whenever something came of an attempt: then the count begins again
 * @throws HubError of the last failure; the signal's reason
 */
export async function retrying<T>(
  { retries, delay, onRetry, signal }: RetryPolicy,
  attempt: () => Promise<T>,
  progress: () => number = () => 0,
): Promise<T> {
  for (let failures = 0, reached = progress(); ; ) {
    try {
      return await attempt()
    } catch (error) {
      signal?.throwIfAborted()
      if (!(error instanceof PassingFailure)) throw error
      if (progress() > reached) failures = 0
      reached = progress()
      if (failures >= retries || (error.wait ?? 0) > LONGEST_WAIT) throw error.error
      const backOff = Math.min(LONGEST_DELAY, delay * 2 ** failures) * (0.75 + Math.random() / 2) // not all clients at once
      const wait = Math.round(error.wait ?? backOff)
      failures++
      onRetry?.(error.message, wait)
      await sleep(wait, undefined, { signal }).catch(() => signal?.throwIfAborted())
    }
  }
}
