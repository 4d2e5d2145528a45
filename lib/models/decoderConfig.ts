import { z } from 'zod'
import {
  type Complain,
  type ModelConfig,
  parseKeys,
  sharedConfig,
  sharedJson,
  sharedKeys,
  size,
  taskSuffix,
} from './config.js'

/** Shape and constants of a decoder: one forward pass (decoder.ts), and what sets a family apart from another as flags. */
export interface DecoderConfig extends ModelConfig {
  modelType: 'qwen2' | 'qwen3' | 'phi3'
  /** Default last. */
  pooling?: 'last' | 'mean'
  ropeTheta: number
  /** Frequencies of a stretched context (longrope); absent: plain. */
  ropeScaling?: LongRope
  rmsNormEps: number
  /** Whether the head's weight is the embedding; the file then holds no `lm_head.weight`. */
  tieWordEmbeddings: boolean
  /** Whether q, k and v have biases. */
  attentionBias: boolean
  /** Whether the projection after attention has one too. */
  outputBias?: boolean
  /** Whether every head of q and k passes an RMSNorm of its own before it is rotated. */
  qkNorm?: boolean
  /** Whether q, k, v are one projection (rows q | k | v), and gate and up another (rows gate, then up). */
  fusedProjections?: boolean
  /** Set for a body alone: neither a language-model head nor a classifier (an embedding model). */
  bare?: boolean
  /**
   * Set for a classifier with an MLP head, gelu(x score.dense^T + bias) score^T: the size of its hidden layer. Ours alone (transformers' head
   * is linear), stored as `classifier_hidden_size`.
   */
  classifierHiddenSize?: number
}

/** Rotary frequencies divided pair by pair (LongRoPE, Ding et al. 2024, arXiv 2402.13753), as Phi-3 uses them. */
export interface LongRope {
  /** [headDim / 2] divisors for contexts up to `originalMaxPositions`. */
  shortFactor: readonly number[]
  /** [headDim / 2] divisors for longer ones. */
  longFactor: readonly number[]
  /** What the model was first trained for. */
  originalMaxPositions: number
  /** Multiplies every cosine and sine; default sqrt(1 + ln(stretch) / ln(originalMaxPositions)), see `longRopeAmplitude`. */
  attentionFactor?: number
}

/** What a decoder family adds to the shared keys of config.json. */
export interface DecoderFamily {
  modelType: DecoderConfig['modelType']
  /** Prefix of the class names in `architectures`. */
  className: string
  /** Values that files of this family leave out. */
  defaults?: Partial<Raw>
  /** Flags of the config that this family sets. */
  flags(raw: Raw): Partial<DecoderConfig>
  /** Per layer, the sliding window; null where there is none. */
  windows(raw: Raw): (number | null)[]
  /** Keys of config.json beyond the shared ones. */
  write?(config: DecoderConfig): Record<string, unknown>
}

const factors = z.array(z.number().positive().max(1e6)).min(1).max(4096)

const rope = z.looseObject({
  rope_type: z.string().optional(),
  type: z.string().optional(),
  rope_theta: z.number().positive().max(1e12).optional(),
  partial_rotary_factor: z.number().optional(),
  short_factor: factors.optional(),
  long_factor: factors.optional(),
  attention_factor: z.number().positive().max(100).nullish(),
  original_max_position_embeddings: size(2 ** 27).optional(),
})

const schema = z.looseObject({
  ...sharedKeys,
  num_key_value_heads: size(4096).nullish(),
  head_dim: size(4096).nullish(),
  hidden_act: z.literal('silu').default('silu'),
  max_position_embeddings: size(2 ** 27).default(32768),
  original_max_position_embeddings: size(2 ** 27).nullish(),
  rms_norm_eps: z.number().positive().max(0.1).default(1e-6),
  rope_theta: z.number().positive().max(1e12).optional(),
  rope_parameters: rope.nullish(),
  rope_scaling: rope.nullish(),
  partial_rotary_factor: z.number().nullish(),
  tie_word_embeddings: z.boolean().default(false),
  attention_bias: z.boolean().default(false),
  use_sliding_window: z.boolean().default(false),
  sliding_window: size(2 ** 27).nullish(),
  max_window_layers: z.int().min(0).default(28),
  layer_types: z.array(z.enum(['full_attention', 'sliding_attention'])).nullish(),
  is_causal: z.boolean().nullish(),
  classifier_hidden_size: size(2 ** 17).nullish(),
  classifier_pooling: z.enum(['last', 'mean']).nullish(),
})

