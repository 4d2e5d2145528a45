import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { LiveLine, pullLine } from '../../lib/cli/progress.js'
import { dropAt, HubServer, stallAt, times } from '../hub/hubServer.js'
import { testDevice } from '../support.js'
import { temporaryFolder, writeTinyModel, writeTinyTokenizer } from '../tiny.js'
import { buildBinary, Running } from './binary.js'

vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 }) // processes, on a machine that may be busy
const device = testDevice()
const root = temporaryFolder()
const at = (...parts: string[]) => join(root, ...parts)
const hub = new HubServer()
const WEIGHTS = 'model.safetensors'
let main: string
let home = ''
let count = 0

beforeAll(async () => {
  main = await buildBinary(at('package'))
  await writeTinyTokenizer(at('tokenizer'))
  await writeTinyModel(device, at('model'), { tokenizerFrom: at('tokenizer') })
  for (const name of readdirSync(at('model')))
    hub.files.set(name, { content: readFileSync(at('model', name)), lfs: name === WEIGHTS })
  await hub.start()
})
afterAll(() => hub.stop())
beforeEach(() => {
  home = at(`home-${count++}`)
  hub.asked = []
  hub.token = undefined
})

const lantern = (...args: string[]) =>
  new Running(main, args, { LANTERN_HOME: home, HF_ENDPOINT: hub.endpoint, HF_TOKEN: '' })
/** The weights as they come in. */
const partial = () => join(home, 'models', `${hub.name}/.main.partial`, `${WEIGHTS}.partial`)

