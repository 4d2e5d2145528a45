import { existsSync } from 'node:fs'
import { open, readFile, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { beforeAll, describe, expect, it, vi } from 'vitest'
import { makeData } from '../../lib/cli/data.js'
import { distill } from '../../lib/cli/distill.js'
import { makeTeacherSignal } from '../../lib/cli/teacherSignal.js'
import { readSamples } from '../../lib/cli/training.js'
import { distillation, offlineDistillation } from '../../lib/distill/objectives.js'
import { explanationSample } from '../../lib/distill/samples.js'
import { signalOf, TeacherSignal, TeacherSignalError } from '../../lib/distill/teacherSignal.js'
import { topIds } from '../../lib/distill/writeTeacherSignal.js'
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
    expect(lines.join('\n')).toMatch(/teacher.signal written in \d+ s: [\d.]+ % of the mass is beyond the top 16/)
  })

  it('goes on after an interruption and after a kill with the same bytes, without what is damaged', async () => {
    const out = at('parts.signal')
    const controller = new AbortController()
    const print = (line: string) => void (/labelled tokens written/.test(line) && controller.abort())
    const options = { ...common, out, topK: 16, microBatchTokens: 1 }
    const whole = at('whole.signal')
    await makeTeacherSignal({ ...options, out: whole }, context)
    expect(await makeTeacherSignal(options, { device, print, signal: controller.signal })).toBeNull()
    expect(existsSync(out)).toBe(false)
    const partial = await readFile(`${out}.partial`)
    lines.length = 0
    await makeTeacherSignal(options, context)
    expect(lines.filter((line) => /labelled tokens written/.test(line))[0]).toMatch(/^2048 of/)
    expect((await readFile(out)).equals(await readFile(whole))).toBe(true)
    await writeFile(`${out}.partial`, partial.subarray(0, partial.length - 100)) // torn by a kill
    lines.length = 0
    await makeTeacherSignal(options, context)
    expect(lines.filter((line) => /labelled tokens written/.test(line))[0]).toMatch(/^1024 of/)
    expect((await readFile(out)).equals(await readFile(whole))).toBe(true)
    expect(existsSync(`${out}.partial`)).toBe(false)
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
    const handle = await open(copy, 'r+')
    await handle.write(Buffer.of(1 ^ bytes[200_000]!), 0, 1, 200_000)
    await handle.close()
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
    expect(lines[0]).toMatch(/teacher.signal: [\d.]+ % of the mass is beyond the top 16, .* nats short of the full one/)
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
