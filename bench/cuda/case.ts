import { Random } from '../../lib/random.js'
import type { Device } from '../../lib/tensor/device.js'
import { Tensor } from '../../lib/tensor/tensor.js'

/** What a kernel has to do, whoever writes it. */
export interface Needs {
  /** Entry point, up to the dtypes at its end. */
  kernel: string
  /** Bytes of its inputs and outputs, each once: the least that crosses the memory bus. Left out where tiles are read again on purpose. */
  bytes?: number
  /** FLOP of the formula. Left out where the kernel is bound by memory. */
  flops?: number
  /** Why a bound cannot hold here; the row is then not held to it. */
  except?: { bound: 'footprint' | 'sectors' | 'wavefronts'; because: string }
}

/** Work on a device, and what its kernels need. */
export interface Case {
  /** Its shape, as in the tables. */
  shape: string
  /** Enqueues. Tensors belong to the scope of the caller. */
  run(device: Device): Needs[]
}

const SECTOR = 32

/** Bytes of operands in whole sectors, each once; a number stands for bytes of something that is no tensor, null for none. */
export function bytes(...operands: (Tensor | number | null)[]): number {
  return operands.reduce<number>((sum, o) => {
    const size = o instanceof Tensor ? o.bytes : (o ?? 0)
    return sum + Math.ceil(size / SECTOR) * SECTOR
  }, 0)
}

export const DTYPES = ['float32', 'bfloat16'] as const

/** An int32 tensor. */
export const integers = (device: Device, values: ArrayLike<number>): Tensor => device.tensor(Int32Array.from(values))

/** `count` of the numbers below `limit`, none twice, in an order that is random and always the same. */
export function distinct(count: number, limit: number): number[] {
  return new Random('distinct').shuffle(Array.from({ length: limit }, (_, i) => i)).slice(0, count)
}
