/** Bytes of the resident set of this process. */
export const residentBytes = (): number => process.memoryUsage.rss()

/** Gives back what JavaScript no longer reaches, where Node was started with --expose-gc. */
export function collectGarbage(): void {
  for (let i = 0; i < 2; i++) globalThis.gc?.()
}

/** A function that watches the resident set while it runs, and the highest that was seen. */
export function watchResident(work: () => Promise<void>): { run: () => Promise<void>; peak: () => number } {
  let peak = 0
  const look = () => {
    peak = Math.max(peak, residentBytes())
  }
  return {
    async run() {
      const timer = setInterval(look, 3)
      try {
        await work()
      } finally {
        clearInterval(timer)
        look()
      }
    },
    peak: () => peak,
  }
}