describe('lantern pull', () => {
  it('fetches a model, which commands then take by its name', async () => {
    const early = lantern('generate', '--model', hub.name, '--prompt', 'x')
    expect((await early.end()).code).toBe(1)
    expect(early.errors).toBe(
      `HubError: ${hub.name}: there is no such folder, and no model of that name has been pulled; check the path, or run: lantern pull ${hub.name}\n`,
    )

    const pulling = lantern('pull', hub.name)
    expect(await pulling.end(), pulling.errors).toEqual({ code: 0, signal: null })
    const lines = pulling.output.trimEnd().split('\n')
    expect(lines[0]).toBe(`${hub.name} at main, commit ${hub.commit.slice(0, 12)}`)
    const { length } = hub.files.get(WEIGHTS)!.content
    expect(pulling.output).toMatch(new RegExp(`^  model.safetensors +${length} B$`, 'm'))
    expect(pulling.output).toMatch(/^ {2}in all +\d+ B$/m)
    expect(lines.at(-2)).toMatch(/^100 % ━{16} {2}[\d.]+\/[\d.]+ MiB +[\d.]+ MiB\/s +0:00 left {2}model.safetensors$/)
    const folder = join(home, 'models', hub.name, 'main')
    expect(lines.at(-1)).toBe(
      `complete and verified: the model is in ${folder}; its name is enough: --model ${hub.name}`,
    )
    expect(pulling.output).not.toContain('\r')

    const generating = lantern('generate', '--model', hub.name, '--prompt', 'x', '--max-tokens', '2')
    expect((await generating.end()).code, generating.errors).toBe(0)

    const again = lantern('pull', hub.name)
    expect((await again.end()).code).toBe(0)
    expect(again.output).toMatch(/in all +\d+ B, of which \d+ B are here\nnothing to fetch: the model is in /)
  })

  it('leaves with 130 at Ctrl-C and goes on where it was', async () => {
    const { content } = hub.files.get(WEIGHTS)!
    const half = content.length >> 1
    const partial = at('.there.partial', `${WEIGHTS}.partial`)
    hub.faults.cdn.push(
      times(
        1,
        WEIGHTS,
        stallAt(half, partial, () => pulling.kill('SIGINT')),
      ),
    )
    const pulling = lantern('pull', hub.name, '--to', at('there'))
    expect(await pulling.end()).toEqual({ code: 130, signal: null })
    expect(pulling.errors).toMatch(/SIGINT: leaving; what has been fetched is kept/)
    expect(pulling.output).toMatch(/interrupted; the same command goes on where it was\n$/)
    expect(existsSync(at('there'))).toBe(false)

    hub.asked = []
    const again = lantern('pull', hub.name, '--to', at('there'))
    expect((await again.end()).code, again.errors).toBe(0)
    expect(again.output).toMatch(/of which \d+ B are here\n/)
    expect(again.output).toMatch(/the model is in \S+there\n$/)
    expect(hub.ranges(WEIGHTS)).toEqual([`bytes=${half}-`])
    expect(readFileSync(at('there', WEIGHTS)).equals(content)).toBe(true)
  })

  it('goes on after kill -9', async () => {
    hub.faults.cdn.push(
      times(
        1,
        WEIGHTS,
        stallAt(1000, partial(), () => pulling.kill('SIGKILL')),
      ),
    )
    const pulling = lantern('pull', hub.name)
    expect(await pulling.end()).toEqual({ code: null, signal: 'SIGKILL' })
    hub.asked = []
    const again = lantern('pull', hub.name)
    expect((await again.end()).code, again.errors).toBe(0)
    expect(hub.ranges(WEIGHTS)).toEqual(['bytes=1000-'])
  })

  it('says why it tries again, and in one line what it cannot do', async () => {
    hub.faults.cdn.push(times(1, WEIGHTS, dropAt(500, partial())))
    const dropped = lantern('pull', hub.name)
    expect((await dropped.end()).code, dropped.errors).toBe(0)
    expect(dropped.output).toMatch(/^the connection failed \(.+\); trying again in \d\.\d s$/m)

    hub.token = 'hf_right'
    hub.refusal = { status: 403, code: 'GatedRepo' }
    const gated = lantern('pull', hub.name)
    expect((await gated.end()).code).toBe(1)
    expect(gated.errors).toMatch(
      /^HubError: \S+ is gated: accept its licence at http:\S+, then pass --token or set HF_TOKEN\n$/,
    )
    const allowed = lantern('pull', hub.name, '--token', 'hf_right', '--endpoint', hub.endpoint)
    expect((await allowed.end()).code, allowed.errors).toBe(0)
    const nameless = lantern('pull')
    expect((await nameless.end()).code).toBe(1)
    expect(nameless.errors).toMatch(/missing required argument 'name'/)
  })

  it('has its help', async () => {
    const help = lantern('pull', '--help')
    await help.end()
    expect(help.output).toMatch(/^Usage: lantern pull \[options\] <name>/)
    expect(help.output).toMatch(/Arguments:\n {2}name +model on the hub: owner\/name/)
    expect(help.output).toMatch(/--to <folder>/)
    expect(help.output).not.toMatch(/--name/)
  })
})

describe('the line of progress', () => {
  const stream = (isTTY: boolean) => {
    const written: string[] = []
    const write = (text: string) => written.push(text)
    return { written, out: { isTTY, columns: 20, write } as unknown as NodeJS.WriteStream }
  }

  it('keeps its columns', () => {
    const progress = { file: 'a', present: 0, total: 2 ** 30, received: 0, seconds: 1 }
    const lines = [0, 5e6, 2 ** 30].map((n) => pullLine({ ...progress, present: n, received: n }))
    expect(lines[0]).toBe('  0 % ────────────────     0.0/1024.0 MiB     0.0 MiB/s    -:-- left  a')
    expect(new Set(lines.map((line) => line.length)).size).toBe(1)
  })

  it('is one on a terminal, cut to its width', () => {
    const { out, written } = stream(true)
    const line = new LiveLine(out)
    line.update('first')
    line.update('second') // too soon
    line.update('x'.repeat(50))
    line.end()
    line.end()
    expect(written).toEqual(['\rfirst\x1b[K', `\r${'x'.repeat(19)}\x1b[K`, '\n'])
  })

  it('is printed now and then elsewhere, and at the end', () => {
    const { out, written } = stream(false)
    const line = new LiveLine(out)
    for (const text of ['first', 'second', 'third']) line.update(text)
    expect(written).toEqual([])
    line.end()
    line.end()
    expect(written).toEqual(['third\n'])
  })
})
