import { ArgumentError } from '../errors.js'
import { attention } from '../ops/attention.js'
import { embedding } from '../ops/embedding.js'
import { linear } from '../ops/linear.js'
import { lastToken } from '../ops/pooling.js'
import { addRmsNorm, rmsNorm } from '../ops/rmsNorm.js'
import { rope, ropeTable } from '../ops/rope.js'
import { swiglu } from '../ops/swiglu.js'
import type { Device } from '../tensor/device.js'
import { recompute } from '../tensor/recompute.js'
import { recording } from '../tensor/tape.js'
import type { FloatDType, Shape, Tensor } from '../tensor/tensor.js'
import type { DecoderConfig } from './config.js'
import type { Packed } from './packed.js'

/** Where a model's tensors come from: a checkpoint, or fresh random values. */
export type WeightSource = (name: string, shape: Shape) => Tensor

/** How a layer attends: q [tokens, heads * headDim], k and v [tokens, kvHeads * headDim], rotated -> o like q. */
export type Attend = (layer: number, q: Tensor, k: Tensor, v: Tensor) => Tensor

interface Layer {
  inputNorm: Tensor
  q: Tensor
  qBias: Tensor | undefined
  k: Tensor
  kBias: Tensor | undefined
  v: Tensor
  vBias: Tensor | undefined
  o: Tensor
  postNorm: Tensor
  gate: Tensor
  up: Tensor
  down: Tensor
}

/** The residual stream, float32 whatever the activations are, and what the last block is yet to add to it: the sum is fused into the next norm. */
interface Residual {
  x: Tensor
  delta: Tensor | null
}

/**
 * The Qwen2 family (Qwen2.5 of any size): pre-norm decoder with RMSNorm, grouped-query attention with q, k, v biases, rotate-half RoPE
 * and SwiGLU; tied or untied head; optionally a sequence classifier on the last token. Parameters carry their Hugging Face names.
 */
export class Qwen2 {
  readonly config: DecoderConfig
  readonly device: Device
  /** By Hugging Face name, in the order of the file. */
  readonly parameters = new Map<string, Tensor>()
  /** dtype of the activations. */
  readonly dtype: FloatDType
  /** Whether training computes each layer again in the backward pass, in place of keeping its activations. */
  recompute = false
  readonly #embed: Tensor
  readonly #layers: Layer[]
  readonly #norm: Tensor
  readonly #rope: Tensor
  readonly #classifier: { dense: Tensor | null; denseBias: Tensor | null; score: Tensor } | null
  /** The head's weight [vocabSize, hiddenSize], which is the embedding where tied. */
  readonly headWeight: Tensor

