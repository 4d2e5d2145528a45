import { Random } from '../random.js'
import type { Device } from '../tensor/device.js'
import type { Tensor } from '../tensor/tensor.js'
import type { WeightSource } from './model.js'

/**
 * Fresh float32 weights as GPT-2 and Qwen2 start: normal with standard deviation `std` (projections back into the residual stream
 * divided by sqrt(2 * layers)), norms 1, biases 0. Each tensor's values depend on the seed and its name alone.
 */
export function randomWeights(device: Device, options: { seed: number; layers: number; std?: number }): WeightSource {
  const std = options.std ?? 0.02
  return (name, shape) =>
    device.persistent(() => {
      if (name.endsWith('.bias')) return device.zeros(shape)
      if (shape.length === 1) return filled(device, shape[0]!, 1)
      const residual = /(o_proj|down_proj|Wo)\.weight$/.test(name)
      return normal(device, shape, `${options.seed}/${name}`, residual ? std / Math.sqrt(2 * options.layers) : std)
    })
}

function filled(device: Device, size: number, value: number): Tensor {
  return device.tensor(new Float32Array(size).fill(value))
}

/** Box-Muller over a seeded stream. */
function normal(device: Device, shape: readonly number[], seed: string, std: number): Tensor {
  const random = new Random(seed)
  const values = new Float32Array(shape.reduce((n, d) => n * d, 1))
  for (let i = 0; i < values.length; i += 2) {
    const radius = std * Math.sqrt(-2 * Math.log(1 - random.float()))
    const angle = 2 * Math.PI * random.float()
    values[i] = radius * Math.cos(angle)
    if (i + 1 < values.length) values[i + 1] = radius * Math.sin(angle)
  }
  return device.tensor(values, shape)
}
