import { mkdirSync, renameSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { classifyTrain } from '../../lib/cli/classifyTrain.js'
import { makeData } from '../../lib/cli/data.js'
import { distill } from '../../lib/cli/distill.js'
import { train } from '../../lib/cli/train.js'
import { HubError } from '../../lib/errors.js'
import { cachedFolder, modelFolder, parseModelName, stagingFolder } from '../../lib/hub/cache.js'
import { loadModel } from '../../lib/models/registry.js'
import { resolveConfig } from '../../lib/plan/published.js'
import { FitService } from '../../lib/serve/fitService.js'
import { Tokenizer } from '../../lib/text/tokenizer.js'
import { testDevice } from '../support.js'
import { temporaryFolder, writeTinyModel, writeTinyTokenizer } from '../tiny.js'

const device = testDevice()
const root = temporaryFolder()
const home = join(root, 'home')

beforeEach(() => {
  vi.stubEnv('LANTERN_HOME', home)
})
afterEach(() => {
  vi.unstubAllEnvs()
})

describe('names', () => {
  it.each([
    ['Qwen/Qwen2.5-0.5B-Instruct', 'Qwen/Qwen2.5-0.5B-Instruct', 'main'],
    ['a_b/c@v1.0', 'a_b/c', 'v1.0'],
    ['a/b@refs/pr/1', 'a/b', 'refs/pr/1'],
  ])('%s', (text, name, revision) => {
    expect(parseModelName(text)).toEqual({ name, revision })
  })

  it.each(['model', './a/b', '/a/b', '../a', 'a/b/c', 'a/.b', 'a/b@', 'a/b@../c', 'a/b@/c', 'a b/c'])(
    '%s is none',
    (text) => {
      expect(parseModelName(text)).toBeNull()
    },
  )
})

describe('the cache', () => {
  it('has a folder for every revision, under LANTERN_HOME or the home directory', () => {
    const model = { name: 'a/b', revision: 'refs/pr/1' }
    expect(cachedFolder(model)).toBe(join(home, 'models', 'a', 'b', 'refs%2Fpr%2F1'))
    vi.stubEnv('LANTERN_HOME', '')
    expect(cachedFolder({ name: 'a/b', revision: 'main' })).toBe(join(homedir(), '.cache/lantern/models/a/b/main'))
  })

  it('finds paths as they are, and names where they were pulled to', async () => {
    expect(await modelFolder('/no/such/folder')).toBe('/no/such/folder')
    mkdirSync(cachedFolder({ name: 'lib/hub', revision: 'main' }), { recursive: true })
    expect(await modelFolder('lib/hub')).toBe('lib/hub') // a folder here, too, which comes first
    const folder = cachedFolder({ name: 'some/model', revision: 'v1' })
    mkdirSync(folder, { recursive: true })
    expect(await modelFolder('some/model@v1')).toBe(folder)
    renameSync(folder, join(folder, '..', '.v1.previous')) // a crash while it was replaced
    expect(await modelFolder('some/model@v1')).toBe(folder)
  })

  it('says how to pull what is not there', async () => {
    const error = await modelFolder('some/other').catch((e) => e)
    expect(error).toBeInstanceOf(HubError)
    expect(error).toMatchObject({ code: 'ERR_HUB_NOT_PULLED' })
    expect(error.message).toBe(
      'some/other: there is no such folder, and no model of that name has been pulled; check the path, or run: lantern pull some/other',
    )
    mkdirSync(stagingFolder(cachedFolder({ name: 'some/other', revision: 'v2' })), { recursive: true })
    await expect(modelFolder('some/other@v2')).rejects.toThrow(/in part; .*run: lantern pull some\/other@v2$/)
  })
})

describe('a pulled model', () => {
  const folder = () => cachedFolder({ name: 'tiny/model', revision: 'main' })

  beforeAll(async () => {
    vi.stubEnv('LANTERN_HOME', home)
    await writeTinyTokenizer(join(root, 'tokenizer'))
    await writeTinyModel(device, folder(), { tokenizerFrom: join(root, 'tokenizer') })
    const labels = { numLabels: 3, id2label: ['low', 'medium', 'high'] }
    const rater = cachedFolder({ name: 'tiny/rater', revision: 'v2' })
    await writeTinyModel(device, rater, { tokenizerFrom: 'tiny/model', config: labels })
  })
  afterAll(() => rm(home, { recursive: true }))

  it('is trained, taught with and planned with by its name', async () => {
    const quiet = { device, print: () => {} }
    await makeData({ out: join(root, 'data'), pairs: 9, seed: 5, validation: 0.2, test: 0.2 }, () => {})
    const settings = { model: 'tiny/model', data: join(root, 'data'), training: { steps: 1, batchSize: 2 } }
    expect((await train({ ...settings, out: join(root, 'trained') }, quiet)).end).toBe('finished')
    const taught = { ...settings, teacher: 'tiny/model', out: join(root, 'taught') }
    expect((await distill(taught, quiet)).end).toBe('finished')
    expect((await classifyTrain({ ...settings, out: join(root, 'rated') }, quiet)).end).toBe('finished')
    expect((await resolveConfig('tiny/model')).layers).toBe(2)
    await expect(resolveConfig('tiny/none')).rejects.toThrow(/nor a pulled model, nor a published one/)
  })

  it('opens by its name: model, tokenizer, service', async () => {
    using model = await loadModel(device, 'tiny/model')
    const tokenizer = await Tokenizer.fromFolder('tiny/model')
    expect(tokenizer.vocabSize).toBe(model.config.vocabSize)
    const service = await FitService.open({ device, explainer: 'tiny/model', classifier: 'tiny/rater@v2' })
    await service.close()
    for (const open of [() => loadModel(device, 'tiny/none'), () => Tokenizer.fromFolder('tiny/none')])
      await expect(open()).rejects.toThrow(/run: lantern pull tiny\/none$/)
  })
})
