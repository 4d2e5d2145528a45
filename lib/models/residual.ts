import { recompute } from '../tensor/recompute.js'
import type { Tensor } from '../tensor/tensor.js'
import type { Model } from './model.js'

/** The residual stream, float32 whatever the activations are, and what the last block is yet to add to it: the sum is fused into the next norm. */
export interface Residual {
  x: Tensor
  delta: Tensor | null
}

/**
 * Runs the layers of a model one after the other. While a tape records, each is kept, or computed again in the backward pass (`model.recompute`);
 * otherwise what a layer made is freed when the next has read it.
 */
export function runLayers(
  model: Model,
  start: Residual,
  layer: (i: number, before: Residual) => { x: Tensor; delta: Tensor },
): Residual {
  const record = model.device.tape !== null && !model.frozen
  let state = start
  for (let i = 0; i < model.config.layers; i++) {
    const before = state
    const run = () => layer(i, before)
    if (record) state = model.recompute ? recompute(before.delta ? [before.x, before.delta] : [before.x], run) : run()
    else {
      state = model.device.tidy(run)
      for (const t of [before.x, before.delta]) t?.dispose()
    }
  }
  return state
}