  constructor(device: Device, config: DecoderConfig, source: WeightSource, dtype: FloatDType = 'float32') {
    this.device = device
    this.config = config
    this.dtype = dtype
    const { hiddenSize: h, intermediateSize: f, vocabSize, heads, kvHeads, headDim } = config
    const get = (name: string, ...shape: number[]) => {
      const t = source(name, shape)
      this.parameters.set(name, t)
      return t
    }
    this.#embed = get('model.embed_tokens.weight', vocabSize, h)
    this.#layers = Array.from({ length: config.layers }, (_, i): Layer => {
      const p = `model.layers.${i}.`
      const bias = (name: string, n: number) =>
        config.attentionBias ? get(`${p}self_attn.${name}.bias`, n) : undefined
      return {
        inputNorm: get(`${p}input_layernorm.weight`, h),
        q: get(`${p}self_attn.q_proj.weight`, heads * headDim, h),
        qBias: bias('q_proj', heads * headDim),
        k: get(`${p}self_attn.k_proj.weight`, kvHeads * headDim, h),
        kBias: bias('k_proj', kvHeads * headDim),
        v: get(`${p}self_attn.v_proj.weight`, kvHeads * headDim, h),
        vBias: bias('v_proj', kvHeads * headDim),
        o: get(`${p}self_attn.o_proj.weight`, h, heads * headDim),
        postNorm: get(`${p}post_attention_layernorm.weight`, h),
        gate: get(`${p}mlp.gate_proj.weight`, f, h),
        up: get(`${p}mlp.up_proj.weight`, f, h),
        down: get(`${p}mlp.down_proj.weight`, h, f),
      }
    })
    this.#norm = get('model.norm.weight', h)
    const { numLabels, classifierHiddenSize: c } = config
    this.#classifier =
      numLabels === undefined
        ? null
        : {
            dense: c === undefined ? null : get('score.dense.weight', c, h),
            denseBias: c === undefined ? null : get('score.dense.bias', c),
            score: get('score.weight', numLabels, c ?? h),
          }
    this.headWeight =
      config.numLabels !== undefined || config.tieWordEmbeddings ? this.#embed : get('lm_head.weight', vocabSize, h)
    this.#rope = device.persistent(() =>
      ropeTable(device, { headDim, theta: config.ropeTheta, maxPositions: config.maxPositionEmbeddings }),
    )
  }

  /** Marks all parameters as wanting gradients (or not). */
  trainable(on = true): this {
    for (const t of this.parameters.values()) t.requiresGrad = on
    return this
  }

  /**
   * Hidden states after the final norm.
   * @param attend replaces the attention over the packed sequences, for generation with a cache
   * @returns [tokens, hiddenSize], the model's activation dtype
   */
  forward(batch: Packed, attend: Attend = this.#packed(batch)): Tensor {
    const eps = this.config.rmsNormEps
    const record = recording(...this.parameters.values())
    let state: Residual = { x: embedding(batch.ids, this.#embed, { dtype: 'float32' }), delta: null }
    this.#layers.forEach((layer, i) => {
      const before = state
      const run = () => this.#layer(layer, i, before, batch.positions, attend)
      if (record) state = this.recompute ? recompute(before.delta ? [before.x, before.delta] : [before.x], run) : run()
      else {
        state = this.device.tidy(run) // what no backward pass will need is freed layer by layer
        for (const t of [before.x, before.delta]) t?.dispose()
      }
    })
    const { x, delta } = state
    return delta ? addRmsNorm(delta, x, this.#norm, eps).y : rmsNorm(x, this.#norm, eps, { dtype: this.dtype })
  }

  #layer(
    layer: Layer,
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
    const activated = swiglu(linear(between.y, layer.gate), linear(between.y, layer.up))
    return { x: between.sum, delta: linear(activated, layer.down) }
  }

  #attention(layer: Layer, i: number, x: Tensor, positions: Tensor, attend: Attend): Tensor {
    const q = linear(x, layer.q, { bias: layer.qBias })
    const k = linear(x, layer.k, { bias: layer.kBias })
    const v = linear(x, layer.v, { bias: layer.vBias })
    const rotated = rope({ q, k, positions, table: this.#rope, headDim: this.config.headDim })
    return linear(attend(i, rotated.q, rotated.k, v), layer.o)
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

  /** Logits of a causal language model: hidden [rows, hiddenSize] -> [rows, vocabSize]. */
  logits(hidden: Tensor): Tensor {
    return linear(hidden, this.headWeight)
  }

  /**
   * Class logits of a sequence classifier: [sequences, numLabels], float32, from the last token of each sequence through the head, linear or an MLP.
   * @throws ArgumentError for a language model
   */
  classify(batch: Packed): Tensor {
    if (!this.#classifier)
      throw new ArgumentError(
        'classify: the model has no classification head; load it with a config that has numLabels',
      )
    const { dense, denseBias, score } = this.#classifier
    const pooled = lastToken(this.forward(batch), batch.cuSeqlens)
    const features = dense ? linear(pooled, dense, { bias: denseBias, activation: 'gelu' }) : pooled
    return linear(features, score, { dtype: 'float32' })
  }

  /** Gives the memory of all parameters back. */
  dispose(): void {
    for (const t of this.parameters.values()) {
      t.grad?.dispose()
      t.dispose()
    }
    this.#rope.dispose()
  }

  /** As `dispose`, for `using`. */
  [Symbol.dispose](): void {
    this.dispose()
  }
}
