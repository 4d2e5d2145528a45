import { crossEntropy } from '../../lib/ops/crossEntropy.js'
import { divergence } from '../../lib/ops/divergence.js'
import { addLayerNorm, layerNorm } from '../../lib/ops/layerNorm.js'
import { gatherRows, l2Normalize, lastToken, meanPooling } from '../../lib/ops/pooling.js'
import { addRmsNorm, rmsNorm } from '../../lib/ops/rmsNorm.js'
import { sample } from '../../lib/ops/sampling.js'
import type { Device } from '../../lib/tensor/device.js'
import { Tape } from '../../lib/tensor/tape.js'
import type { FloatDType, Tensor } from '../../lib/tensor/tensor.js'
import { randomTensor } from '../support/data.js'
import { bytes, type Case, DTYPES, distinct, integers } from './case.js'

const [ROWS, COLS, VOCAB] = [96, 896, 16_384] as const
const LENGTHS = [0, 10, 34, 96] // cuSeqlens

/** A random tensor whose gradient is wanted. */
function input(device: Device, shape: readonly number[], dtype: FloatDType): Tensor {
  const t = randomTensor(device, shape, dtype)
  t.requiresGrad = true
  return t
}

const rmsNormCase = (dtype: FloatDType): Case => ({
  shape: `${ROWS} x ${COLS}`,
  run(device) {
    const [x, weight] = [input(device, [ROWS, COLS], dtype), input(device, [COLS], dtype)]
    using tape = new Tape(device)
    tape.backward(rmsNorm(x, weight, 1e-6), randomTensor(device, [ROWS, COLS], dtype))
    const [rstd, partial, dweight] = [ROWS * 4, ROWS * COLS * 4, COLS * 4] // a block a row, and partial sums of each
    return [
      { kernel: 'rmsNorm_forward', bytes: 2 * bytes(x) + bytes(weight, rstd) },
      { kernel: 'rmsNorm_backward', bytes: 3 * bytes(x) + bytes(weight, rstd, partial) },
      { kernel: 'rmsNorm_addPartials', bytes: bytes(partial, dweight, dweight) },
    ]
  },
})

const addRmsNormCase = (dtype: FloatDType): Case => ({
  shape: `${ROWS} x ${COLS}, float32 residual`,
  run(device) {
    const [x, stream] = [randomTensor(device, [ROWS, COLS], dtype), randomTensor(device, [ROWS, COLS])]
    const weight = randomTensor(device, [COLS], dtype)
    addRmsNorm(x, stream, weight, 1e-6)
    return [{ kernel: 'rmsNorm_forward', bytes: 2 * bytes(x, stream) + bytes(weight) }]
  },
})

const layerNormCase = (dtype: FloatDType): Case => ({
  shape: `${ROWS} x ${COLS}`,
  run(device) {
    const [x, weight, bias] = [[ROWS, COLS], [COLS], [COLS]].map((shape) => input(device, shape, dtype))
    using tape = new Tape(device)
    tape.backward(layerNorm(x!, weight!, 1e-5, { bias: bias! }), randomTensor(device, [ROWS, COLS], dtype))
    const [mean, rstd, partial, gradient] = [ROWS * 8, ROWS * 4, ROWS * COLS * 4, COLS * 4] // partial: of each row, for each of both
    return [
      { kernel: 'layerNorm_forward', bytes: 2 * bytes(x!) + bytes(weight!, bias!, mean, rstd) },
      { kernel: 'layerNorm_backward', bytes: 3 * bytes(x!) + bytes(weight!, mean, rstd, partial, partial) },
      { kernel: 'layerNorm_addPartials', bytes: 2 * bytes(partial, gradient, gradient) },
    ]
  },
})

const addLayerNormCase = (dtype: FloatDType): Case => ({
  shape: `${ROWS} x ${COLS}, float32 residual`,
  run(device) {
    const [x, stream] = [randomTensor(device, [ROWS, COLS], dtype), randomTensor(device, [ROWS, COLS])]
    const weight = randomTensor(device, [COLS], dtype)
    addLayerNorm(x, stream, weight, 1e-5)
    return [{ kernel: 'layerNorm_forward', bytes: 2 * bytes(x, stream) + bytes(weight) }]
  },
})

