import { afterAll } from 'vitest'
import { Device, type DeviceOptions } from '../lib/tensor/device.js'
import type { DeviceKind } from '../lib/tensor/deviceKind.js'
import { narrow, widen } from '../lib/tensor/tensor.js'

/** What the tests that hold on every device run on: LANTERN_TEST_DEVICE, `cpu` if it is not set. */
export const TEST_DEVICE = (process.env.LANTERN_TEST_DEVICE || 'cpu') as DeviceKind

/** Whether the GPU is the PTX machine: it tells fresh memory from written by itself, and is slow. */
export const SIMULATED = TEST_DEVICE !== 'cpu' && /simulated/i.test(Device.describe().cuda.gpus[0]?.name ?? '')

/** Whether tables take their smaller shapes, which reach the same code: the PTX machine executes every lane. LANTERN_TEST_DEEP=1: all in full. */
export const QUICK = SIMULATED && !process.env.LANTERN_TEST_DEEP

/** A device of the kind that is tested. The caller closes it. */
export const openTestDevice = (options: DeviceOptions = {}): Device => Device.open(TEST_DEVICE, options)

const opened: Device[] = []
afterAll(async () => {
  for (const device of opened) await device.close()
})

/** A device of the kind that is tested, whose fresh memory is NaN, closed after the file's tests. Tests may ask for one, too. */
export function testDevice(options: DeviceOptions = {}): Device {
  const device = openTestDevice({ poison: !SIMULATED, ...options })
  opened.push(device)
  return device
}

/** Seeded uniform numbers in [0, 1): splitmix32. */
export function uniform(seed: number): () => number {
  let s = seed >>> 0
  return () => {
    s = (s + 0x9e3779b9) >>> 0
    let z = s
    z = Math.imul(z ^ (z >>> 16), 0x21f0aaad)
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97)
    return ((z ^ (z >>> 15)) >>> 0) / 2 ** 32
  }
}

/** Seeded normal numbers. `outliers` of every thousand are 30 times as large. */
export function normal(seed: number, count: number, { std = 1, outliers = 0 } = {}): Float32Array {
  const next = uniform(seed)
  return Float32Array.from({ length: count }, () => {
    const x = Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next()) * std
    return next() * 1000 < outliers ? 30 * x : x
  })
}

/** Values as bfloat16 holds them. */
export const roundBf16 = (x: ArrayLike<number>): Float32Array => widen(narrow(x))

/** ||a - b|| / ||b||, NaN when anything is not finite; the absolute norm where b is zero. */
export function relativeError(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) throw new Error(`relativeError: ${a.length} values against ${b.length}`)
  let difference = 0
  let norm = 0
  for (let i = 0; i < a.length; i++) {
    difference += (a[i]! - b[i]!) ** 2
    norm += b[i]! ** 2
  }
  return norm === 0 ? Math.sqrt(difference) : Math.sqrt(difference / norm)
}

/** What a dtype's results may be off, as relative norm, against float64. */
export const TOLERANCE = { float32: 1e-5, bfloat16: 4e-3 } as const

/** The float dtypes that op tables run over. */
export const FLOATS = ['float32', 'bfloat16'] as const

/** Inputs of a dtype: what the device will see, as float32. */
export const asStored = (x: Float32Array, dtype: 'float32' | 'bfloat16'): Float32Array =>
  dtype === 'bfloat16' ? roundBf16(x) : x
