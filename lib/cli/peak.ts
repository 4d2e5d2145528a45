import { linear } from '../ops/linear.js'
import type { Device } from '../tensor/device.js'
import type { FloatDType } from '../tensor/tensor.js'

/**
 * Floating-point operations a second that a matrix product of 1024 x 1024 x 1024 reaches here: the yardstick of "share of peak".
 * Takes about a fifth of a second.
 */
export async function measurePeak(device: Device, dtype: FloatDType): Promise<number> {
  const n = 1024
  return (2 * n ** 3) / (await productSeconds(device, n, n, n, { runs: 10, dtype }))
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
