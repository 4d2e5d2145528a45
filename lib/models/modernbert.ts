import { ArgumentError, ShapeError } from '../errors.js'
import { attentionQkvPacked } from '../ops/attention.js'
import { cast } from '../ops/elementwise.js'
import { embedding } from '../ops/embedding.js'
import { gegluPacked } from '../ops/geglu.js'
import { addLayerNorm, layerNorm } from '../ops/layerNorm.js'
import { linear } from '../ops/linear.js'
import { firstToken, meanPooling } from '../ops/pooling.js'
import { ropeTable } from '../ops/rope.js'
import type { Device } from '../tensor/device.js'
import type { FloatDType, Tensor } from '../tensor/tensor.js'
import { type Declare, Model, type WeightSource } from './model.js'
import type { ModernBertConfig } from './modernbertConfig.js'
import type { Packed } from './packed.js'
import { type Residual, runLayers } from './residual.js'

/** Weights of one layer. */
interface Layer<T> {
  /** Null in the first layer: the embeddings are normalised already. */
  attentionNorm: T | null
  /** Rows q | k | v. */
  qkv: T
  attentionOut: T
  mlpNorm: T
  /** Rows input | gate. */
  mlpIn: T
  mlpOut: T
}

interface Weights<T> {
  embed: T
  embedNorm: T
  layers: Layer<T>[]
  norm: T
  head: { dense: T; norm: T } | null
  classifier: { weight: T; bias: T } | null
  /** Of the masked-language-model head, whose weight is the embedding. */
  maskedBias: T | null
}

/** Every tensor of a ModernBERT by its Hugging Face name, in the order of the forward pass. */
export function modernBertWeights<T>(config: ModernBertConfig, get: Declare<T>): Weights<T> {
  const { hiddenSize: h, intermediateSize: f, vocabSize, numLabels } = config
  const headed = numLabels !== undefined || !config.bare
  return {
    embed: get('model.embeddings.tok_embeddings.weight', vocabSize, h),
    embedNorm: get('model.embeddings.norm.weight', h),
    layers: Array.from({ length: config.layers }, (_, i) => {
      const p = `model.layers.${i}`
      return {
        attentionNorm: i === 0 ? null : get(`${p}.attn_norm.weight`, h),
        qkv: get(`${p}.attn.Wqkv.weight`, 3 * h, h),
        attentionOut: get(`${p}.attn.Wo.weight`, h, h),
        mlpNorm: get(`${p}.mlp_norm.weight`, h),
        mlpIn: get(`${p}.mlp.Wi.weight`, 2 * f, h),
        mlpOut: get(`${p}.mlp.Wo.weight`, h, f),
      }
    }),
    norm: get('model.final_norm.weight', h),
    head: headed ? { dense: get('head.dense.weight', h, h), norm: get('head.norm.weight', h) } : null,
    classifier:
      numLabels === undefined
        ? null
        : { weight: get('classifier.weight', numLabels, h), bias: get('classifier.bias', numLabels) },
    maskedBias: headed && numLabels === undefined ? get('decoder.bias', vocabSize) : null,
  }
}

/**
 * ModernBERT (Warner et al. 2024, arXiv 2412.13663): a bidirectional encoder of pre-norm layers with LayerNorm without bias, rotary positions,
 * geGLU, and attention that is global in every third layer and local in the others. Its classifier reads one pooled vector through a dense layer.
 */
export class ModernBert extends Model<ModernBertConfig> {
  readonly #weights: Weights<Tensor>
  readonly #globalRope: Tensor
  readonly #localRope: Tensor

  constructor(device: Device, config: ModernBertConfig, source: WeightSource, dtype: FloatDType = 'float32') {
    super(device, config, dtype)
    this.#weights = modernBertWeights(config, this.declare(source))
    const { headDim, maxPositionEmbeddings: maxPositions } = config
    this.#globalRope = ropeTable(device, { headDim, maxPositions, theta: config.globalRopeTheta })
    this.#localRope = ropeTable(device, { headDim, maxPositions, theta: config.localRopeTheta })
  }

  override forward(batch: Packed): Tensor {
    const eps = this.config.normEps
    const { embed, embedNorm, layers, norm } = this.#weights
    return runLayers(
      this,
      () => ({ x: layerNorm(embedding(batch.ids, embed, { dtype: 'float32' }), embedNorm, eps), delta: null }),
      (i, before) => this.#layer(layers[i]!, i, before, batch),
      ({ x, delta }) => addLayerNorm(delta!, x, norm, eps).y,
    )
  }

  #layer(layer: Layer<Tensor>, i: number, { x, delta }: Residual, batch: Packed): { x: Tensor; delta: Tensor } {
    const eps = this.config.normEps
    const before =
      delta && layer.attentionNorm
        ? addLayerNorm(delta, x, layer.attentionNorm, eps)
        : { y: this.dtype === 'float32' ? x : cast(x, this.dtype), sum: x }
    const between = addLayerNorm(this.#attention(layer, i, before.y, batch), before.sum, layer.mlpNorm, eps)
    return { x: between.sum, delta: linear(gegluPacked(linear(between.y, layer.mlpIn)), layer.mlpOut) }
  }

  #attention(layer: Layer<Tensor>, i: number, x: Tensor, { positions, cuSeqlens, maxSeqlen }: Packed): Tensor {
    const { heads, headDim, slidingWindow } = this.config
    const window = slidingWindow?.[i] ?? null
    const qkv = linear(x, layer.qkv)
    const rope = { positions, table: window === null ? this.#globalRope : this.#localRope }
    const out = attentionQkvPacked({ qkv, rope, cuSeqlens, maxSeqlen, heads, kvHeads: heads, headDim, window })
    return linear(out, layer.attentionOut)
  }

  /** The mean of a sequence's states or its first ([CLS]), as `pooling` of the config says. */
  override pool(hidden: Tensor, batch: Packed): Tensor {
    if (batch.spans.some(({ length }) => length === 0))
      throw new ShapeError('pool: a sequence of the batch has no tokens; leave it out')
    return (this.config.pooling === 'cls' ? firstToken : meanPooling)(hidden, batch.cuSeqlens)
  }

  /** norm(gelu(x dense^T)), which both heads begin with. */
  #head(x: Tensor): Tensor {
    const { dense, norm } = this.#weights.head!
    return layerNorm(linear(x, dense, { activation: 'gelu' }), norm, this.config.normEps)
  }

  /**
   * Logits of the masked language model: hidden [rows, hiddenSize] -> [rows, vocabSize].
   * @throws ArgumentError for a body alone or a classifier
   */
  logits(hidden: Tensor): Tensor {
    const { maskedBias, embed } = this.#weights
    if (!maskedBias)
      throw new ArgumentError('logits: the model has no masked-language-model head; load a checkpoint that has it')
    return linear(this.#head(hidden), embed, { bias: maskedBias })
  }

  override classify(batch: Packed): Tensor {
    const { classifier } = this.#weights
    if (!classifier)
      throw new ArgumentError(
        'classify: the model has no classification head; load it with a config that has numLabels',
      )
    const features = this.#head(this.encode(batch))
    return linear(features, classifier.weight, { bias: classifier.bias, dtype: 'float32' })
  }

  override dispose(): void {
    super.dispose()
    this.#globalRope.dispose()
    this.#localRope.dispose()
  }
}