export type Raw = z.output<typeof schema>

/**
 * Checks the content of a decoder's config.json, in the dialect of transformers 4 (`rope_theta`, `torch_dtype`) or 5 (`rope_parameters`,
 * `dtype`, `layer_types`). Keys that do not change what the model computes are ignored.
 * @throws ConfigError naming every key that is missing or wrong
 */
export function parseDecoder(family: DecoderFamily, json: unknown, file: string): DecoderConfig {
  const given = typeof json === 'object' && json !== null ? { ...family.defaults, ...json } : json
  const raw = parseKeys(schema, given, file, checkDecoder)
  const shared = sharedConfig(raw)
  const windows = family.windows(raw)
  const longrope = longRopeOf(raw)
  return {
    modelType: family.modelType,
    ...shared,
    kvHeads: raw.num_key_value_heads ?? raw.num_attention_heads,
    headDim: headDimOf(raw),
    ropeTheta: raw.rope_parameters?.rope_theta ?? raw.rope_scaling?.rope_theta ?? raw.rope_theta ?? 10_000,
    ...(longrope && { ropeScaling: longrope }),
    rmsNormEps: raw.rms_norm_eps,
    tieWordEmbeddings: raw.tie_word_embeddings,
    slidingWindow: windows.some((w) => w !== null) ? windows : null,
    maxPositionEmbeddings: raw.max_position_embeddings,
    causal: raw.is_causal ?? true,
    attentionBias: false,
    ...(isBare(raw) && { bare: true }),
    ...(raw.classifier_pooling && { pooling: raw.classifier_pooling }),
    ...(shared.numLabels !== undefined &&
      raw.classifier_hidden_size != null && { classifierHiddenSize: raw.classifier_hidden_size }),
    ...family.flags(raw),
  }
}

/** Whether the file holds a body alone: all that `architectures` names are models without a head. */
const isBare = ({ architectures }: Raw): boolean =>
  architectures != null && architectures.length > 0 && architectures.every((name) => name.endsWith('Model'))

function checkDecoder(raw: Raw, wrong: Complain): void {
  const { hidden_size: hidden, num_attention_heads: heads, num_key_value_heads: kvHeads, layer_types: types } = raw
  if (kvHeads != null && heads % kvHeads !== 0)
    wrong('num_key_value_heads', `${kvHeads} does not divide num_attention_heads ${heads}`)
  if (raw.head_dim == null && hidden % heads !== 0)
    wrong('hidden_size', `${hidden} is no multiple of num_attention_heads ${heads}, and there is no head_dim`)
  else if (headDimOf(raw) % 2 !== 0)
    wrong(
      raw.head_dim == null ? 'hidden_size' : 'head_dim',
      `heads of ${headDimOf(raw)} are odd; rotary embeddings need pairs`,
    )
  if (types != null && types.length !== raw.num_hidden_layers)
    wrong('layer_types', `${types.length} entries for num_hidden_layers ${raw.num_hidden_layers}`)
  checkRope(raw, wrong)
}

const ropeType = (value: Raw['rope_scaling']): string => value?.rope_type ?? value?.type ?? 'default'

function checkRope(raw: Raw, wrong: Complain): void {
  for (const key of ['rope_parameters', 'rope_scaling'] as const) {
    const type = ropeType(raw[key])
    if (type === 'longrope' || type === 'su') checkFactors(raw, key, wrong)
    else if (type !== 'default')
      wrong(
        `${key}.rope_type`,
        `${JSON.stringify(type)} is not supported; remove the scaling to use the model up to its native length`,
      )
  }
  for (const [key, part] of [
    ['partial_rotary_factor', raw.partial_rotary_factor],
    ['rope_parameters.partial_rotary_factor', raw.rope_parameters?.partial_rotary_factor],
  ] as const)
    if (part != null && part !== 1) wrong(key, `${part} is not supported: heads are rotated whole`)
}

