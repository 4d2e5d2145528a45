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

/** Shape and constants of a ModernBERT. */
export interface ModernBertConfig extends ModelConfig {
  modelType: 'modernbert'
  causal: false
  /** Base of the rotations of layers that see the whole sequence. */
  globalRopeTheta: number
  /** Base of the rotations of layers with a window. */
  localRopeTheta: number
  /** Epsilon of all norms: `norm_eps`; files also hold a `layer_norm_eps` that nothing reads. */
  normEps: number
  /** What a classifier reads of a sequence. */
  pooling: 'mean' | 'cls'
  /** Set for a body alone: neither a masked-language-model head nor a classifier. */
  bare?: boolean
}

const theta = z.number().positive().max(1e12)
const rope = z.looseObject({ rope_type: z.literal('default').default('default'), rope_theta: theta.optional() })
/** Biases that the published models do without, and this one, too. */
const absent = z.literal(false).default(false)

const schema = z.looseObject({
  ...sharedKeys,
  max_position_embeddings: size(2 ** 27).default(8192),
  hidden_activation: z.literal('gelu').default('gelu'),
  classifier_activation: z.literal('gelu').default('gelu'),
  norm_eps: z.number().positive().max(0.1).default(1e-5),
  global_attn_every_n_layers: size(2048).default(3),
  local_attention: size(2 ** 27).default(128),
  layer_types: z.array(z.enum(['full_attention', 'sliding_attention'])).nullish(),
  global_rope_theta: theta.nullish(),
  local_rope_theta: theta.nullish(),
  rope_parameters: z.looseObject({ full_attention: rope.nullish(), sliding_attention: rope.nullish() }).nullish(),
  classifier_pooling: z.enum(['cls', 'mean']).default('cls'),
  attention_bias: absent,
  mlp_bias: absent,
  norm_bias: absent,
  classifier_bias: absent,
  decoder_bias: z.literal(true).default(true),
  tie_word_embeddings: z.literal(true).default(true),
})

type Raw = z.output<typeof schema>

/**
 * Checks the content of a ModernBERT's config.json, in the dialect of transformers 4 (`global_rope_theta`, `local_rope_theta`) or 5
 * (`rope_parameters`, `layer_types`).
 * @throws ConfigError naming every key that is missing or wrong
 */
export function parseModernBert(json: unknown, file: string): ModernBertConfig {
  const raw = parseKeys(schema, json, file, checkModernBert)
  const slides = (i: number) =>
    raw.layer_types ? raw.layer_types[i] === 'sliding_attention' : i % raw.global_attn_every_n_layers !== 0
  const { full_attention: full, sliding_attention: sliding } = raw.rope_parameters ?? {}
  const globalRopeTheta = full?.rope_theta ?? raw.global_rope_theta ?? 160_000
  const classifies = raw.architectures?.some((name) => name.endsWith('ForSequenceClassification'))
  const masked = raw.architectures?.some((name) => name.endsWith('ForMaskedLM'))
  return {
    modelType: 'modernbert',
    ...sharedConfig(raw),
    kvHeads: raw.num_attention_heads,
    headDim: raw.hidden_size / raw.num_attention_heads,
    slidingWindow: Array.from({ length: raw.num_hidden_layers }, (_, i) =>
      slides(i) ? Math.floor(raw.local_attention / 2) : null,
    ),
    maxPositionEmbeddings: raw.max_position_embeddings,
    causal: false,
    globalRopeTheta,
    localRopeTheta:
      sliding?.rope_theta ?? raw.local_rope_theta ?? (raw.local_rope_theta === null ? globalRopeTheta : 10_000),
    normEps: raw.norm_eps,
    pooling: raw.classifier_pooling,
    ...(!classifies && !masked && raw.architectures?.length && { bare: true }),
  }
}

function checkModernBert(raw: Raw, wrong: Complain): void {
  const { hidden_size: hidden, num_attention_heads: heads, layer_types: types, num_hidden_layers: layers } = raw
  if (hidden % (2 * heads) !== 0)
    wrong(
      'hidden_size',
      `${hidden} does not make even heads of num_attention_heads ${heads}; rotary embeddings need pairs`,
    )
  if (types != null && types.length !== layers)
    wrong('layer_types', `${types.length} entries for num_hidden_layers ${layers}`)
}

/** The content of its config.json: both dialects, saying the same. */
export function writeModernBert(config: ModernBertConfig): Record<string, unknown> {
  const windows = config.slidingWindow ?? []
  const window = windows.find((w) => w != null)
  const types = Array.from({ length: config.layers }, (_, i) =>
    windows[i] != null ? 'sliding_attention' : 'full_attention',
  )
  const second = types.indexOf('full_attention', 1)
  return {
    architectures: [`ModernBert${taskSuffix(config, 'ForMaskedLM')}`],
    ...sharedJson(config),
    max_position_embeddings: config.maxPositionEmbeddings,
    hidden_activation: 'gelu',
    norm_eps: config.normEps,
    global_attn_every_n_layers: second < 0 ? config.layers : second,
    local_attention: window == null ? 2 * config.maxPositionEmbeddings : 2 * window,
    layer_types: types,
    global_rope_theta: config.globalRopeTheta,
    local_rope_theta: config.localRopeTheta,
    rope_parameters: {
      full_attention: { rope_type: 'default', rope_theta: config.globalRopeTheta },
      sliding_attention: { rope_type: 'default', rope_theta: config.localRopeTheta },
    },
    classifier_pooling: config.pooling,
    classifier_activation: 'gelu',
    attention_bias: false,
    mlp_bias: false,
    norm_bias: false,
    classifier_bias: false,
    decoder_bias: true,
    tie_word_embeddings: true,
  }
}
