import { setImmediate } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { Engine, type EngineOptions, type EngineStep, type GenerateOptions } from '../../lib/generate/engine.js'
import { Decoder } from '../../lib/models/decoder.js'
import { randomWeights } from '../../lib/models/initialise.js'
import { pack } from '../../lib/models/packed.js'
import { tinyConfig } from '../configs.js'
import { QUICK, testDevice, uniform } from '../support.js'

const device = testDevice({ threads: 1 }) // tiny models: more threads only wait for each other
const config = tinyConfig({
  layers: 3,
  heads: 4,
  kvHeads: 2,
  headDim: 8,
  vocabSize: 101,
  tieWordEmbeddings: false,
  slidingWindow: [null, 8, null],
  maxPositionEmbeddings: 256,
})
const model = new Decoder(device, config, randomWeights(device, { seed: 3, layers: config.layers, std: 0.35 }))

const random = uniform(11)
/** The fourth is the longest. */
const prompts = [5, 16, 1, 40, ...(QUICK ? [] : [33, 17])].map((n) =>
  Array.from({ length: n }, () => Math.floor(random() * 101)),
)

/** New tokens that cross a block of the cache, and more than the sliding window. */
const TOKENS = QUICK ? 14 : 24

async function ids(engine: Engine, prompt: readonly number[], options: GenerateOptions): Promise<number[]> {
  const all = []
  for await (const { id } of engine.generate(prompt, options)) all.push(id)
  return all
}

async function generated(options: EngineOptions, generate: (i: number) => GenerateOptions): Promise<number[][]> {
  using engine = new Engine(model, options)
  const all = await Promise.all(prompts.map((prompt, i) => ids(engine, prompt, generate(i))))
  expect(engine.cache.free).toBe(engine.cache.tokens)
  return all
}

/** The same by definition: the whole context anew for every token, no cache. */
async function byDefinition(prompt: readonly number[], count: number): Promise<number[]> {
  const context = [...prompt]
  for (let i = 0; i < count; i++) {
    using logits = device.tidy(() => model.logits(model.forward(pack(device, [context]))))
    const last = (await logits.floats()).subarray(-config.vocabSize)
    context.push(last.indexOf(last.reduce((a, b) => Math.max(a, b))))
  }
  return context.slice(prompt.length)
}

describe('tokens', () => {
  test('are those of the whole context computed anew, across blocks and sliding windows', async () => {
    const all = await generated({}, () => ({ maxTokens: TOKENS }))
    for (const [i, prompt] of prompts.entries()) expect(all[i]).toEqual(await byDefinition(prompt, TOKENS))
  })

  test('are the same alone, in company, in small batches, and when the cache makes sequences wait', async () => {
    const greedy = () => ({ maxTokens: TOKENS })
    const drawn = (seed: number) => ({
      maxTokens: TOKENS,
      temperature: 1.3,
      topK: 40,
      topP: 0.95,
      repetitionPenalty: 1.2,
      seed,
    })
    for (const options of [greedy, drawn]) {
      const reference = await generated({}, options)
      expect(await generated({ maxSequences: 1 }, options)).toEqual(reference)
      expect(await generated({ maxPrefillTokens: 1, maxSequences: 3 }, options)).toEqual(reference)
      const steps: EngineStep[] = []
      expect(await generated({ cacheTokens: QUICK ? 64 : 80, onStep: (step) => steps.push(step) }, options)).toEqual(
        reference,
      )
      const prefilled = steps.filter((s) => s.prefill).reduce((n, s) => n + s.tokens, 0)
      expect(prefilled).toBeGreaterThan(prompts.flat().length) // some were computed again: the cache was too small
    }
  })

  test('carry the logarithm of their probability', async () => {
    using engine = new Engine(model)
    for await (const { id, logProbability } of engine.generate(prompts[0]!, { maxTokens: 1 })) {
      using logits = device.tidy(() => model.logits(model.forward(pack(device, [prompts[0]!]))))
      const last = (await logits.floats()).subarray(-config.vocabSize)
      const sum = last.reduce((n, x) => n + Math.exp(x), 0)
      expect(logProbability).toBeCloseTo(last[id]! - Math.log(sum), 4)
    }
  })

  test('end before a stop id, and stay below vocabularyLimit', async () => {
    using engine = new Engine(model)
    const free = await ids(engine, prompts[3]!, { maxTokens: TOKENS })
    const stop = free[5]!
    expect(await ids(engine, prompts[3]!, { maxTokens: TOKENS, stop: [stop] })).toEqual(
      free.slice(0, free.indexOf(stop)),
    )
    using limited = new Engine(model, { vocabularyLimit: 10 })
    for (const id of await ids(limited, prompts[3]!, { maxTokens: TOKENS })) expect(id).toBeLessThan(10)
  })
})

