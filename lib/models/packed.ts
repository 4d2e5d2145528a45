import { ShapeError } from '../errors.js'
import type { Device } from '../tensor/device.js'
import type { Tensor } from '../tensor/tensor.js'

/** A batch: the tokens of all sequences in one run, no padding. */
export interface Packed {
  /** int32 [tokens] */
  ids: Tensor
  /** int32 [tokens]: position of each token in its sequence */
  positions: Tensor
  /** int32 [sequences + 1]: where each sequence starts, and the end */
  cuSeqlens: Tensor
  tokens: number
  sequences: number
  maxSeqlen: number
}

/**
 * Packs sequences of token ids for a model.
 * @param offsets position of the first token of each sequence (default 0): tokens that continue a cached context
 * @throws ShapeError when there is no sequence at all
 */
export function pack(device: Device, sequences: readonly ArrayLike<number>[], offsets?: readonly number[]): Packed {
  if (sequences.length === 0) throw new ShapeError('pack: there are no sequences; give at least one')
  const cu = new Int32Array(sequences.length + 1)
  sequences.forEach((s, i) => {
    cu[i + 1] = cu[i]! + s.length
  })
  const tokens = cu.at(-1)!
  const ids = new Int32Array(tokens)
  const positions = new Int32Array(tokens)
  sequences.forEach((s, i) => {
    ids.set(Array.isArray(s) || ArrayBuffer.isView(s) ? (s as ArrayLike<number>) : Array.from(s), cu[i]!)
    const offset = offsets?.[i] ?? 0
    for (let k = 0; k < s.length; k++) positions[cu[i]! + k] = offset + k
  })
  return {
    ids: device.tensor(ids),
    positions: device.tensor(positions),
    cuSeqlens: device.tensor(cu),
    tokens,
    sequences: sequences.length,
    maxSeqlen: sequences.reduce((n, s) => Math.max(n, s.length), 0),
  }
}
