import type { Device } from '../tensor/device.js'
import type { FloatDType, Shape, Tensor } from '../tensor/tensor.js'
import type { ModelConfig } from './config.js'
import type { Packed } from './packed.js'

/** Where a model's tensors come from: a checkpoint, or fresh random values. */
export type WeightSource = (name: string, shape: Shape) => Tensor

/** As a family's list of weights asks for them: name and sizes -> tensor, or whatever else is to be known of each. */
export type Declare<T> = (name: string, ...shape: number[]) => T

/** How a layer attends: q [tokens, heads * headDim], k and v [tokens, kvHeads * headDim], rotated -> o like q. */
export type Attend = (layer: number, q: Tensor, k: Tensor, v: Tensor) => Tensor

/** Whether a parameter is of the body, as against a head: every family calls its body so. */
export const isOfBody = (name: string): boolean => name.startsWith('model.')

/** What every family has: parameters by their Hugging Face names, and a forward pass over packed sequences. */
export abstract class Model<C extends ModelConfig = ModelConfig> {
  readonly device: Device
  readonly config: C
  /** dtype of the activations. */
  readonly dtype: FloatDType
  /** By Hugging Face name, in the order of the file. */
  readonly parameters = new Map<string, Tensor>()
  /** Whether training computes each layer again in the backward pass, in place of keeping its activations. */
  recompute = false

  constructor(device: Device, config: C, dtype: FloatDType) {
    this.device = device
    this.config = config
    this.dtype = dtype
  }

  /** Asks the source for a tensor, and keeps it as a parameter. */
  protected declare(source: WeightSource): Declare<Tensor> {
    return (name, ...shape) => {
      const t = source(name, shape)
      this.parameters.set(name, t)
      return t
    }
  }

  /** Marks all parameters as wanting gradients (or not), or those of the head alone: the body is frozen then. */
  trainable(on: boolean | 'head' = true): this {
    for (const [name, t] of this.parameters) t.requiresGrad = on === 'head' ? !isOfBody(name) : on
    return this
  }

  /** Whether nothing of the body wants gradients. */
  get frozen(): boolean {
    for (const [name, t] of this.parameters) if (isOfBody(name) && t.requiresGrad) return false
    return true
  }

  /** Hidden states after the final norm: [tokens, hiddenSize], the model's activation dtype. */
  abstract forward(batch: Packed): Tensor

  /**
   * One vector per sequence from its hidden states, as the family pools: [sequences, hiddenSize].
   * @param hidden what `forward` gave for the same batch
   */
  abstract pool(hidden: Tensor, batch: Packed): Tensor

  /** One vector per sequence: [sequences, hiddenSize]. */
  encode(batch: Packed): Tensor {
    return this.pool(this.forward(batch), batch)
  }

  /**
   * Class logits of a sequence classifier: [sequences, numLabels], float32. A classifier of pairs gives one row for two sequences.
   * @throws ArgumentError for a model without a classification head
   */
  abstract classify(batch: Packed): Tensor

  /** Gives the memory of all parameters back. */
  dispose(): void {
    for (const t of this.parameters.values()) {
      t.grad?.dispose()
      t.dispose()
    }
  }

  /** As `dispose`, for `using`. */
  [Symbol.dispose](): void {
    this.dispose()
  }
}
