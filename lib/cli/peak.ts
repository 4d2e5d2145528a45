import { linear } from '../ops/linear.js'
import type { Device } from '../tensor/device.js'

/**
 * Floating-point operations a second that a float32 matrix product of 768 x 768 x 768 reaches here: the yardstick of "share of peak".
 * Takes about a tenth of a second.
 */
export async function measurePeak(device: Device): Promise<number> {
  using scope = device.scope()
  const n = 768
  const a = scope.keep(device.zeros([n, n]))
  let best = Number.POSITIVE_INFINITY
  for (let i = 0; i < 8; i++) {
    await device.synchronize()
    const started = performance.now()
    const y = linear(a, a)
    await device.synchronize()
    best = Math.min(best, performance.now() - started)
    y.dispose()
  }
  a.dispose()
  return (2 * n ** 3) / (best / 1000)
}