/** Live bytes when the steps of engines that were disposed of in the middle are through. */
async function settledMemory(): Promise<number> {
  await device.synchronize()
  await setImmediate()
  return device.memory().live
}

describe('leaving', () => {
  test('an aborted sequence frees its blocks at once, and the others say what they would have said', async () => {
    using engine = new Engine(model, { cacheTokens: 512 })
    const alone = await ids(engine, prompts[1]!, { maxTokens: 40 })
    const controller = new AbortController()
    const other = ids(engine, prompts[1]!, { maxTokens: 40 })
    const leaving = engine.generate(prompts[3]!, { maxTokens: 200, signal: controller.signal })
    await leaving.next()
    const reason = new Error('left')
    const before = engine.cache.free
    controller.abort(reason)
    expect(engine.cache.free).toBeGreaterThanOrEqual(before + 48)
    const drain = async () => {
      for await (const _ of leaving);
    }
    await expect(drain()).rejects.toBe(reason)
    expect(await other).toEqual(alone)
    expect(engine.cache.free).toBe(512)
    expect(engine.load).toEqual({ waiting: 0, running: 0 })
    await expect(ids(engine, prompts[0]!, { maxTokens: 4, signal: controller.signal })).rejects.toBe(reason)
  })

  test('a loop that is left frees its blocks', async () => {
    using engine = new Engine(model, { cacheTokens: 512 })
    for await (const _ of engine.generate(prompts[3]!, { maxTokens: 200 })) break
    expect(engine.cache.free).toBe(512)
    expect(engine.load).toEqual({ waiting: 0, running: 0 })
  })

  test('dispose ends running and waiting sequences and gives the cache back', async () => {
    const live = await settledMemory()
    const engine = new Engine(model, { maxSequences: 1 })
    const running = engine.generate(prompts[0]!, { maxTokens: 200 })
    await running.next()
    const waiting = ids(engine, prompts[1]!, { maxTokens: 200 })
    const ended = Promise.all([
      expect(waiting).rejects.toMatchObject({ code: 'ERR_CLOSED' }),
      expect(
        (async () => {
          for await (const _ of running);
        })(),
      ).rejects.toMatchObject({ code: 'ERR_CLOSED' }),
    ])
    engine.dispose()
    await ended
    expect(() => engine.generate(prompts[0]!, { maxTokens: 1 })).toThrow(/disposed of; make another/)
    expect(await settledMemory()).toBe(live)
  })
})

describe('errors', () => {
  test('requests that cannot be met are refused before they join a batch', () => {
    using engine = new Engine(model, { cacheTokens: 64 })
    const refuse = (prompt: number[], options: GenerateOptions, message: RegExp) =>
      expect(() => engine.generate(prompt, options)).toThrow(message)
    refuse([], { maxTokens: 1 }, /no tokens; give at least one/)
    refuse([1], { maxTokens: 0 }, /maxTokens is 0; give a number/)
    refuse([1, 2], { maxTokens: 63 }, /2 prompt tokens and 63 new ones do not fit 64/)
    refuse([1, 101], { maxTokens: 1 }, /token 1 of the prompt is 101, but the model has the ids 0 to 100; encode/)
    refuse([1, 0.5], { maxTokens: 1 }, /token 1 of the prompt is 0.5/)
    refuse([1], { maxTokens: 1, temperature: -1 }, /temperature of the request is -1; give/)
    refuse([1], { maxTokens: 1, topP: 0 }, /topP of the request is 0; give/)
    expect(engine.load).toEqual({ waiting: 0, running: 0 })
  })

  test('a failure on the device ends the sequences of the step, and the engine goes on', async () => {
    using engine = new Engine(model)
    const wanted = await ids(engine, prompts[0]!, { maxTokens: 4 })
    const norm = model.parameters.get('model.norm.weight')!
    norm.write(new Float32Array(norm.size).fill(Number.NaN))
    await expect(ids(engine, prompts[0]!, { maxTokens: 4 })).rejects.toMatchObject({ name: 'DeviceError' })
    norm.write(new Float32Array(norm.size).fill(1))
    expect(engine.cache.free).toBe(engine.cache.tokens)
    expect(await ids(engine, prompts[0]!, { maxTokens: 4 })).toEqual(wanted)
  })
})
