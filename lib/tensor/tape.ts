import { DeviceError } from '../errors.js'
import type { Device } from './device.js'
import { dtypeCode, type Tensor } from './tensor.js'

/** One recorded op: how gradients of its outputs become gradients of its inputs. */
export interface TapeNode {
  /** Name of the op, for messages. */
  name: string
  inputs: readonly (Tensor | null)[]
  outputs: readonly Tensor[]
  /** Tensors besides inputs and outputs that the backward rule needs; disposed of after it. */
  saved?: readonly (Tensor | null)[]
  /**
   * Gets one gradient per output (null: none reached it), returns one per input (null: none, or added in place into `gradOf(input)`).
   * The returned tensors belong to the tape.
   */
  backward(grads: readonly (Tensor | null)[]): readonly (Tensor | null)[]
}

/**
 * Records ops while it is open, then walks them backwards:
 *
 *     using tape = new Tape(device)
 *     const { loss } = linearCrossEntropy(...)
 *     tape.backward(loss)
 *
 * `backward` frees activations as it goes: after a node's rule has run, its outputs, saved tensors and output gradients are disposed of.
 * Gradients of leaves (tensors with `requiresGrad` that no op made) are added into `tensor.grad`, float32.
 */
export class Tape {
  readonly device: Device
  #nodes: TapeNode[] = []
  /** Tensors made by recorded nodes: anything else with requiresGrad is a leaf. */
  #made = new Set<Tensor>()
  readonly #outer: Tape | null

  constructor(device: Device) {
    this.device = device
    this.#outer = device.tape
    device.tape = this
  }

  /** Adds a node and marks its outputs as needing gradients. */
  record(node: TapeNode): void {
    this.#nodes.push(node)
    for (const t of node.outputs) {
      t.requiresGrad = true
      this.#made.add(t)
    }
  }

  /**
   * Back-propagates from `loss`, whose own gradient is 1 (`grad` gives another, of its shape). The tape is empty afterwards.
   * @throws DeviceError when `loss` was not computed on this tape.
   */
  backward(loss: Tensor, grad?: Tensor): void {
    if (!this.#made.has(loss))
      throw new DeviceError(
        'ERR_TAPE',
        'backward: the loss was not computed on this tape from a tensor with requiresGrad',
      )
    const grads = new Gradients()
    const one = grad ?? this.device.tensor([1], loss.shape)
    grads.add(loss, one)
    this.#walk(grads, loss)
    if (!grad) one.dispose()
  }

  /**
   * Back-propagates from several tensors, whose gradients are given (null: none), to `inputs`, and returns theirs (null: none reached them).
   * Leaves beside them get theirs added as by `backward`. The tape is empty afterwards, and `outputs` are disposed of.
   */
  gradients(
    outputs: readonly Tensor[],
    outgoing: readonly (Tensor | null)[],
    inputs: readonly Tensor[],
  ): (Tensor | null)[] {
    const grads = new Gradients()
    outputs.forEach((t, i) => {
      const g = outgoing[i]
      if (!g) return
      grads.hold(g) // it is the caller's: nothing may be added into it, nor is it disposed of here
      grads.add(t, g)
    })
    for (const t of inputs) this.#made.add(t)
    this.#walk(grads, null)
    return inputs.map((t) => grads.get(t))
  }

  #walk(grads: Gradients, loss: Tensor | null): void {
    if (this.device.tape === this) this.device.tape = this.#outer // rules run ops of their own: they are not recorded
    const nodes = this.#nodes
    this.#nodes = []
    for (let i = nodes.length - 1; i >= 0; i--) this.#step(nodes[i]!, grads, loss)
    this.#made.clear()
  }

  #step(node: TapeNode, grads: Gradients, loss: Tensor | null): void {
    const incoming = node.outputs.map((t) => grads.get(t))
    if (incoming.some((g) => g !== null)) {
      const outgoing = node.backward(incoming)
      for (const g of outgoing) if (g) grads.hold(g)
      node.inputs.forEach((input, k) => {
        const g = outgoing[k]
        if (!g || !input?.requiresGrad) return
        if (this.#made.has(input)) grads.add(input, g)
        else accumulate(gradOf(input), gradOf(input), g)
      })
      for (const g of outgoing) if (g) grads.release(g)
    }
    for (const t of node.outputs) {
      if (t === loss) continue // the caller reads it
      grads.remove(t)
      t.dispose()
    }
    for (const t of node.saved ?? []) t?.dispose()
  }

  /** Stops recording and gives back what no backward pass has. */
  [Symbol.dispose](): void {
    if (this.device.tape === this) this.device.tape = this.#outer
    for (const node of this.#nodes) {
      for (const t of node.outputs) t.dispose()
      for (const t of node.saved ?? []) t?.dispose()
    }
    this.#nodes = []
    this.#made.clear()
  }
}

/** Gradients under way. One tensor may be the gradient of several (a residual hands it on unchanged), so each counts its uses. */
class Gradients {
  #of = new Map<Tensor, Tensor>()
  #uses = new Map<Tensor, number>()

  get(t: Tensor): Tensor | null {
    return this.#of.get(t) ?? null
  }

  hold(g: Tensor): void {
    this.#uses.set(g, (this.#uses.get(g) ?? 0) + 1)
  }

  release(g: Tensor): void {
    const left = this.#uses.get(g)! - 1
    if (left > 0) this.#uses.set(g, left)
    else {
      this.#uses.delete(g)
      g.dispose()
    }
  }

  /** Adds `g` to the gradient of `t`; in place only where nobody else uses the tensor. */
  add(t: Tensor, g: Tensor): void {
    const before = this.#of.get(t)
    if (!before) {
      this.#of.set(t, g)
      this.hold(g)
      return
    }
    if (this.#uses.get(before) === 1) {
      accumulate(before, before, g)
      return
    }
    const sum = before.device.empty(before.shape, before.dtype)
    accumulate(sum, before, g)
    this.#of.set(t, sum)
    this.hold(sum)
    this.release(before)
  }

  remove(t: Tensor): void {
    const g = this.#of.get(t)
    if (!g) return
    this.#of.delete(t)
    this.release(g)
  }
}

/** y = a + b, whatever their float dtypes; y may be a or b. */
function accumulate(y: Tensor, a: Tensor, b: Tensor): void {
  const dtypes = { aDtype: dtypeCode(a.dtype), bDtype: dtypeCode(b.dtype), dtype: dtypeCode(y.dtype) }
  y.device.launch('addScaled', { a, b, y, count: y.size, ...dtypes, alpha: 1, beta: 1 })
}

/** Whether a gradient is to be computed for `t`. */
export const needsGrad = (t: Tensor | null | undefined): t is Tensor => t?.requiresGrad === true

/** Whether ops on these inputs are to be recorded: a tape is open and one of them needs a gradient. */
export function recording(...inputs: (Tensor | null | undefined)[]): boolean {
  const device = inputs.find((t) => t)?.device
  return device?.tape != null && inputs.some(needsGrad)
}

/** The gradient of a leaf, float32 of its shape; zeros at the first call. It outlives scopes and tapes. */
export function gradOf(leaf: Tensor): Tensor {
  leaf.grad ??= leaf.device.persistent(() => leaf.device.zeros(leaf.shape, 'float32'))
  return leaf.grad
}
