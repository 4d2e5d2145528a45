import { needsGrad, Tape } from './tape.js'
import type { Tensor } from './tensor.js'

/**
 * Runs `fn` without keeping what a backward pass would need of it: that pass runs `fn` again, with the same bits. Trades a second forward pass
 * for the memory of its activations (gradient checkpointing; Chen et al. 2016, arXiv 1604.06174). Outside a tape it just runs `fn`.
 *
 * @param inputs tensors that `fn` works on and that ops on the tape have made; leaves (parameters) need not be among them
 * @param fn a pure function of `inputs` and leaves; at least one of those wants gradients
 * @returns what `fn` returns
 */
export function recompute<T extends Record<string, Tensor>>(inputs: readonly Tensor[], fn: () => T): T {
  const { device } = inputs[0]!
  const { tape } = device
  if (!tape) return fn()
  device.tape = null
  const result = device.tidy(fn)
  device.tape = tape
  const wanting = inputs.filter(needsGrad)
  tape.record({
    name: 'recompute',
    inputs: wanting,
    outputs: Object.values(result),
    backward: (grads) => {
      using again = new Tape(device)
      return again.gradients(Object.values(fn()), grads, wanting)
    },
  })
  return result
}
