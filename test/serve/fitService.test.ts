import { beforeAll, describe, expect, test } from 'vitest'
import { classifierPrompt, LEVELS } from '../../lib/distill/samples.js'
import { fitPrompt } from '../../lib/fit/prompt.js'
import type { FitLevel } from '../../lib/fit/rubric.js'
import { pack } from '../../lib/models/packed.js'
import { loadDecoder } from '../../lib/models/registry.js'
import { FitService, type ServiceStep } from '../../lib/serve/fitService.js'
import { Tokenizer } from '../../lib/text/tokenizer.js'
import { testDevice } from '../support.js'
import { temporaryFolder } from '../tiny.js'
import { type TinyModels, tinyModels, total } from './tinyModels.js'

const device = testDevice({ threads: 1 }) // tiny models: more threads only wait for each other
const root = temporaryFolder()
let models: TinyModels
beforeAll(async () => {
  models = await tinyModels(device, root)
}, 60_000)

async function withService<T>(
  use: (service: FitService) => Promise<T>,
  options: Partial<Parameters<typeof FitService.open>[0]> = {},
): Promise<T> {
  const service = await FitService.open({ device, cacheTokens: 4096, ...models, ...options })
  try {
    return await use(service)
  } finally {
    await service.close()
  }
}

const prompts = () => models.pairs.slice(0, 8).map(({ job, profile }) => fitPrompt(job, profile))

async function text(pieces: AsyncIterable<string>): Promise<string> {
  let all = ''
  for await (const piece of pieces) all += piece
  return all
}

describe('rate', () => {
  test('probabilities are the softmax of the classifier, by label name', async () => {
    const [prompt] = prompts()
    const tokenizer = await Tokenizer.fromFolder(models.classifier)
    using model = await loadDecoder(device, models.classifier)
    using logits = device.tidy(() => model.classify(pack(device, classifierPrompt(tokenizer, model.config, prompt!))))
    const [high, low, medium] = Array.from(await logits.floats(), Math.exp) as [number, number, number]
    const { level, probabilities } = await withService((service) => service.rate(prompt!))
    const sum = high + low + medium
    expect(probabilities.low).toBeCloseTo(low / sum, 5)
    expect(probabilities.medium).toBeCloseTo(medium / sum, 5)
    expect(probabilities.high).toBeCloseTo(high / sum, 5)
    expect(probabilities[level as FitLevel]).toBe(Math.max(...LEVELS.map((l) => probabilities[l])))
    expect(total(probabilities)).toBeCloseTo(1, 9)
  })

  test('probabilities are those of the temperature that the model was calibrated to; who is not sure enough abstains', async () => {
    const [prompt] = prompts()
    const plain = await withService((service) => service.rate(prompt!))
    const classifier = await models.save('calibrated', {
      numLabels: 3,
      id2label: ['high', 'low', 'medium'],
      classifierTemperature: 2,
    })
    const calibrated = await withService((service) => service.rate(prompt!), { classifier })
    const roots = LEVELS.map((l) => Math.sqrt(plain.probabilities[l]))
    for (const [i, l] of LEVELS.entries())
      expect(calibrated.probabilities[l]).toBeCloseTo(roots[i]! / roots.reduce((a, b) => a + b), 5)
    expect(calibrated.level).toBe(plain.level)
    const largest = calibrated.probabilities[calibrated.level as FitLevel]
    for (const [abstain, level] of [
      [largest - 1e-6, calibrated.level],
      [largest + 1e-6, 'abstain'],
    ] as const)
      expect(await withService((service) => service.rate(prompt!), { classifier, abstain })).toEqual({
        ...calibrated,
        level,
      })
    await expect(withService(async () => {}, { abstain: 60 })).rejects.toThrow('abstain is 60')
  })

  test('calls of the same moment share a pass, and rate as they do alone', async () => {
    await withService(async (service) => {
      const alone = []
      for (const prompt of prompts()) alone.push(await service.rate(prompt))
      const steps: ServiceStep[] = []
      service.onStep((step) => steps.push(step))
      const together = await Promise.all(prompts().map((prompt) => service.rate(prompt)))
      expect(steps.map((s) => s.sequences)).toEqual([8])
      for (const [i, { level, probabilities }] of together.entries()) {
        expect(level).toBe(alone[i]!.level)
        for (const l of LEVELS) expect(probabilities[l]).toBeCloseTo(alone[i]!.probabilities[l], 5)
      }
    })
  })

  test('a pass takes no more tokens than told', async () => {
    const steps: ServiceStep[] = []
    await withService(
      async (service) => {
        service.onStep((step) => steps.push(step))
        await Promise.all(prompts().map((prompt) => service.rate(prompt)))
      },
      { maxBatchTokens: 700 },
    )
    expect(steps.reduce((n, s) => n + s.sequences, 0)).toBe(8)
    expect(steps.length).toBeGreaterThan(1)
    for (const s of steps) expect(s.sequences === 1 || s.tokens <= 700).toBe(true)
  })

  test('an aborted call leaves the queue and the others their answers', async () => {
    await withService(async (service) => {
      const steps: ServiceStep[] = []
      service.onStep((step) => steps.push(step))
      const reason = new Error('left')
      const controller = new AbortController()
      const [first, second] = prompts()
      const leaving = service.rate(first!, controller.signal)
      const staying = service.rate(second!)
      controller.abort(reason)
      await expect(leaving).rejects.toBe(reason)
      await staying
      expect(steps.map((s) => s.sequences)).toEqual([1])
      await expect(service.rate(first!, controller.signal)).rejects.toBe(reason)
    })
  })
})

