import type { FloatDType } from '../tensor/tensor.js'
import type { Card } from './cards.js'
import type { HeadDevice } from './head.js'

/** What a plan is made for. */
export interface Machine {
  name: string
  /** Bytes that a run may take; of a GPU less what its driver keeps. */
  memory: number
  /** Bytes a second from and to the memory. */
  bandwidth: number
  /** FLOP a second of matrix products, by the dtype that is multiplied. */
  flops: Readonly<Record<FloatDType, number>>
  device: HeadDevice
}

/** Bytes that the driver of a GPU and its context keep, about. */
export const DRIVER_BYTES = 2 ** 29

/** A card at its maker's peaks. float32 is multiplied by the float32 units: no product is rounded to fewer bits. */
export const machineOf = (card: Card): Machine => ({
  name: card.name,
  memory: card.memory - DRIVER_BYTES,
  bandwidth: card.bandwidth,
  flops: { bfloat16: card.tensor, float32: 2 * card.float32 * card.multiprocessors * card.clock },
  device: { kind: 'cuda', multiprocessors: card.multiprocessors },
})
