import { ArgumentError } from '../errors.js'
import { attention } from '../ops/attention.js'
import { embedding } from '../ops/embedding.js'
import { linear } from '../ops/linear.js'
import { lastToken, meanPooling } from '../ops/pooling.js'
import { addRmsNorm, headRmsNorm, rmsNorm } from '../ops/rmsNorm.js'
import { rope, ropeQkvPacked } from '../ops/rope.js'
import { swiglu, swigluPacked } from '../ops/swiglu.js'
import type { Device } from '../tensor/device.js'
import type { FloatDType, Tensor } from '../tensor/tensor.js'
import type { DecoderConfig } from './decoderConfig.js'
import { decoderRope, type PositionTable } from './decoderRope.js'
import { type DecoderLayer, type DecoderWeights, decoderWeights } from './decoderWeights.js'
import { type Attend, Model, type WeightSource } from './model.js'
import type { Packed } from './packed.js'
import { type Residual, runLayers } from './residual.js'

/**
 * The decoder that Qwen2, Qwen3, Phi-3 and gte-Qwen2 are: pre-norm layers with RMSNorm, grouped-query attention, rotate-half RoPE and SwiGLU;
 * tied or untied head; optionally a sequence classifier on one pooled vector. What sets the families apart are flags of the config.
 */
export class Decoder extends Model<DecoderConfig> {
  readonly #weights: DecoderWeights<Tensor>
  readonly #rope: PositionTable

  constructor(device: Device, config: DecoderConfig, source: WeightSource, dtype: FloatDType = 'float32') {
    super(device, config, dtype)
    this.#weights = decoderWeights(config, this.declare(source))
    this.#rope = decoderRope(device, config)
  }

  /** The head's weight [vocabSize, hiddenSize], which is the embedding where tied. */
  get headWeight(): Tensor {
    return this.#weights.head ?? this.#weights.embed
  }

  /** @param attend replaces the attention over the packed sequences, for generation with a cache */
  override forward(batch: Packed, attend: Attend = this.#packed(batch)): Tensor {
    const eps = this.config.rmsNormEps
    const { embed, layers, norm } = this.#weights
    const positions = this.#rope.positions(batch)
    return runLayers(
      this,
      () => ({ x: embedding(batch.ids, embed, { dtype: 'float32' }), delta: null }),
      (i, before) => this.#layer(layers[i]!, i, before, positions, attend),
      ({ x, delta }) => (delta ? addRmsNorm(delta, x, norm, eps).y : rmsNorm(x, norm, eps, { dtype: this.dtype })),
    )
  }

  #layer(
    layer: DecoderLayer<Tensor>,
    i: number,
    { x, delta }: Residual,
    positions: Tensor,
    attend: Attend,
  ): { x: Tensor; delta: Tensor } {
    const eps = this.config.rmsNormEps
    const before = delta
      ? addRmsNorm(delta, x, layer.inputNorm, eps)
      : { y: rmsNorm(x, layer.inputNorm, eps, { dtype: this.dtype }), sum: x }
    const attended = this.#attention(layer, i, before.y, positions, attend)
    const between = addRmsNorm(attended, before.sum, layer.postNorm, eps)
    const { mlp } = layer
    const activated =
      'gateUp' in mlp
        ? swigluPacked(linear(between.y, mlp.gateUp))
        : swiglu(linear(between.y, mlp.gate), linear(between.y, mlp.up))
    return { x: between.sum, delta: linear(activated, layer.down) }
  }

  #attention(layer: DecoderLayer<Tensor>, i: number, x: Tensor, positions: Tensor, attend: Attend): Tensor {
    const { q, k, v } = this.#project(layer, x, positions)
    return linear(attend(i, q, k, v), layer.o.weight, { bias: layer.o.bias })
  }

  /** Queries, keys and values, the first two rotated. */
  #project(layer: DecoderLayer<Tensor>, x: Tensor, positions: Tensor): { q: Tensor; k: Tensor; v: Tensor } {
    const { heads, kvHeads, headDim, rmsNormEps } = this.config
    const { qkv, qNorm, kNorm } = layer
    const { table } = this.#rope
    if ('weight' in qkv)
      return ropeQkvPacked({
        qkv: linear(x, qkv.weight, { bias: qkv.bias }),
        heads,
        kvHeads,
        headDim,
        positions,
        table,
      })
    const q = linear(x, qkv.q.weight, { bias: qkv.q.bias })
    const k = linear(x, qkv.k.weight, { bias: qkv.k.bias })
    const v = linear(x, qkv.v.weight, { bias: qkv.v.bias })
    const rotated = rope({
      q: qNorm ? headRmsNorm(q, qNorm, rmsNormEps) : q,
      k: kNorm ? headRmsNorm(k, kNorm, rmsNormEps) : k,
      positions,
      table,
      headDim,
    })
    return { ...rotated, v }
  }

  #packed(batch: Packed): Attend {
    const { heads, kvHeads, headDim, causal, slidingWindow } = this.config
    return (layer, q, k, v) =>
      attention({
        q,
        k,
        v,
        cuSeqlens: batch.cuSeqlens,
        maxSeqlen: batch.maxSeqlen,
        heads,
        kvHeads,
        headDim,
        causal,
        window: slidingWindow?.[layer] ?? null,
      })
  }

  /**
   * Logits of a causal language model: hidden [rows, hiddenSize] -> [rows, vocabSize].
   * @throws ArgumentError for a body without a head
   */
  logits(hidden: Tensor): Tensor {
    if (this.config.bare)
      throw new ArgumentError('logits: the model is a body without a language-model head; give a language model')
    return linear(hidden, this.headWeight)
  }

  /** The last token of each sequence, which in a causal model has seen all of it; or the mean, where `pooling` of the config says so. */
  override pool(hidden: Tensor, batch: Packed): Tensor {
    return (this.config.pooling === 'mean' ? meanPooling : lastToken)(hidden, batch.cuSeqlens)
  }

  override classify(batch: Packed): Tensor {
    const { classifier } = this.#weights
    if (!classifier)
      throw new ArgumentError(
        'classify: the model has no classification head; load it with a config that has numLabels',
      )
    const { dense, score } = classifier
    const pooled = this.encode(batch)
    const features = dense ? linear(pooled, dense.weight, { bias: dense.bias, activation: 'gelu' }) : pooled
    return linear(features, score, { dtype: 'float32' })
  }

  override dispose(): void {
    super.dispose()
    this.#rope.table.dispose()
  }
}
