import { execFile } from 'node:child_process'
import { existsSync, writeFileSync } from 'node:fs'
import { mkdir, open, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { beforeAll, describe, expect, it, vi } from 'vitest'
import { makeData } from '../../lib/cli/data.js'
import { distill } from '../../lib/cli/distill.js'
import { makeTeacherSignal } from '../../lib/cli/teacherSignal.js'
import { readSamples } from '../../lib/cli/training.js'
import { distillation, offlineDistillation } from '../../lib/distill/objectives.js'
import { explanationSample } from '../../lib/distill/samples.js'
import { signalOf, TeacherSignal, TeacherSignalError } from '../../lib/distill/teacherSignal.js'
import { topIds } from '../../lib/distill/writeTeacherSignal.js'
import { FileError } from '../../lib/errors.js'
import { pack } from '../../lib/models/packed.js'
import { loadDecoder } from '../../lib/models/registry.js'
import { Tape } from '../../lib/tensor/tape.js'
import { Tokenizer } from '../../lib/text/tokenizer.js'
import { logSoftmax } from '../oracle.js'
import { normal, relativeError, testDevice } from '../support.js'
import { temporaryFolder, writeTinyModel, writeTinyTokenizer } from '../tiny.js'

vi.setConfig({ testTimeout: 240_000, hookTimeout: 240_000 }) // real models, on a machine that may be busy
const device = testDevice()
const root = temporaryFolder()
const at = (...parts: string[]) => join(root, ...parts)
const lines: string[] = []
const context = { device, print: (line: string) => void lines.push(line) }
const file = at('teacher.signal')
const common = { teacher: at('teacher'), data: at('data'), precision: 'float32' as const }
const training = { steps: 4, batchSize: 4, learningRate: 3e-3, checkpointEvery: 0, precision: 'float32' as const }

/** The samples of the data as both commands see them, those of training first. */
async function samples() {
  const tokenizer = await Tokenizer.fromFolder(at('teacher'))
  const model = await loadDecoder(device, at('teacher'))
  const encode = ({ prompt, explanation }: Parameters<Parameters<typeof readSamples>[0]['encode']>[0]) =>
    explanationSample(tokenizer, prompt, explanation)
  const settings = { data: at('data'), training: { maxLength: 1024, longSamples: 'truncate' as const } }
  const { train, validation } = await readSamples({ settings, config: model.config, encode }, () => {})
  model.dispose()
  return [...train, ...validation]
}

/** Changes a byte of a file. */
async function flip(path: string, position: number): Promise<void> {
  const handle = await open(path, 'r+')
  const { buffer } = await handle.read(Buffer.alloc(1), 0, 1, position)
  await handle.write(Buffer.of(1 ^ buffer[0]!), 0, 1, position)
  await handle.close()
}

beforeAll(async () => {
  await writeTinyTokenizer(at('tokenizer'))
  await writeTinyModel(device, at('teacher'), { tokenizerFrom: at('tokenizer'), std: 0.3, padding: 8 })
  await writeTinyModel(device, at('small'), { tokenizerFrom: at('tokenizer'), seed: 2, hiddenSize: 16 })
  await makeData({ out: at('data'), pairs: 12, seed: 5, validation: 0.2, test: 0.2 }, () => {})
  expect(await makeTeacherSignal({ ...common, out: file, topK: 16 }, context)).not.toBeNull()
})

describe('the file', () => {
  it('holds the top k, the rest and the entropy of every labelled token', async () => {
    const all = await samples()
    using signal = new TeacherSignal(file)
    const of = signalOf(signal, all)
    using teacher = await loadDecoder(device, at('teacher'))
    const { topK, vocabulary } = signal.header
    expect(vocabulary).toBe(teacher.config.vocabSize - 8)
    for (const sample of [all[0]!, all.at(-1)!]) {
      using _scope = device.scope()
      const logits = await teacher.logits(teacher.forward(pack(device, [sample.ids]))).floats()
      const { ids, logProbabilities, entropy } = of(sample)
      let row = 0
      sample.labels.forEach((y, i) => {
        if (y === -100) return
        const z = logits.slice(i * teacher.config.vocabSize, i * teacher.config.vocabSize + vocabulary)
        const l = logSoftmax(z)
        const order = Array.from(l.keys()).sort((a, b) => l[b]! - l[a]!)
        const top = Array.from(ids.subarray(row * topK, (row + 1) * topK))
        const kept = Array.from(logProbabilities.subarray(row * (topK + 1), (row + 1) * (topK + 1)))
        const rest = Math.log(order.slice(topK).reduce((n, v) => n + Math.exp(l[v]!), 0))
        expect(relativeError(kept, [...order.slice(0, topK).map((v) => l[v]!), rest])).toBeLessThan(1e-4)
        expect(
          relativeError(
            top.map((v) => l[v]!),
            kept.slice(0, topK),
          ),
        ).toBeLessThan(1e-4)
        expect(entropy[row]).toBeCloseTo(-l.reduce((n, x) => n + Math.exp(x) * x, 0), 3)
        row++
      })
      expect(row).toBe(entropy.length)
    }
  })

  it('tells how far its k probabilities are from the full distributions', async () => {
    const all = await samples()
    using signal = new TeacherSignal(file)
    const { error, tokens, topK, vocabulary } = signal.header
    let [tail, gap] = [0, 0]
    for (const sample of all) {
      const { logProbabilities, entropy } = signalOf(signal, all)(sample)
      entropy.forEach((h, row) => {
        const l = logProbabilities.subarray(row * (topK + 1), (row + 1) * (topK + 1))
        const uniform = (i: number) => Math.log(i < topK ? 1 / vocabulary : (vocabulary - topK) / vocabulary)
        tail += Math.exp(l[topK]!)
        gap += Math.log(vocabulary) - h - l.reduce((n, x, i) => n + Math.exp(x) * (x - uniform(i)), 0)
      })
    }
    expect(error!.tailMass).toBeCloseTo(tail / tokens, 6)
    expect(error!.uniformGap).toBeCloseTo(gap / tokens, 5)
    expect(error!.uniformGap).toBeGreaterThan(0)
    expect(lines.join('\n')).toMatch(
      /teacher.signal: written\n\d+ labelled tokens, the top 16 of each: [\d.]+ % of the mass is beyond them/,
    )
  })

  it('goes on after an interruption and after a kill with the same bytes, without what is damaged', async () => {
    const out = at('parts.signal')
    const controller = new AbortController()
    const print = (line: string) => void (/labelled tokens {2}/.test(line) && controller.abort())
    const options = { ...common, out, topK: 16, microBatchTokens: 1 }
    const whole = at('whole.signal')
    await makeTeacherSignal({ ...options, out: whole }, context)
    expect(await makeTeacherSignal(options, { device, print, signal: controller.signal })).toBeNull()
    expect(existsSync(out)).toBe(false)
    const partial = await readFile(`${out}.partial`)
    lines.length = 0
    await makeTeacherSignal(options, context)
    expect(lines.filter((line) => /labelled tokens {2}/.test(line))[0]).toMatch(/^2048\//)
    expect((await readFile(out)).equals(await readFile(whole))).toBe(true)
    await rm(out)
    await writeFile(`${out}.partial`, partial.subarray(0, partial.length - 100)) // torn by a kill
    lines.length = 0
    await makeTeacherSignal(options, context)
    expect(lines.filter((line) => /labelled tokens {2}/.test(line))[0]).toMatch(/^1024\//)
    expect((await readFile(out)).equals(await readFile(whole))).toBe(true)
    expect(existsSync(`${out}.partial`)).toBe(false)
  })

  it('is written once: kept where it is intact and made from the same, written anew where it is not', async () => {
    const out = at('once.signal')
    const options = { ...common, out, topK: 16 }
    const whole = await readFile(file)
    expect(await makeTeacherSignal(options, context)).toMatchObject({ kept: false })
    const { mtimeMs } = await stat(out)
    lines.length = 0
    expect(await makeTeacherSignal(options, context)).toMatchObject({ kept: true })
    expect((await stat(out)).mtimeMs).toBe(mtimeMs)
    expect(lines).toContain(`${out}: kept, it was made from the same before`)
    await flip(out, 50_000)
    expect(await makeTeacherSignal(options, context)).toMatchObject({ kept: false })
    expect((await readFile(out)).equals(whole)).toBe(true)
    expect(await makeTeacherSignal({ ...options, topK: 8 }, context)).toMatchObject({ kept: false })
    const madeWith = JSON.parse(await readFile(`${out}.made-with.json`, 'utf8'))
    expect(madeWith).toMatchObject({ command: 'lantern teacher-signal', file: { topK: 8, precision: 'float32' } })
  })

  it('loses nothing when the disk is full: what is written stays and the same call goes on', async () => {
    const out = at('full.signal')
    const options = { ...common, out, topK: 16 }
    const handle = await open(file)
    const prototype = Object.getPrototypeOf(handle) as typeof handle
    await handle.close()
    const original = prototype.write
    let writes = 0
    const spy = vi.spyOn(prototype, 'write').mockImplementation(function (this: typeof handle, ...args: unknown[]) {
      if (++writes <= 2) return Reflect.apply(original, this, args) // the header and a chunk
      const full = Object.assign(new Error('ENOSPC: no space left on device, write'), {
        code: 'ENOSPC',
        syscall: 'write',
      })
      return Promise.reject(full)
    } as never)
    const error: unknown = await makeTeacherSignal(options, context).catch((e) => e)
    spy.mockRestore()
    expect(error).toBeInstanceOf(FileError)
    expect(error).toMatchObject({ code: 'ERR_DISK_FULL', file: out })
    expect((error as Error).message).toMatch(
      /; 1 of \d+ chunks stay in .*full.signal.partial, and the same call goes on\. Free/,
    )
    expect(existsSync(out)).toBe(false)
    lines.length = 0
    await makeTeacherSignal(options, context)
    expect(lines.filter((line) => /labelled tokens {2}/.test(line))[0]).toMatch(/^2048\//)
    expect((await readFile(out)).equals(await readFile(file))).toBe(true)
  })

  it('refuses a full disk before the teacher runs, and one that fills up meanwhile', async ({ skip }) => {
    const disk = at('disk')
    await mkdir(disk)
    const exec = promisify(execFile)
    const size = 400 * 1024 // less than the file with a top 64, more than that with a top 16
    const mounted = await exec('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', disk]).then(
      () => true,
      () => false,
    )
    skip(!mounted, 'no right to mount a small disk')
    try {
      const out = join(disk, 'teacher.signal')
      const refused: unknown = await makeTeacherSignal({ ...common, out, topK: 64 }, context).catch((e) => e)
      expect(refused).toMatchObject({ code: 'ERR_DISK_FULL' })
      expect((refused as Error).message).toMatch(/MiB do not fit into the [\d.]+ MiB that are free/)
      expect(await readdir(disk)).toEqual([])
      const filler = (line: string) => {
        if (/labelled tokens {2}/.test(line) && !existsSync(join(disk, 'filler')))
          try {
            writeFileSync(join(disk, 'filler'), Buffer.alloc(size))
          } catch {} // as much as there was room for
      }
      const options = { ...common, out, topK: 16 }
      const full: unknown = await makeTeacherSignal(options, { device, print: filler }).catch((e) => e)
      expect(full).toMatchObject({ code: 'ERR_DISK_FULL', file: out })
      await rm(join(disk, 'filler'))
      await makeTeacherSignal(options, context)
      expect((await readFile(out)).equals(await readFile(file))).toBe(true)
    } finally {
      await exec('umount', [disk])
    }
  })

  it('is not written from a teacher whose logits are not finite', async () => {
    await writeTinyModel(device, at('broken'), {
      tokenizerFrom: at('tokenizer'),
      changes: (model) => void [...model.parameters.values()].at(-1)!.write(new Float32Array(32).fill(Number.NaN)),
    })
    const out = at('broken.signal')
    const error: unknown = await makeTeacherSignal({ ...common, teacher: at('broken'), out }, context).catch((e) => e)
    expect(error).toMatchObject({ code: 'ERR_SIGNAL_TEACHER', file: out })
    expect(existsSync(out)).toBe(false)
  })

  it('names the chunk that is damaged or cut off', async () => {
    const all = await samples()
    const copy = at('damaged.signal')
    const bytes = await readFile(file)
    const read = () => {
      using signal = new TeacherSignal(copy)
      const of = signalOf(signal, all)
      for (const sample of all) of(sample)
    }
    await writeFile(copy, bytes)
    expect(read).not.toThrow()
    await flip(copy, 200_000)
    const size = 4 * 34 * 1024 + 32
    expect(read).toThrow(`chunk ${Math.floor((200_000 - 4096) / size)} of`)
    expect(read).toThrow(/does not match its checksum; write the file again/)
    await writeFile(copy, bytes)
    await truncate(copy, bytes.length - 1)
    expect(read).toThrow(/chunk (\d+) of \d+ is cut short/)
    await truncate(copy, 100)
    expect(read).toThrow(/is no teacher signal/)
    await writeFile(copy, Buffer.concat([Buffer.from(bytes.subarray(0, 60)), Buffer.from('x'), bytes.subarray(61)]))
    expect(read).toThrow(/header does not match its checksum/)
    expect(() => new TeacherSignal(at('nowhere'))).toThrow(TeacherSignalError)
  })

  it('finds the largest logits as a sort does', () => {
    for (const k of [1, 2, 7, 64]) {
      const z = normal(k, 500).map((x) => Math.round(4 * x)) // many equal ones
      const order = Array.from(z.keys()).sort((a, b) => z[b]! - z[a]! || a - b)
      expect(topIds(z, k)).toEqual(order.slice(0, k))
    }
  })
})

describe('the error for a student as it is', () => {
  it('is that of both divergences and their gradients, in float64', async () => {
    const settings = { ...common, out: file, topK: 16, student: at('small'), measured: 2 }
    lines.length = 0
    const { gaps, kept } = (await makeTeacherSignal(settings, context))!
    expect(kept).toBe(true)
    const all = await samples()
    using teacher = await loadDecoder(device, at('teacher'))
    using student = await loadDecoder(device, at('small'))
    using signal = new TeacherSignal(file)
    const { vocabulary, topK } = signal.header
    const head = await student.headWeight.floats()
    const width = student.config.hiddenSize
    const back = (dlogits: readonly number[]) => {
      const g = new Float64Array(width)
      dlogits.forEach((d, v) => {
        for (let i = 0; i < width; i++) g[i]! += d * head[v * width + i]!
      })
      return g
    }
    const want = { tokens: 0, full: 0, bucketed: 0, variation: 0, difference: 0, norm: 0 }
    const held = JSON.parse(await readFile(at('data', 'made-with.json'), 'utf8')).counts['validation.jsonl']
    const measured = all.slice(-held).slice(0, 2)
    for (const sample of measured) {
      using _scope = device.scope()
      const batch = pack(device, [sample.ids])
      const [zt, zs] = await Promise.all([teacher, student].map((m) => m.logits(m.forward(batch)).floats()))
      const row = (z: Float32Array, i: number) =>
        logSoftmax(z.slice(i * (z.length / sample.ids.length)).slice(0, vocabulary))
      const { ids } = signalOf(signal, all)(sample)
      let at = 0
      sample.labels.forEach((y, i) => {
        if (y === -100) return
        const [t, s] = [row(zt!, i), row(zs!, i)]
        const top = new Set(ids.subarray(at * topK, ++at * topK))
        const mass = (l: ArrayLike<number>) => Array.from(l).reduce((n, x, v) => n + (top.has(v) ? 0 : Math.exp(x)), 0)
        const [restT, restS] = [mass(t), mass(s)]
        const full = Array.from(s, (x, v) => Math.exp(x) - Math.exp(t[v]!))
        const bucketed = full.map((d, v) => (top.has(v) ? d : ((restS - restT) * Math.exp(s[v]!)) / restS))
        const [g, h] = [back(full), back(bucketed)]
        g.forEach((x, j) => {
          want.difference += (h[j]! - x) ** 2
          want.norm += x ** 2
        })
        want.tokens++
        want.full += Array.from(t).reduce((n, x, v) => n + Math.exp(x) * (x - s[v]!), 0)
        want.bucketed += restT * Math.log(restT / restS)
        for (const v of top) want.bucketed += Math.exp(t[v]!) * (t[v]! - s[v]!)
        want.variation += full.reduce((n, d) => n + Math.abs(d) / 2, 0)
      })
    }
    const [forward, , , , variation] = gaps!.divergences
    expect(gaps).toMatchObject({ samples: measured.length, tokens: want.tokens })
    expect(relativeError([forward!.full], [want.full / want.tokens])).toBeLessThan(1e-5)
    expect(relativeError([forward!.bucketed], [want.bucketed / want.tokens])).toBeLessThan(1e-5)
    expect(relativeError([forward!.gradientError], [Math.sqrt(want.difference / want.norm)])).toBeLessThan(1e-3)
    expect(relativeError([variation!.full], [want.variation / want.tokens])).toBeLessThan(1e-5)
    for (const { full, bucketed, gradientError } of gaps!.divergences) {
      expect(bucketed).toBeLessThan(full)
      expect(gradientError).toBeGreaterThan(0)
    }
    const head0 = lines.findIndex((line) => /^divergence +full +top 16 +short by +gradient off by$/.test(line))
    expect(lines[head0 - 1]).toBe(
      `for ${at('small')} as it is, on ${measured.length} held-out samples, nats a token (totalVariation: a share), over ${want.tokens} labelled tokens:`,
    )
    expect(lines[head0 + 2]!.split(/ {2,}/).slice(0, 2)).toEqual(['forwardKL', forward!.full.toFixed(5)])
    const madeWith = JSON.parse(await readFile(`${file}.made-with.json`, 'utf8'))
    expect(madeWith.student).toMatchObject({ model: at('small'), ...gaps })
    const told = async (model: string) => {
      lines.length = 0
      const more = { teacherSignal: file, data: at('data'), training: { ...training, steps: 1 } }
      await distill({ ...more, model, out: at('told'), distill: { divergence: 'forwardKL' } }, context)
      await rm(at('told'), { recursive: true })
      return lines[1]
    }
    const short = `${(100 * (1 - forward!.bucketed / forward!.full)).toFixed(2)} % short of the full one`
    const off = `its gradient ${(100 * forward!.gradientError).toFixed(2)} % off`
    expect(await told(at('small'))).toBe(`for ${at('small')} as it is, on 2 samples: forwardKL ${short}, ${off}`)
    await writeTinyModel(device, at('twin'), { tokenizerFrom: at('tokenizer'), seed: 3, hiddenSize: 16 })
    expect(await told(at('twin'))).toMatch(
      /^what that costs forwardKL was not measured for .*twin; lantern teacher-signal --student/,
    )
  })

  it('goes to nothing as k grows to the vocabulary', async () => {
    const tokenizer = await Tokenizer.fromFolder(at('small'))
    const settings = { ...common, out: at('grown.signal'), student: at('small'), measured: 2 }
    for (const topK of [16, 256, tokenizer.vocabSize - 1]) {
      const before = topK === 16 ? null : JSON.parse(await readFile(`${settings.out}.made-with.json`, 'utf8')).student
      const { gaps } = (await makeTeacherSignal({ ...settings, topK }, context))!
      gaps!.divergences.forEach(({ full, bucketed, gradientError }, i) => {
        if (before) expect(gradientError).toBeLessThan(before.divergences[i].gradientError)
        if (topK !== tokenizer.vocabSize - 1) return
        expect(relativeError([bucketed], [full])).toBeLessThan(1e-5)
        expect(gradientError).toBeLessThan(1e-4)
      })
    }
  })

  it('is refused for a student of other tokens', async () => {
    await writeTinyTokenizer(at('foreign-tokenizer'), 3)
    await writeTinyModel(device, at('foreign'), { tokenizerFrom: at('foreign-tokenizer') })
    await expect(
      makeTeacherSignal({ ...common, out: file, topK: 16, student: at('foreign') }, context),
    ).rejects.toMatchObject({ code: 'TOKENIZER_MISMATCH' })
  })
})

describe('distillation from it', () => {
  const settings = (out: string) => ({
    model: at('small'),
    data: at('data'),
    teacherSignal: file,
    out: at(out),
    training,
  })

  it('learns, and reports its error', async () => {
    lines.length = 0
    const out = await distill({ ...settings('offline'), distill: { divergence: 'forwardKL' } }, context)
    expect(out).toMatchObject({ end: 'finished', steps: 4 })
    expect(lines[0]).toMatch(
      /teacher.signal: \d+ labelled tokens, the top 16 of each: [\d.]+ % .* nats short of the full one/,
    )
    const metrics = (await readFile(at('offline', 'metrics.jsonl'), 'utf8'))
      .trim()
      .split('\n')
      .map((l) => JSON.parse(l))
    const steps = metrics.filter((m) => 'kd' in m)
    expect(steps[3].kd).toBeLessThan(steps[0].kd)
    expect(steps[0].loss).toBeCloseTo(0.1 * steps[0].ce + 0.9 * steps[0].kd, 5)
  })

  it('comes to the loss and the gradients of the teacher itself as k grows to the vocabulary', async () => {
    const all = await samples()
    using teacher = await loadDecoder(device, at('teacher'))
    using student = await loadDecoder(device, at('small'), { trainable: true, weights: 'float32' })
    const most = at('most.signal')
    await makeTeacherSignal({ ...common, out: most, topK: student.config.vocabSize - 1 }, context)
    using signal = new TeacherSignal(most)
    const micro = [all[3]!, all[0]!]
    const run = async (objective: ReturnType<typeof distillation>) => {
      using _scope = device.scope()
      for (const p of student.parameters.values()) p.grad = null
      using tape = new Tape(device)
      const { loss } = objective.loss(micro, 0.01)
      tape.backward(loss)
      const grads = await Promise.all([...student.parameters.values()].map((p) => p.grad!.floats()))
      return { loss: await loss.item(), grads }
    }
    const options = { divergence: 'jensenShannon' } as const
    const online = await run(distillation(student, teacher, { ...options, vocabularyPolicy: 'truncate' }))
    const offline = await run(offlineDistillation(student, signal, all, options))
    expect(relativeError([offline.loss], [online.loss])).toBeLessThan(1e-5)
    offline.grads.forEach((g, i) => {
      expect(relativeError(g, online.grads[i]!)).toBeLessThan(1e-4)
    })
  })

  it('is refused for another tokenizer, other data, k, temperature or teacher, with both values', async () => {
    const refusal = (changes: object) =>
      distill({ ...settings('refused'), ...changes }, context).then(
        () => '',
        (error: TeacherSignalError) => `${error.code} ${error.message}`,
      )
    expect(await refusal({ topK: 32 })).toMatch(/^ERR_SIGNAL_MISMATCH .*topK 16, but 32 is asked for; .*write the file/)
    expect(await refusal({ distill: { temperature: 2 } })).toMatch(/temperature 1, but 2 is asked for/)
    expect(await refusal({ training: { ...training, maxLength: 700 } })).toMatch(/maxLength 1024, but 700 is/)
    expect(await refusal({ teacher: at('small') })).toMatch(/the teacher [0-9a-f]{64}, but [0-9a-f]{64} is asked for/)
    await writeTinyTokenizer(at('other-tokenizer'), 2)
    await writeTinyModel(device, at('stranger'), { tokenizerFrom: at('other-tokenizer') })
    expect(await refusal({ model: at('stranger') })).toMatch(
      /the tokenizer [0-9a-f]{64}, but [0-9a-f]{64} is asked for; distil a student with the tokenizer of the teacher/,
    )
    await makeData({ out: at('other'), pairs: 12, seed: 6, validation: 0.2, test: 0.2 }, () => {})
    expect(await refusal({ data: at('other') })).toMatch(/the data [0-9a-f]{64}, but .*same train.jsonl/)
  })
})
