import { recompute } from '../tensor/recompute.js'
import type { Tensor } from '../tensor/tensor.js'
import type { Model } from './model.js'

/** The residual stream, float32 whatever the activations are, and what the last block is yet to add to it: the sum is fused into the next norm. */
export interface Residual {
  x: Tensor
  delta: Tensor | null
}

/**
 * Runs the body of a model: what it starts with, its layers one after the other, and the norm at the end. While a tape records, each layer is
 * kept, or computed again in the backward pass (`model.recompute`); otherwise what one made is freed when the next has read it, and of a pass
 * that is over nothing is left but the hidden states.
 */
export function runLayers(
  model: Model,
  start: () => Residual,
  layer: (i: number, before: Residual) => { x: Tensor; delta: Tensor },
  end: (last: Residual) => Tensor,
): Tensor {
  const { device } = model
  const record = device.tape !== null && !model.frozen
  const after = <T>(before: Residual | null, run: () => T): T => {
    if (record) return run()
    const made = device.tidy(run)
    before?.x.dispose()
    before?.delta?.dispose()
    return made
  }
  let state = after(null, start)
  for (let i = 0; i < model.config.layers; i++) {
    const before = state
    const run = () => layer(i, before)
    const again = record && model.recompute
    state = again ? recompute(before.delta ? [before.x, before.delta] : [before.x], run) : after(before, run)
  }
  const last = state
  return after(last, () => end(last))
}