const poolingCase = (dtype: FloatDType): Case => ({
  shape: `${ROWS} tokens x ${COLS}, three sequences`,
  run(device) {
    const [x, dy] = [input(device, [ROWS, COLS], dtype), randomTensor(device, [3, COLS], dtype)]
    const cuSeqlens = integers(device, LENGTHS)
    for (const pool of [lastToken, meanPooling]) {
      using tape = new Tape(device)
      tape.backward(pool(x, cuSeqlens), dy)
    }
    return [
      { kernel: 'pooling_last', bytes: bytes(dy, dy, cuSeqlens) },
      { kernel: 'pooling_lastBackward', bytes: bytes(dy, x, cuSeqlens) },
      { kernel: 'pooling_mean', bytes: bytes(x, dy, cuSeqlens) },
      { kernel: 'pooling_meanBackward', bytes: bytes(x, dy, cuSeqlens) },
    ]
  },
})

const gatherCase = (dtype: FloatDType): Case => ({
  shape: `${ROWS} of 128 rows x ${COLS}, each once`,
  run(device) {
    const [x, dy] = [input(device, [128, COLS], dtype), randomTensor(device, [ROWS, COLS], dtype)]
    const rows = integers(device, distinct(ROWS, 128))
    using tape = new Tape(device)
    tape.backward(gatherRows(x, rows), dy)
    return [
      { kernel: 'pooling_gather', bytes: bytes(rows, dy, dy) },
      { kernel: 'pooling_gatherBackward', bytes: bytes(rows, rows, dy, x) },
    ]
  },
})

const normalizeCase = (dtype: FloatDType): Case => ({
  shape: `${ROWS} x ${COLS}`,
  run(device) {
    const x = input(device, [ROWS, COLS], dtype)
    using tape = new Tape(device)
    tape.backward(l2Normalize(x), randomTensor(device, [ROWS, COLS], dtype))
    const norm = ROWS * 4
    return [
      { kernel: 'pooling_l2', bytes: 2 * bytes(x) + bytes(norm) },
      { kernel: 'pooling_l2Backward', bytes: 3 * bytes(x) + bytes(norm) },
    ]
  },
})

const crossEntropyCase = (dtype: FloatDType): Case => ({
  shape: `8 rows of ${VOCAB} classes`,
  run(device) {
    const [logits, targets] = [input(device, [8, VOCAB], dtype), randomTensor(device, [8, VOCAB], dtype, 0)]
    const labels = integers(device, distinct(8, VOCAB))
    {
      using _tape = new Tape(device)
      crossEntropy(logits, labels)
      crossEntropy(logits, targets)
    }
    const results = 8 * 16 // a loss and two counts a row
    return [
      { kernel: 'crossEntropy_labels', bytes: 2 * bytes(logits) + bytes(labels, results) },
      { kernel: 'crossEntropy_targets', bytes: 2 * bytes(logits) + bytes(targets, results) },
      { kernel: 'crossEntropy_total', bytes: 2 * bytes(results, 4, 12) },
    ]
  },
})

/** Rows that fit in shared memory, and rows of a vocabulary that do not. */
const divergenceCase = (dtype: FloatDType, vocab: number): Case => ({
  shape: `4 rows of ${vocab} classes, jensenShannon`,
  run(device) {
    const [student, teacher] = [input(device, [4, vocab], dtype), randomTensor(device, [4, vocab], dtype)]
    using tape = new Tape(device)
    tape.backward(divergence(student, teacher, 'jensenShannon'), randomTensor(device, [4]))
    const [value, stats] = [16, 4 * 8 * 4]
    const pass = bytes(student, teacher)
    return [
      { kernel: 'divergence_forward', bytes: pass + bytes(value, stats) },
      { kernel: 'divergence_backward', bytes: pass + bytes(student, value, stats) },
    ]
  },
})

const samplingCase = (dtype: FloatDType): Case => ({
  shape: `4 rows of ${VOCAB} classes, top 50, top-p 0.9`,
  run(device) {
    const logits = randomTensor(device, [4, VOCAB], dtype)
    sample(logits, { rows: [1, 2, 3, 4].map((seed) => ({ temperature: 0.8, topK: 50, topP: 0.9, seed })) })
    const settings = 4 * 12
    const stats = 4 * 17 * 16
    return [
      { kernel: 'sampling_slice', bytes: bytes(logits, settings, stats) },
      { kernel: 'sampling_pick', bytes: bytes(logits, settings, stats, 16, 16) },
    ]
  },
})

/** One row in, one row or number out. */
export const rowwise: readonly Case[] = DTYPES.flatMap((dtype) => [
  rmsNormCase(dtype),
  ...(dtype === 'bfloat16' ? [addRmsNormCase(dtype)] : []),
  layerNormCase(dtype),
  ...(dtype === 'bfloat16' ? [addLayerNormCase(dtype)] : []),
  poolingCase(dtype),
  gatherCase(dtype),
  normalizeCase(dtype),
  crossEntropyCase(dtype),
  divergenceCase(dtype, 8192),
  divergenceCase(dtype, 151_936),
  samplingCase(dtype),
])
