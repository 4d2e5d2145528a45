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
  /** What the host knows of each sequence. */
  spans: readonly Span[]
}

/** Where a sequence of a batch stands. */
export interface Span {
  /** Its tokens in the batch. */
  length: number
  /** Position of the first of them. */
  offset: number
  /** How many positions it may come to have, all in all: what models choose by whose rotations depend on the length (longrope). */
  context: number
}

/** What is known of the sequences beyond their ids. */
export interface PackOptions {
  /** Position of the first token of each sequence, default 0: tokens that continue a cached context. */
  offsets?: readonly number[]
  /** Positions that each sequence may come to have; default: those it has. */
  contexts?: readonly number[]
}

/**
 * Packs sequences of token ids for a model.
 * @throws ShapeError when there is no sequence at all
 */
export function pack(device: Device, sequences: readonly ArrayLike<number>[], options: PackOptions = {}): Packed {
  if (sequences.length === 0) throw new ShapeError('pack: there are no sequences; give at least one')
  const cu = new Int32Array(sequences.length + 1)
  sequences.forEach((s, i) => {
    cu[i + 1] = cu[i]! + s.length
  })
  const tokens = cu.at(-1)!
  const ids = new Int32Array(tokens)
  const positions = new Int32Array(tokens)
  const spans = sequences.map((s, i): Span => {
    ids.set(Array.isArray(s) || ArrayBuffer.isView(s) ? (s as ArrayLike<number>) : Array.from(s), cu[i]!)
    const offset = options.offsets?.[i] ?? 0
    for (let k = 0; k < s.length; k++) positions[cu[i]! + k] = offset + k
    return { length: s.length, offset, context: options.contexts?.[i] ?? offset + s.length }
  })
  return {
    ids: device.tensor(ids),
    positions: device.tensor(positions),
    cuSeqlens: device.tensor(cu),
    tokens,
    sequences: sequences.length,
    maxSeqlen: sequences.reduce((n, s) => Math.max(n, s.length), 0),
    spans,
  }
}
