import { Decoder } from '../../lib/models/decoder.js'
import type { DecoderConfig } from '../../lib/models/decoderConfig.js'
import type { WeightSource } from '../../lib/models/model.js'
import { Random } from '../../lib/random.js'
import type { Device } from '../../lib/tensor/device.js'
import { type FloatDType, narrow, type Shape, type Tensor } from '../../lib/tensor/tensor.js'

/** Normal numbers of standard deviation 1 that all random tensors are cut from: drawing billions anew would take longer than the benches. */
const POOL = (() => {
  const random = new Random('bench')
  const values = new Float32Array(1 << 20)
  for (let i = 0; i < values.length; i += 2) {
    const radius = Math.sqrt(-2 * Math.log(1 - random.float()))
    const angle = 2 * Math.PI * random.float()
    values[i] = radius * Math.cos(angle)
    values[i + 1] = radius * Math.sin(angle)
  }
  return values
})()

const CHUNK = 1 << 18

/** A tensor of normal numbers of standard deviation `std`, of no scope; pieces start at random places of a pool, so that rows differ. */
export function randomTensor(device: Device, shape: Shape, dtype: FloatDType = 'float32', std = 1): Tensor {
  return device.persistent(() => {
    const pool = dtype === 'bfloat16' ? narrow(POOL.map((x) => x * std)) : POOL.map((x) => x * std)
    const tensor = device.empty(shape, dtype)
    const flat = tensor.view([tensor.size])
    const random = new Random(shape.join('x'))
    for (let at = 0; at < tensor.size; ) {
      const size = Math.min(CHUNK - random.int(0, 999), tensor.size - at)
      const from = random.int(0, pool.length - size)
      const rows = flat.rows(at, at + size)
      rows.write(pool.subarray(from, from + size))
      rows.dispose()
      at += size
    }
    flat.dispose()
    return tensor
  })
}

/** Sizes of a model, as the peers get them too. */
export interface ModelShape {
  hiddenSize: number
  layers: number
  heads: number
  kvHeads: number
  intermediateSize: number
  vocabSize: number
  maxPositionEmbeddings: number
}

/** Qwen2.5-0.5B: 988 MB in bfloat16. */
export const QWEN_05B: ModelShape = {
  hiddenSize: 896,
  layers: 24,
  heads: 14,
  kvHeads: 2,
  intermediateSize: 4864,
  vocabSize: 151_936,
  maxPositionEmbeddings: 32_768,
}

/** The config of a Qwen2 of some sizes: tied head, biases at q, k and v. */
export function decoderConfig(shape: ModelShape, dtype: FloatDType): DecoderConfig {
  return {
    ...shape,
    modelType: 'qwen2',
    headDim: shape.hiddenSize / shape.heads,
    ropeTheta: 10_000,
    rmsNormEps: 1e-6,
    tieWordEmbeddings: true,
    slidingWindow: null,
    causal: true,
    attentionBias: true,
    eosTokenId: null,
    bosTokenId: null,
    padTokenId: null,
    dtype,
  }
}

/** Random weights of any model, stored in `dtype`: norms 1, biases 0. */
export function randomWeightsOf(device: Device, dtype: FloatDType): WeightSource {
  return (name, size) => {
    if (size.length > 1) return randomTensor(device, size, dtype, 0.02)
    const value = name.endsWith('.bias') ? 0 : 1
    return device.persistent(() => device.tensor(new Float32Array(size[0]!).fill(value), size, dtype))
  }
}

/** A Qwen2 of random weights, stored and computing in `dtype`. */
export function randomQwen2(device: Device, shape: ModelShape, dtype: FloatDType): Decoder {
  return new Decoder(device, decoderConfig(shape, dtype), randomWeightsOf(device, dtype), dtype)
}

/** Token ids, uniform above the special ones. */
export function randomIds(count: number, vocabSize: number, seed: number): Int32Array {
  const random = new Random(`ids ${seed}`)
  return Int32Array.from({ length: count }, () => random.int(3, vocabSize - 1))
}
