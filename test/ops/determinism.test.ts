// The kernels that sum in parallel, twice on the same input: the same bits. LANTERN_TEST_DIGESTS names a file for digests of them; what
// one card gives, it must give again, and others of its kind too (npm run test:gpu prints them).
import { createHash } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { afterAll, expect, test } from 'vitest'
import { attention } from '../../lib/ops/attention.js'
import { crossEntropy } from '../../lib/ops/crossEntropy.js'
import { distillHead } from '../../lib/ops/distillHead.js'
import { embedding } from '../../lib/ops/embedding.js'
import { layerNorm } from '../../lib/ops/layerNorm.js'
import { linear } from '../../lib/ops/linear.js'
import { rmsNorm } from '../../lib/ops/rmsNorm.js'
import { sample } from '../../lib/ops/sampling.js'
import { Tape } from '../../lib/tensor/tape.js'
import type { FloatDType, Tensor } from '../../lib/tensor/tensor.js'
import { normal, testDevice, uniform } from '../support.js'

const device = testDevice()

/** A seeded tensor that wants a gradient. */
function random(seed: number, shape: [number, number] | [number], dtype: FloatDType = 'bfloat16', std = 1): Tensor {
  const t = device.tensor(
    normal(
      seed,
      shape.reduce((a, b) => a * b),
      { std },
    ),
    shape,
    dtype,
  )
  t.requiresGrad = true
  return t
}
const ids = (seed: number, count: number, end: number): Tensor => {
  const next = uniform(seed)
  return device.tensor(Int32Array.from({ length: count }, () => Math.floor(next() * end)))
}
/** The result, and the gradients of the inputs for a seeded gradient of the result. */
function differentiated(inputs: Tensor[], forward: () => Tensor): Tensor[] {
  using tape = new Tape(device)
  const y = forward()
  const { size, shape, dtype } = y
  tape.backward(y, size === 1 ? undefined : device.tensor(normal(99, size), shape, dtype))
  return [y, ...inputs.map((t) => t.grad!)]
}

function product(dtype: FloatDType): Tensor[] {
  const [x, weight, bias] = [random(1, [70, 264], dtype), random(2, [136, 264], dtype, 0.06), random(3, [136], dtype)]
  return differentiated([x, weight, bias], () => linear(x, weight, { bias, activation: 'silu' }))
}

/** What is to be the same, by name; each makes its inputs anew. */
const KERNELS: Record<string, () => Tensor[]> = {
  'linear bfloat16': () => product('bfloat16'),
  'linear float32': () => product('float32'),
  'attention bfloat16'() {
    const [heads, kvHeads, headDim, tokens] = [4, 2, 64, 90]
    const q = random(1, [tokens, heads * headDim])
    const [k, v] = [random(2, [tokens, kvHeads * headDim]), random(3, [tokens, kvHeads * headDim])]
    const cuSeqlens = device.tensor(Int32Array.of(0, 70, 90))
    return differentiated([q, k, v], () => attention({ q, k, v, cuSeqlens, heads, kvHeads, headDim, causal: true }))
  },
  'rmsNorm bfloat16'() {
    const [x, weight] = [random(1, [50, 520]), random(2, [520])]
    return differentiated([x, weight], () => rmsNorm(x, weight, 1e-6))
  },
  'layerNorm bfloat16'() {
    const [x, weight, bias] = [random(1, [50, 520]), random(2, [520]), random(3, [520])]
    return differentiated([x, weight, bias], () => layerNorm(x, weight, 1e-5, { bias }))
  },
  'embedding float32'() {
    const weight = random(1, [40, 72], 'float32')
    return differentiated([weight], () => embedding(ids(2, 300, 40), weight))
  },
  'crossEntropy float32'() {
    const logits = random(1, [20, 1001], 'float32', 3)
    return differentiated([logits], () => crossEntropy(logits, ids(2, 20, 1001)).loss)
  },
  'distillHead bfloat16'() {
    const [hidden, weight] = [random(1, [24, 64]), random(2, [300, 64], 'bfloat16', 0.2)]
    const teacher = { hidden: random(3, [24, 96]), weight: random(4, [300, 96], 'bfloat16', 0.2) }
    const labels = ids(5, 24, 300)
    return differentiated(
      [hidden, weight],
      () => distillHead({ hidden, weight, teacher, labels, divergence: 'jensenShannon' }).loss,
    )
  },
  'sample float32'() {
    const rows = Array.from({ length: 8 }, (_, step) => ({ temperature: 0.8, topK: 50, topP: 0.9, seed: 7, step }))
    const { ids: drawn, logProbabilities } = sample(random(1, [8, 2003], 'float32', 3), { rows })
    return [drawn, logProbabilities]
  },
}

const digests: Record<string, string> = {}

async function digest(kernel: () => Tensor[]): Promise<string> {
  using _scope = device.scope()
  const hash = createHash('sha256')
  for (const values of await Promise.all(kernel().map((t) => t.read())))
    hash.update(new Uint8Array(values.buffer, values.byteOffset, values.byteLength))
  return hash.digest('hex').slice(0, 12)
}

test.each(Object.entries(KERNELS))('%s', async (name, kernel) => {
  const first = await digest(kernel)
  digests[name] = first
  expect(await digest(kernel)).toBe(first)
})

afterAll(() => {
  const file = process.env.LANTERN_TEST_DIGESTS
  if (file) writeFileSync(file, JSON.stringify(digests))
})
