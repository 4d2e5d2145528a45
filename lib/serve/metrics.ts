import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { ExplainUsage, FitService } from './fitService.js'

const SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60]
const SEQUENCES = [1, 2, 4, 8, 16, 32, 64, 128]

/** What a server tells Prometheus, in a registry of its own. Gauges are read when they are asked for. */
export class ServerMetrics {
  readonly registry = new Registry()
  readonly #requests: Counter<'route' | 'status'>
  readonly #seconds: Histogram<'route'>
  readonly #firstToken: Histogram
  readonly #generated: Counter<'kind'>
  readonly #unsubscribe: () => void

  /** @param inProgress requests that are being answered */
  constructor(service: FitService, inProgress: () => number) {
    const registers = [this.registry]
    this.#requests = new Counter({
      name: 'lantern_requests_total',
      help: 'Requests answered or abandoned by the client (status 499)',
      labelNames: ['route', 'status'],
      registers,
    })
    this.#seconds = new Histogram({
      name: 'lantern_request_duration_seconds',
      help: 'Time from a request to the end of its response',
      labelNames: ['route'],
      buckets: SECONDS,
      registers,
    })
    this.#firstToken = new Histogram({
      name: 'lantern_time_to_first_token_seconds',
      help: 'Time from an explain request to the first piece of its explanation',
      buckets: SECONDS,
      registers,
    })
    this.#generated = new Counter({
      name: 'lantern_explanation_tokens_total',
      help: 'Tokens of explanations that were finished: prompt and completion',
      labelNames: ['kind'],
      registers,
    })
    this.#unsubscribe = this.#watchSteps(service)
    this.#watchLoad(service, inProgress)
  }

  /** Stops listening to the service. */
  close(): void {
    this.#unsubscribe()
  }

  answered(route: string, status: number, milliseconds: number): void {
    this.#requests.inc({ route, status })
    this.#seconds.observe({ route }, milliseconds / 1000)
  }

  firstToken(milliseconds: number): void {
    this.#firstToken.observe(milliseconds / 1000)
  }

  explained({ promptTokens, completionTokens }: ExplainUsage): void {
    this.#generated.inc({ kind: 'prompt' }, promptTokens)
    this.#generated.inc({ kind: 'completion' }, completionTokens)
  }

  #watchSteps(service: FitService): () => void {
    const registers = [this.registry]
    const labelNames = ['model', 'phase'] as const
    const tokens = new Counter({
      name: 'lantern_tokens_total',
      help: 'Tokens that went through a model',
      labelNames,
      registers,
    })
    const batches = new Histogram({
      name: 'lantern_batch_sequences',
      help: 'Sequences of a forward pass',
      labelNames,
      buckets: SEQUENCES,
      registers,
    })
    return service.onStep(({ model, phase, ...step }) => {
      tokens.inc({ model, phase }, step.tokens)
      batches.observe({ model, phase }, step.sequences)
    })
  }

  #watchLoad(service: FitService, inProgress: () => number): void {
    this.#gauge('lantern_requests_in_progress', 'Requests being answered', [], (set) => set({}, inProgress()))
    this.#gauge('lantern_queue_depth', 'Sequences waiting for a model, or in it', ['model', 'state'], (set) => {
      const { classifier, explainer } = service.load
      for (const [model, load] of Object.entries({ classifier, explainer }))
        for (const [state, count] of Object.entries(load)) set({ model, state }, count)
    })
    this.#gauge('lantern_kv_cache_tokens', 'Room of the KV cache, and what is free of it', ['state'], (set) => {
      const { tokens, free } = service.load.cache
      set({ state: 'total' }, tokens)
      set({ state: 'free' }, free)
    })
    this.#gauge('lantern_device_memory_bytes', 'Memory of tensors on the device', ['state'], (set) => {
      const { live, peak, reserved } = service.device.memory()
      for (const [state, bytes] of Object.entries({ live, peak, reserved })) set({ state }, bytes)
    })
  }

  #gauge(
    name: string,
    help: string,
    labelNames: string[],
    read: (set: (labels: Record<string, string>, value: number) => void) => void,
  ): void {
    const gauge: Gauge = new Gauge({
      name,
      help,
      labelNames,
      registers: [this.registry],
      collect: () => read((labels, value) => gauge.set(labels, value)),
    })
  }
}