function checkFactors(raw: Raw, key: 'rope_parameters' | 'rope_scaling', wrong: Complain): void {
  const half = headDimOf(raw) / 2
  for (const name of ['short_factor', 'long_factor'] as const) {
    const list = raw[key]![name]
    if (!list) wrong(`${key}.${name}`, 'is missing')
    else if (list.length !== half) wrong(`${key}.${name}`, `${list.length} factors for head_dim / 2 = ${half}`)
  }
}

function longRopeOf(raw: Raw): LongRope | undefined {
  const scaling = [raw.rope_parameters, raw.rope_scaling].find((value) => ropeType(value) !== 'default')
  if (!scaling) return undefined
  return {
    shortFactor: scaling.short_factor!,
    longFactor: scaling.long_factor!,
    originalMaxPositions:
      raw.original_max_position_embeddings ?? scaling.original_max_position_embeddings ?? raw.max_position_embeddings,
    ...(scaling.attention_factor != null && { attentionFactor: scaling.attention_factor }),
  }
}

/** What longrope multiplies cosines and sines by: sqrt(1 + ln(stretch) / ln(original length)), 1 where nothing is stretched. */
export function longRopeAmplitude(rope: LongRope, maxPositions: number): number {
  if (rope.attentionFactor !== undefined) return rope.attentionFactor
  const stretch = maxPositions / rope.originalMaxPositions
  return stretch <= 1 ? 1 : Math.sqrt(1 + Math.log(stretch) / Math.log(rope.originalMaxPositions))
}

const headDimOf = (raw: Raw): number => raw.head_dim ?? raw.hidden_size / raw.num_attention_heads

/** The windows of families where only layers from `max_window_layers` on slide, and only if `use_sliding_window` says so. */
export function optionalWindows(raw: Raw): (number | null)[] {
  const window = (raw.use_sliding_window ? raw.sliding_window : null) ?? null
  const slides = (i: number) =>
    raw.layer_types ? raw.layer_types[i] === 'sliding_attention' : i >= raw.max_window_layers
  return Array.from({ length: raw.num_hidden_layers }, (_, i) => (slides(i) ? window : null))
}

/** The content of a config.json that transformers 4 and 5, vLLM and llama.cpp's converter read: both dialects, saying the same. */
export function writeDecoder(family: DecoderFamily, config: DecoderConfig): Record<string, unknown> {
  const windows = config.slidingWindow
  return {
    architectures: [`${family.className}${taskSuffix(config, 'ForCausalLM')}`],
    ...sharedJson(config),
    num_key_value_heads: config.kvHeads,
    head_dim: config.headDim,
    hidden_act: 'silu',
    max_position_embeddings: config.maxPositionEmbeddings,
    rms_norm_eps: config.rmsNormEps,
    ...ropeJson(config),
    tie_word_embeddings: config.tieWordEmbeddings,
    use_sliding_window: windows !== null,
    sliding_window: windows?.find((w) => w !== null) ?? null,
    // transformers 4 before layer_types: the layers from this one on slide
    max_window_layers: windows ? windows.findIndex((w) => w !== null) : config.layers,
    layer_types: Array.from({ length: config.layers }, (_, i) =>
      windows?.[i] != null ? 'sliding_attention' : 'full_attention',
    ),
    is_causal: config.causal,
    attention_dropout: 0,
    initializer_range: 0.02,
    use_cache: true,
    ...(config.numLabels !== undefined &&
      config.classifierHiddenSize !== undefined && { classifier_hidden_size: config.classifierHiddenSize }),
    ...(config.pooling && { classifier_pooling: config.pooling }),
    ...family.write?.(config),
  }
}

function ropeJson({ ropeTheta, ropeScaling }: DecoderConfig): Record<string, unknown> {
  if (!ropeScaling) return { rope_theta: ropeTheta, rope_parameters: { rope_type: 'default', rope_theta: ropeTheta } }
  const { shortFactor, longFactor, originalMaxPositions, attentionFactor } = ropeScaling
  const scaling = {
    short_factor: shortFactor,
    long_factor: longFactor,
    ...(attentionFactor !== undefined && { attention_factor: attentionFactor }),
  }
  return {
    rope_theta: ropeTheta,
    original_max_position_embeddings: originalMaxPositions,
    rope_scaling: { type: 'longrope', ...scaling },
    rope_parameters: {
      rope_type: 'longrope',
      rope_theta: ropeTheta,
      original_max_position_embeddings: originalMaxPositions,
      ...scaling,
    },
  }
}
