import { linear } from '../ops/linear.js'
import type { Device } from '../tensor/device.js'
import type { FloatDType } from '../tensor/tensor.js'

/** Seconds that a product on a GPU must take at least for the time around it not to count. */
const LONG_ENOUGH = 1e-3

/**
 * Floating-point operations a second that a matrix product of equal sides reaches here: the yardstick of "share of peak". 1024 on the CPU;
 * on a GPU the side is doubled until the product takes long enough to be measured. Takes about a fifth of a second.
 */
export async function measurePeak(device: Device, dtype: FloatDType): Promise<number> {
  for (let n = device.kind === 'cpu' ? 1024 : 256; ; n *= 2) {
    const seconds = await productSeconds(device, n, n, n, { runs: 10, dtype })
    if (device.kind === 'cpu' || seconds > LONG_ENOUGH || n === 8192) return (2 * n ** 3) / seconds
  }
}

/** Seconds of the fastest of `runs` products of a [rows, cols] input and an [out, cols] weight. */
export async function productSeconds(
  device: Device,
  rows: number,
  out: number,
  cols: number,
  { runs, dtype = 'float32' }: { runs: number; dtype?: FloatDType },
): Promise<number> {
  const [x, weight] = device.persistent(
    () => [device.zeros([rows, cols], dtype), device.zeros([out, cols], dtype)] as const,
  )
  let best = Number.POSITIVE_INFINITY
  for (let i = 0; i < runs; i++) {
    await device.synchronize()
    const started = performance.now()
    const y = device.persistent(() => linear(x, weight))
    await device.synchronize()
    best = Math.min(best, performance.now() - started)
    y.dispose()
  }
  x.dispose()
  weight.dispose()
  return best / 1000
}
