// What the benches use of benchmark 2.1.4, which brings no types of its own.
declare module 'benchmark' {
  /** Handed to a deferred test, which calls `resolve` when it is done. */
  export interface Deferred {
    resolve(): void
  }

  export interface Options {
    /** The test calls `deferred.resolve()`. */
    defer: true
    /** Seconds that sampling may take. */
    maxTime: number
    /** Seconds that a sample lasts at least. */
    minTime: number
    minSamples: number
  }

  export default class Benchmark {
    constructor(test: (deferred: Deferred) => void, options: Options)
    on(event: 'complete', listener: () => void): this
    run(options: { async: boolean }): this
    abort(): this
    /** Seconds a call, one number a sample. */
    readonly stats: { readonly sample: readonly number[] }
    readonly error?: Error
  }
}
