import type { DecoderConfig } from './decoderConfig.js'
import type { Declare } from './model.js'

/** A projection: weight [out, in], bias [out]. */
export interface Projection<T> {
  weight: T
  bias: T | undefined
}

/** Weights of one layer; q, k, v and gate, up are each apart or together, as the family stores them. */
export interface DecoderLayer<T> {
  inputNorm: T
  qkv: Projection<T> | { q: Projection<T>; k: Projection<T>; v: Projection<T> }
  qNorm: T | undefined
  kNorm: T | undefined
  o: Projection<T>
  postNorm: T
  mlp: { gateUp: T } | { gate: T; up: T }
  down: T
}

/** All weights of a decoder. */
export interface DecoderWeights<T> {
  embed: T
  layers: DecoderLayer<T>[]
  norm: T
  classifier: { dense: Projection<T> | null; score: T } | null
  /** The language-model head's own weight [vocabSize, hiddenSize]; null where it is the embedding, or there is none. */
  head: T | null
}

/** Every tensor of a decoder by its Hugging Face name, in the order of the forward pass. */
export function decoderWeights<T>(config: DecoderConfig, get: Declare<T>): DecoderWeights<T> {
  const { hiddenSize: h, vocabSize, numLabels, classifierHiddenSize: c } = config
  return {
    embed: get('model.embed_tokens.weight', vocabSize, h),
    layers: Array.from({ length: config.layers }, (_, i) => layerWeights(config, `model.layers.${i}`, get)),
    norm: get('model.norm.weight', h),
    classifier:
      numLabels === undefined
        ? null
        : {
            dense:
              c === undefined ? null : { weight: get('score.dense.weight', c, h), bias: get('score.dense.bias', c) },
            score: get('score.weight', numLabels, c ?? h),
          },
    head:
      numLabels !== undefined || config.bare || config.tieWordEmbeddings ? null : get('lm_head.weight', vocabSize, h),
  }
}

function layerWeights<T>(config: DecoderConfig, p: string, get: Declare<T>): DecoderLayer<T> {
  const { hiddenSize: h, intermediateSize: f, heads, kvHeads, headDim } = config
  const projection = (name: string, rows: number, cols: number, biased = false): Projection<T> => ({
    weight: get(`${p}.self_attn.${name}.weight`, rows, cols),
    bias: biased ? get(`${p}.self_attn.${name}.bias`, rows) : undefined,
  })
  const input = (name: string, n: number) => projection(name, n * headDim, h, config.attentionBias)
  const headNorm = (name: string) => (config.qkNorm ? get(`${p}.self_attn.${name}.weight`, headDim) : undefined)
  return {
    inputNorm: get(`${p}.input_layernorm.weight`, h),
    qkv: config.fusedProjections
      ? input('qkv_proj', heads + 2 * kvHeads)
      : { q: input('q_proj', heads), k: input('k_proj', kvHeads), v: input('v_proj', kvHeads) },
    qNorm: headNorm('q_norm'),
    kNorm: headNorm('k_norm'),
    o: projection('o_proj', h, heads * headDim, config.outputBias),
    postNorm: get(`${p}.post_attention_layernorm.weight`, h),
    mlp: config.fusedProjections
      ? { gateUp: get(`${p}.mlp.gate_up_proj.weight`, 2 * f, h) }
      : { gate: get(`${p}.mlp.gate_proj.weight`, f, h), up: get(`${p}.mlp.up_proj.weight`, f, h) },
    down: get(`${p}.mlp.down_proj.weight`, h, f),
  }
}
