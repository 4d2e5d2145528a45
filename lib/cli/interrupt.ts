import { setMaxListeners } from 'node:events'

/**
 * Aborts at the first Ctrl-C (or SIGTERM), so that the work in hand is saved and the command leaves cleanly; the second one ends at once.
 * @param doing what happens now, for the message
 */
export function interruptible(doing = 'saving and leaving after this step'): AbortSignal {
  const controller = new AbortController()
  setMaxListeners(0, controller.signal) // every generation under way listens
  const stop = (signal: NodeJS.Signals) => {
    if (controller.signal.aborted) process.exit(130)
    console.error(`\n${signal}: ${doing}; once more to leave at once`)
    controller.abort()
  }
  process.on('SIGINT', stop)
  process.on('SIGTERM', stop)
  return controller.signal
}

/** What the work makes; null when the signal ended it. @throws whatever else ends it */
export async function unlessInterrupted<T>(signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T | null> {
  try {
    return await work()
  } catch (error) {
    if (!signal?.aborted) throw error
    return null
  }
}
