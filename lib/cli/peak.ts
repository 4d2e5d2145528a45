import { linear } from '../ops/linear.js'
import type { Device } from '../tensor/device.js'

/**
 * Floating-point operations a second that a float32 matrix product of 768 x 768 x 768 reaches here: the yardstick of "share of peak".
 * Takes about a tenth of a second.
 */
export async function measurePeak(device: Device): Promise<number> {
  const n = 768
  return (2 * n ** 3) / (await productSeconds(device, n, n, n, 8))
}

/** Seconds of the fastest of `runs` products of a [rows, cols] input and an [out, cols] weight, both float32. */
export async function productSeconds(
  device: Device,
  rows: number,
  out: number,
  cols: number,
  runs: number,
): Promise<number> {
  const [x, weight] = device.persistent(() => [device.zeros([rows, cols]), device.zeros([out, cols])] as const)
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
