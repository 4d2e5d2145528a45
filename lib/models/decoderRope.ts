import { ropeTable } from '../ops/rope.js'
import type { Device } from '../tensor/device.js'
import type { Tensor } from '../tensor/tensor.js'
import { type DecoderConfig, longRopeAmplitude } from './decoderConfig.js'
import type { Packed } from './packed.js'

/** The rotations of a decoder, and which row of them each token of a batch takes. */
export interface PositionTable {
  /** float32 [rows, headDim] */
  table: Tensor
  /** int32 [tokens] */
  positions(batch: Packed): Tensor
}

/**
 * Cosines and sines of a decoder's positions. With longrope the table holds those of short contexts first, then those of long ones; a sequence
 * takes one or the other by how long it may become (`Packed.contexts`), from its first token to its last: the keys in a cache stay valid.
 */
export function decoderRope(device: Device, config: DecoderConfig): PositionTable {
  const { headDim, ropeTheta: theta, ropeScaling: scaling, maxPositionEmbeddings } = config
  if (!scaling)
    return {
      table: ropeTable(device, { headDim, theta, maxPositions: maxPositionEmbeddings }),
      positions: (batch) => batch.positions,
    }
  const original = scaling.originalMaxPositions
  const amplitude = longRopeAmplitude(scaling, maxPositionEmbeddings)
  const part = (factor: readonly number[], maxPositions: number) => ({
    headDim,
    theta,
    maxPositions,
    amplitude,
    frequency: (j: number) => theta ** ((-2 * j) / headDim) / factor[j]!,
  })
  const table = ropeTable(device, part(scaling.shortFactor, original), part(scaling.longFactor, maxPositionEmbeddings))
  return {
    table,
    positions: (batch) => {
      const rows = new Int32Array(batch.tokens)
      for (let s = 0, at = 0; s < batch.sequences; s++) {
        const { length, offset, context } = batch.spans[s]!
        const first = offset + (context > original ? original : 0)
        for (let k = 0; k < length; k++) rows[at++] = first + k
      }
      return device.tensor(rows)
    },
  }
}
