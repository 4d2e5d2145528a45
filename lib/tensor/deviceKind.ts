/** Which device is meant, and whether there is one. */
import { DeviceError } from '../errors.js'
import { addon } from './native.js'

/** What to open: the best device there is, the processor, the first GPU that can be used, or the n-th of all, counted from 0. */
export type DeviceKind = 'auto' | 'cpu' | 'cuda' | `cuda:${number}`

/** The kinds of device, as messages name them. */
export const DEVICE_KINDS = "'auto', 'cpu', 'cuda', or 'cuda:1' for the second GPU"

/** Whether a value names a kind of device; whether there is one is not said by that. */
export const isDeviceKind = (value: unknown): value is DeviceKind =>
  typeof value === 'string' && /^(auto|cpu|cuda(:\d+)?)$/.test(value)

/**
 * The ordinal of the GPU that a kind of device means, or null for the CPU. `source` tells in messages who named it.
 * @throws DeviceError when there is none
 */
export function chosenGpu(kind: string, source = ''): number | null {
  if (!isDeviceKind(kind))
    throw new DeviceError('ERR_OPTION', `there is no device '${kind}'${source}; use ${DEVICE_KINDS}`)
  if (kind === 'cpu') return null
  const { gpus, reason } = addon().cuda()
  const first = gpus.findIndex(({ supported }) => supported)
  if (kind === 'auto') return first < 0 ? null : first
  if (first < 0) throw new DeviceError('ERR_NO_GPU', `there is no device '${kind}'${source}: ${reason}`)
  if (kind === 'cuda') return first
  const ordinal = Number(kind.slice('cuda:'.length))
  const gpu = gpus[ordinal]
  if (gpu?.supported) return ordinal
  const why = gpu ? `${gpu.name}: ${gpu.why}` : `there ${gpus.length === 1 ? 'is one GPU' : `are ${gpus.length} GPUs`}`
  throw new DeviceError(
    'ERR_NO_GPU',
    `there is no device '${kind}'${source} to use: ${why}; 'cuda:${first}' can be used`,
  )
}
