import { ArgumentError, ShapeError } from '../errors.js'
import { concat, multiply } from '../ops/elementwise.js'
import { linear } from '../ops/linear.js'
import { gatherRows } from '../ops/pooling.js'
import type { Tensor } from '../tensor/tensor.js'
import type { ModelConfig } from './config.js'
import { type Declare, Model, type WeightSource } from './model.js'
import type { Packed } from './packed.js'

/** Weights of the head: a dense layer where the towers are concatenated, none where they are multiplied. */
interface HeadWeights<T> {
  dense: { weight: T; bias: T } | null
  score: T
}

/** The head's tensors by name, beside those of the body, whose names say nothing to transformers: it loads the body and leaves them. */
export function twoTowerWeights<T>(
  { hiddenSize: h, numLabels, twoTower }: ModelConfig,
  get: Declare<T>,
): HeadWeights<T> {
  if (!twoTower || numLabels === undefined)
    throw new ArgumentError('two towers need a config with twoTower and numLabels; give both')
  if (twoTower.interaction === 'dot') return { dense: null, score: get('two_tower.score.weight', numLabels, h) }
  const { hiddenSize: c } = twoTower
  return {
    dense: { weight: get('two_tower.dense.weight', c, 2 * h), bias: get('two_tower.dense.bias', c) },
    score: get('two_tower.score.weight', numLabels, c),
  }
}

/**
 * A classifier of pairs (LANTERN, section 3.4.2): one encoder reads each text of a pair alone, and a small head compares the two vectors u and v.
 * `concat` is gelu([u; v] dense^T + bias) score^T, `dot` is (u * v) score^T, one weighted similarity for each class. A text that meets many
 * others is encoded once.
 */
export class TwoTower extends Model {
  /** Of any family, without a head. */
  readonly encoder: Model
  readonly #head: HeadWeights<Tensor>

  constructor(encoder: Model, config: ModelConfig, source: WeightSource) {
    super(encoder.device, config, encoder.dtype)
    this.encoder = encoder
    for (const [name, t] of encoder.parameters) this.parameters.set(name, t)
    this.#head = twoTowerWeights(config, this.declare(source))
  }

  override forward(batch: Packed): Tensor {
    this.encoder.recompute = this.recompute
    return this.encoder.forward(batch)
  }

  override pool(hidden: Tensor, batch: Packed): Tensor {
    return this.encoder.pool(hidden, batch)
  }

  /**
   * Class logits of pairs of encoded texts: [pairs, numLabels], float32.
   * @param u [pairs, hiddenSize], of the job posts
   * @param v [pairs, hiddenSize], of the profiles
   */
  compare(u: Tensor, v: Tensor): Tensor {
    const { dense, score } = this.#head
    const features = dense
      ? linear(concat(u, v), dense.weight, { bias: dense.bias, activation: 'gelu' })
      : multiply(u, v)
    return linear(features, score, { dtype: 'float32' })
  }

  /**
   * Class logits of the pairs of a batch: [sequences / 2, numLabels], float32.
   * @param batch job post, profile, job post, profile ...: both towers in one pass
   * @throws ShapeError for an odd number of sequences
   */
  override classify(batch: Packed): Tensor {
    const { sequences } = batch
    if (sequences % 2 !== 0)
      throw new ShapeError(
        `classify: two towers take pairs, but there are ${sequences} sequences; give two for each pair`,
      )
    const pooled = this.encode(batch)
    const every = (first: number) =>
      this.device.tensor(Int32Array.from({ length: sequences / 2 }, (_, i) => 2 * i + first))
    return this.compare(gatherRows(pooled, every(0)), gatherRows(pooled, every(1)))
  }

  override dispose(): void {
    super.dispose()
    this.encoder.dispose() // it holds tables, too
  }
}
