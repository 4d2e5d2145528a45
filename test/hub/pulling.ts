// A hub with one tiny model, and a folder of its own for every test that pulls it. Imported at the top of a test file: it sets hooks.
import { readdirSync, readFileSync } from 'node:fs'
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, expect, vi } from 'vitest'
import { stagingFolder } from '../../lib/hub/cache.js'
import { type PullOptions, pullModel } from '../../lib/hub/pull.js'
import { uniform } from '../support.js'
import { temporaryFolder } from '../tiny.js'
import { dropAt, HubServer, type ServedFile, times } from './hubServer.js'

export const root = temporaryFolder()
export let hub: HubServer
export let folder = ''
let count = 0

export const bytes = (seed: number, size: number): Buffer => {
  const next = uniform(seed)
  return Buffer.from(Uint8Array.from({ length: size }, () => next() * 256))
}
export const WEIGHTS = 'model.safetensors'
export const SIZE = 300_000
export const weights = bytes(1, SIZE)
export const model = (): Map<string, ServedFile> =>
  new Map([
    ['.gitattributes', { content: Buffer.from('*.safetensors filter=lfs') }],
    ['README.md', { content: Buffer.from('# Tiny') }],
    ['config.json', { content: Buffer.from('{"model_type":"qwen2"}') }],
    ['generation_config.json', { content: Buffer.from('{}') }],
    ['tokenizer.json', { content: bytes(2, 5000), lfs: true }],
    ['tokenizer_config.json', { content: Buffer.from('{"a":1}') }],
    ['chat_template.jinja', { content: Buffer.from('{{ messages }}') }],
    [WEIGHTS, { content: weights, lfs: true }],
    ['pytorch_model.bin', { content: bytes(3, 100), lfs: true }],
    ['model.gguf', { content: bytes(3, 100), lfs: true }],
    ['consolidated.safetensors', { content: bytes(3, 100), lfs: true }],
    ['model.onnx', { content: bytes(3, 100) }],
  ])
export const TAKEN = [
  'chat_template.jinja',
  'config.json',
  'generation_config.json',
  'model.safetensors',
  'tokenizer.json',
  'tokenizer_config.json',
]

/** Another folder to pull to. */
export function nextFolder(): void {
  folder = join(root, `model-${count++}`)
}

beforeAll(async () => {
  hub = new HubServer()
  await hub.start()
})
afterAll(() => hub.stop())
beforeEach(() => {
  vi.stubEnv('HF_TOKEN', '')
  vi.stubEnv('HF_ENDPOINT', '')
  hub.files = model()
  hub.revisions = new Set(['main'])
  hub.extraEntries = []
  hub.token = undefined
  hub.refusal = { status: 401, code: 'RepoNotFound' }
  hub.faults.hub.length = 0
  hub.faults.cdn.length = 0
  hub.asked = []
  nextFolder()
})
afterEach(() => {
  vi.unstubAllEnvs()
})

export const pull = (options: PullOptions = {}) =>
  pullModel(hub.name, { to: folder, endpoint: hub.endpoint, retryDelay: 1, ...options })

export const failure = (promise: Promise<unknown>): Promise<Error & { code?: string }> =>
  promise.then(
    () => Promise.reject(new Error('nothing was thrown')),
    (error) => error,
  )

export const staged = (name: string) => join(stagingFolder(folder), name)
export const part = () => staged(`${WEIGHTS}.partial`)

export function expectComplete(): void {
  expect(readdirSync(folder).sort()).toEqual([...TAKEN, 'made-with.json'].sort())
  for (const name of TAKEN)
    expect(readFileSync(join(folder, name)).equals(hub.files.get(name)!.content), name).toBe(true)
  const beside = readdirSync(root).filter((name) => name.startsWith(`.${folder.split('/').at(-1)}.`))
  expect(beside).toEqual([])
}

/** A pull that breaks off in the middle of the weights and is not tried again. */
export async function interrupted(at = 100_000): Promise<void> {
  hub.faults.cdn.push(times(1, WEIGHTS, dropAt(at, part())))
  expect(await failure(pull({ retries: 0 }))).toMatchObject({ code: 'ERR_HUB_CONNECTION' })
  expect((await stat(part())).size).toBe(at)
  hub.asked = []
}
