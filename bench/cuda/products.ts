import type { Device } from '../../lib/tensor/device.js'
import { dtypeCode, type FloatDType, type Tensor } from '../../lib/tensor/tensor.js'
import { randomTensor } from '../support/data.js'
import { bytes, type Case } from './case.js'

interface Product {
  m: number
  n: number
  k: number
  dtype: FloatDType
  transposeA?: 0 | 1
  transposeB?: 0 | 1
  bias?: Tensor | null
}

/** y [m, n] = op(a) op(b) + bias. */
function multiply(device: Device, { m, n, k, dtype, transposeA = 0, transposeB = 0, bias = null }: Product) {
  const a = randomTensor(device, transposeA ? [k, m] : [m, k], dtype)
  const b = randomTensor(device, transposeB ? [n, k] : [k, n], dtype)
  const y = device.empty([m, n], dtype)
  const code = dtypeCode(dtype)
  device.launch('matmul', {
    ...{ a, b, bias, residual: null, z: null, y, m, n, k, transposeA, transposeB, activation: 0 },
    ...{ lda: transposeA ? m : k, ldb: transposeB ? k : n, ldResidual: n, ldy: n },
    ...{ aDtype: code, bDtype: code, biasDtype: code, yDtype: code },
  })
  return { a, b, y }
}

const shapeOf = ({ m, n, k }: Product): string => `${m} x ${n} x ${k}`

/** A product that the launcher gives to `kernel` on a device of 108 multiprocessors. */
const product = (kernel: string, of: Product): Case => ({
  shape: shapeOf(of),
  run(device) {
    multiply(device, of)
    return [{ kernel, flops: 2 * of.m * of.n * of.k }]
  },
})

/** The two steps of a product that is cut along its reduction. */
const splitProduct = (kernel: string, parts: number, of: Product): Case => ({
  shape: `${shapeOf(of)}, ${parts} parts`,
  run(device) {
    const { y } = multiply(device, of)
    return [
      { kernel, flops: 2 * of.m * of.n * of.k },
      { kernel: 'matmul_sumParts', bytes: parts * of.m * of.n * 4 + bytes(y) },
    ]
  },
})

/** Decoding: the weight streams past once. */
const fewRows = (kernel: string, of: Product): Case => ({
  shape: shapeOf(of),
  run(device) {
    const { a, b, y } = multiply(device, { ...of, transposeB: 1 })
    return [{ kernel, bytes: bytes(a, b, y) }]
  },
})

const bf16 = (m: number, n: number, k: number): Product => ({ m, n, k, dtype: 'bfloat16' })
const f32 = (m: number, n: number, k: number): Product => ({ m, n, k, dtype: 'float32' })
const [a, b] = [{ transposeA: 1 } as const, { transposeB: 1 } as const]

/** What the backward of a linear layer has besides products. */
const backwardCase = (dtype: FloatDType): Case => ({
  shape: '96 x 896',
  run(device) {
    const [dy, z, dz] = [1, 2, 3].map(() => randomTensor(device, [96, 896], dtype)) as [Tensor, Tensor, Tensor]
    const code = dtypeCode(dtype)
    device.launch('activationBackward', { dy, z, dz, count: dy.size, dtype: code, activation: 1 })
    const sum = device.zeros([896])
    device.launch('columnSum', { x: dy, sum, rows: 96, cols: 896, ldx: 896, dtype: code })
    const partial = 2 * 896 * 4 // two blocks of rows
    return [
      { kernel: 'matmulBackward_activation', bytes: 3 * bytes(dy) },
      { kernel: 'matmulBackward_columnSum', bytes: bytes(dy, partial) },
      { kernel: 'matmulBackward_columnSumParts', bytes: bytes(partial, sum, sum) },
    ]
  },
})

export const products: readonly Case[] = [
  product('matmul_largeTransposeB', { ...bf16(1536, 2304, 64), ...b }),
  product('matmul_large', bf16(1536, 2304, 64)),
  product('matmul_largeTransposeA', { ...bf16(1536, 2304, 64), ...a }),
  product('matmul_mediumTransposeB', { ...bf16(1536, 1152, 64), ...b }),
  product('matmul_smallTransposeB', { ...bf16(256, 512, 128), ...b }),
  product('matmul_small', bf16(256, 512, 128)),
  product('matmul_smallTransposeA', { ...bf16(256, 512, 128), ...a }),
  splitProduct('matmul_smallTransposeA', 8, { ...bf16(128, 128, 1024), ...a }),
  product('matmulFloat_small', { ...f32(256, 256, 128), ...b }),
  product('matmulFloat_large', { ...f32(1536, 2304, 16), ...b }),
  fewRows('matmulFewRows_bf16Rows8Cols8', bf16(8, 896, 896)),
  fewRows('matmulFewRows_bf16Rows16Cols16', bf16(16, 896, 896)),
  fewRows('matmulFewRows_rows1', f32(1, 896, 896)),
  fewRows('matmulFewRows_rows4', f32(4, 896, 896)),
  backwardCase('float32'),
  backwardCase('bfloat16'),
]