describe('explain', () => {
  test('says the same alone, in company and with a cache too small for all', async () => {
    const alone = await withService(async (service) => {
      const texts = []
      for (const prompt of prompts()) texts.push(await text(service.explain(prompt, { maxTokens: 20 })))
      return texts
    })
    const together = (service: FitService) =>
      Promise.all(prompts().map((prompt) => text(service.explain(prompt, { maxTokens: 20 }))))
    expect(await withService(together)).toEqual(alone)
    expect(await withService(together, { cacheTokens: 1008 })).toEqual(alone)
    expect(new Set(alone).size).toBeGreaterThan(4) // the prompts matter
  })

  test('returns its usage', async () => {
    await withService(async (service) => {
      const explanation = service.explain(prompts()[0]!, { maxTokens: 5 })
      let next = await explanation.next()
      while (!next.done) next = await explanation.next()
      expect(next.value).toMatchObject({ completionTokens: 5, finishReason: 'length' })
      expect(next.value.promptTokens).toBeGreaterThan(50)
    })
  })

  test('leaving the loop and aborting give the cache back', async () => {
    await withService(async (service) => {
      const { free } = service.load.cache
      for await (const _ of service.explain(prompts()[0]!, { maxTokens: 200 })) {
        expect(service.load.cache.free).toBeLessThan(free)
        break
      }
      expect(service.load.cache.free).toBe(free)
      const controller = new AbortController()
      const explanation = service.explain(prompts()[0]!, { maxTokens: 200, signal: controller.signal })
      await explanation.next()
      controller.abort(new Error('left'))
      expect(service.load.cache.free).toBe(free)
      await expect(text(explanation)).rejects.toThrow('left')
    })
  })

  test('a prompt that does not fit is refused at once', async () => {
    await withService(async (service) => {
      expect(() => service.explain(prompts()[0]!, { maxTokens: 5000 })).toThrow(
        expect.objectContaining({ code: 'ERR_PROMPT' }),
      )
      const long = { system: 'x', user: 'word '.repeat(5000) }
      await expect(service.rate(long)).rejects.toMatchObject({ code: 'ERR_PROMPT' })
    })
  })
})

test('the event loop turns while a long pass runs', async () => {
  const wide = { numLabels: 3, id2label: LEVELS, hiddenSize: 128, headDim: 32, intermediateSize: 512 }
  const classifier = await models.save('wide-classifier', wide)
  // Its own device, whose fresh memory is not poisoned: that is done where memory is asked for, on the loop that is watched.
  const many = { classifier, maxBatchTokens: 65_536, device: testDevice({ threads: 1, poison: false }) }
  await withService(async (service) => {
    const steps: ServiceStep[] = []
    service.onStep((step) => steps.push(step))
    let ticks = 0
    const asked = Array.from({ length: 6 }, prompts).flat()
    const answers = Promise.all(asked.map((prompt) => service.rate(prompt)))
    const ticker = setInterval(() => ticks++, 2)
    await answers
    clearInterval(ticker)
    expect(steps.map((s) => s.sequences)).toEqual([asked.length])
    expect(ticks).toBeGreaterThan(5) // a pass that held the loop would leave two: before it and after
  }, many)
}, 180_000)

test('fit reads, prompts and rates', async () => {
  const { job, profile } = models.pairs[0]!
  await withService(async (service) => {
    const result = await service.fit(job.text, profile.text)
    expect(result).toMatchObject(await service.rate(result.prompt))
    expect(result.job.requirements.length).toBeGreaterThan(0)
    await expect(service.fit('', profile.text)).rejects.toMatchObject({ code: 'ERR_INPUT' })
  })
})

describe('open and close', () => {
  const open = (explainer: string, classifier: string) => FitService.open({ device, explainer, classifier })

  test('models that are not for the task are refused, and nothing stays allocated', async () => {
    const { explainer, classifier } = models
    const others = await models.save('others', { numLabels: 2, id2label: ['no', 'yes'] })
    const wide = await models.save('wide', { vocabSize: 4000 })
    const before = device.memory().live
    await expect(open(classifier, classifier)).rejects.toMatchObject({ code: 'ERR_MODEL_TASK' })
    await expect(open(explainer, explainer)).rejects.toThrow(/is no classifier/)
    await expect(open(explainer, others)).rejects.toThrow(/labels no, yes; name .* low, medium, high/)
    await expect(open(wide, classifier)).rejects.toMatchObject({ code: 'TOKENIZER_MISMATCH' })
    expect(device.memory().live).toBe(before)
  })

  test('closing ends what runs, refuses what comes and frees the memory', async () => {
    const before = device.memory().live
    const service = await open(models.explainer, models.classifier)
    const running = text(service.explain(prompts()[0]!, { maxTokens: 500 }))
    const waiting = service.rate(prompts()[0]!)
    const ended = Promise.all([
      expect(running).rejects.toMatchObject({ code: 'ERR_CLOSED' }),
      expect(waiting).rejects.toMatchObject({ code: 'ERR_CLOSED' }),
    ])
    await service.close()
    await ended
    expect(() => service.explain(prompts()[0]!)).toThrow(/disposed/)
    await expect(service.rate(prompts()[0]!)).rejects.toMatchObject({ code: 'ERR_CLOSED' })
    expect(device.memory().live).toBe(before)
  })
})
