import { join } from 'node:path'
import { beforeAll, expect, test } from 'vitest'
import { classifierPrompt, LEVELS } from '../../lib/distill/samples.js'
import { softmax } from '../../lib/eval/calibration.js'
import { type FitPrompt, fitPrompt } from '../../lib/fit/prompt.js'
import { saveFolder } from '../../lib/models/folder.js'
import { pack } from '../../lib/models/packed.js'
import { loadModel } from '../../lib/models/registry.js'
import { Classifier } from '../../lib/serve/classifier.js'
import { FitService, type FitServiceOptions } from '../../lib/serve/fitService.js'
import { Tokenizer } from '../../lib/text/tokenizer.js'
import { testDevice } from '../support.js'
import { temporaryFolder } from '../tiny.js'
import { type TinyModels, tinyModels } from './tinyModels.js'

const device = testDevice({ threads: 1 }) // tiny models: more threads only wait for each other
const root = temporaryFolder()
const classifier = join(root, 'towers')
let models: TinyModels
let tokenizer: Tokenizer
beforeAll(async () => {
  models = await tinyModels(device, root)
  tokenizer = await Tokenizer.fromFolder(models.explainer)
  using model = await loadModel(device, models.explainer, {
    config: { numLabels: 3, id2label: LEVELS, twoTower: { interaction: 'concat', hiddenSize: 16 } },
    initialiseMissing: 7,
  })
  const tensors = [...model.parameters].map(([name, tensor]) => ({ name, tensor }))
  await saveFolder(classifier, { config: model.config, tensors, tokenizerFrom: models.explainer })
}, 60_000)

/** Runs a service over the towers and counts what its classifier computes. */
async function counted<T>(
  use: (service: FitService, tokens: () => number) => Promise<T>,
  options: Partial<FitServiceOptions> = {},
): Promise<T> {
  const service = await FitService.open({
    device,
    cacheTokens: 1024,
    explainer: models.explainer,
    classifier,
    ...options,
  })
  let tokens = 0
  service.onStep((step) => {
    tokens += step.tokens
  })
  try {
    return await use(service, () => tokens)
  } finally {
    await service.close()
  }
}

/** Several pairs may be of one job. */
function promptOf(job: number, profile: number): FitPrompt {
  const jobs = [...new Map(models.pairs.map((pair) => [pair.jobId, pair.job])).values()]
  return fitPrompt(jobs[job]!, models.pairs[profile % models.pairs.length]!.profile)
}

/** Tokens of the job post and of the profile of a prompt. */
async function sizes(prompt: FitPrompt): Promise<[number, number]> {
  using model = await loadModel(device, classifier)
  const [job, profile] = classifierPrompt(tokenizer, model.config, prompt)
  return [job!.length, profile!.length]
}

test('takes the two texts of a pair, no fewer', async () => {
  using model = await loadModel(device, classifier)
  const towers = new Classifier(model)
  await expect(towers.classify([[1, 2]])).rejects.toThrow('there are 1 sequences; give 2')
  await expect(towers.classify([[1, 2], []])).rejects.toMatchObject({ code: 'ERR_PROMPT' })
  await towers.close()
})

test('rates as the model does', async () => {
  const prompt = promptOf(0, 1)
  using model = await loadModel(device, classifier)
  const sequences = classifierPrompt(tokenizer, model.config, prompt)
  using logits = device.tidy(() => model.classify(pack(device, sequences)))
  const want = softmax(await logits.floats())
  const { probabilities } = await counted((service) => service.rate(prompt))
  for (const [i, level] of LEVELS.entries()) expect(probabilities[level]).toBeCloseTo(want[i]!, 5)
})

test('a thousand profiles against one job encode the job once', async () => {
  const prompts = Array.from({ length: 1000 }, (_, i) => promptOf(0, i))
  const each = await Promise.all(models.pairs.map((_, i) => sizes(promptOf(0, i))))
  const [job] = each[0]!
  const profiles = prompts.reduce((n, _, i) => n + each[i % each.length]![1], 0)
  const computed = await counted(async (service, tokens) => {
    await Promise.all(prompts.slice(0, 500).map((prompt) => service.rate(prompt)))
    for (const prompt of prompts.slice(500, 520)) await service.rate(prompt)
    await Promise.all(prompts.slice(520).map((prompt) => service.rate(prompt)))
    return tokens()
  })
  expect(computed).toBe(job + profiles)
}, 120_000)

test('an embedding that is kept gives the rating that a new one gives', async () => {
  const prompts = Array.from({ length: 12 }, (_, i) => promptOf(i % 3, i))
  const rate = (service: FitService) => Promise.all(prompts.map((prompt) => service.rate(prompt)))
  const anew = await counted(rate, { cachedJobs: 0, maxBatchTokens: 1 })
  const kept = await counted(async (service) => {
    await rate(service)
    return rate(service)
  })
  for (const [i, { probabilities }] of kept.entries())
    for (const level of LEVELS) expect(probabilities[level]).toBeCloseTo(anew[i]!.probabilities[level], 5)
})

test('the job that was asked for least recently is forgotten first', async () => {
  const encoded = (jobs: number[], cachedJobs: number) =>
    counted(
      async (service, tokens) => {
        const again: boolean[] = []
        for (const job of jobs) {
          const before = tokens()
          const prompt = promptOf(job, 0)
          await service.rate(prompt)
          again.push(tokens() - before > (await sizes(prompt))[1])
        }
        return again
      },
      { cachedJobs },
    )
  expect(await encoded([0, 1, 0, 2, 0, 1], 2)).toEqual([true, true, false, true, false, true])
  expect(await encoded([0, 0], 0)).toEqual([true, true])
})

test('gives the embeddings back when it closes', async () => {
  await device.synchronize()
  const { live } = device.memory()
  await counted((service) => service.rate(promptOf(0, 0)))
  await device.synchronize()
  expect(device.memory().live).toBeLessThanOrEqual(live)
})
