import { readFile } from 'node:fs/promises'
import { z } from 'zod'
import { ConfigError, type ConfigProblem } from '../errors.js'
import type { DType, Shape } from '../tensor/tensor.js'

/** Shape and constants of a decoder of the Qwen2 family, whichever dialect of config.json they came from. */
export interface DecoderConfig {
  modelType: 'qwen2'
  hiddenSize: number
  layers: number
  heads: number
  /** Heads of keys and values; `heads` is a multiple of it. */
  kvHeads: number
  headDim: number
  intermediateSize: number
  vocabSize: number
  ropeTheta: number
  rmsNormEps: number
  /** Whether the head's weight is the embedding; the file then holds no `lm_head.weight`. */
  tieWordEmbeddings: boolean
  /** Per layer, how many tokens a query sees, itself included (null: all); null when no layer has a window. */
  slidingWindow: readonly (number | null)[] | null
  maxPositionEmbeddings: number
  /** False for bidirectional bodies (`is_causal: false`). Older embedding models lack the key: spread the config and set it. */
  causal: boolean
  /** Whether q, k and v have biases. */
  attentionBias: boolean
  /** Set for a sequence classifier: rows of `score.weight`. It has no language-model head. */
  numLabels?: number
  /**
   * Set for a classifier with an MLP head, gelu(x score.dense^T + bias) score^T: the size of its hidden layer. Ours alone (transformers' head
   * is linear), stored as `classifier_hidden_size`.
   */
  classifierHiddenSize?: number
  /** Names of the labels, by index. */
  id2label?: readonly string[]
  eosTokenId: number | readonly number[] | null
  bosTokenId: number | null
  padTokenId: number | null
  /** What the weights are stored in; float16 and float64 files are read as float32. */
  dtype: Exclude<DType, 'int32'>
}

// Limits far above any model: what is beyond them is a damaged or hostile file, not a large one.
const size = (max: number) => z.int().min(1).max(max)
const tokenId = z.int().min(-1).nullish()

const rope = z.looseObject({
  rope_type: z.string().optional(),
  type: z.string().optional(),
  rope_theta: z.number().positive().max(1e12).optional(),
})

const schema = z.looseObject({
  model_type: z.literal('qwen2'),
  architectures: z.array(z.string()).nullish(),
  hidden_size: size(2 ** 17),
  num_hidden_layers: size(2048),
  num_attention_heads: size(4096),
  num_key_value_heads: size(4096).nullish(),
  head_dim: size(4096).nullish(),
  intermediate_size: size(2 ** 20),
  vocab_size: size(2 ** 24),
  hidden_act: z.literal('silu').default('silu'),
  max_position_embeddings: size(2 ** 27).default(32768),
  rms_norm_eps: z.number().positive().max(0.1).default(1e-6),
  rope_theta: z.number().positive().max(1e12).optional(),
  rope_parameters: rope.nullish(),
  rope_scaling: rope.nullish(),
  tie_word_embeddings: z.boolean().default(false),
  use_sliding_window: z.boolean().default(false),
  sliding_window: size(2 ** 27).nullish(),
  max_window_layers: z.int().min(0).default(28),
  layer_types: z.array(z.enum(['full_attention', 'sliding_attention'])).nullish(),
  is_causal: z.boolean().default(true),
  num_labels: size(2 ** 20).nullish(),
  classifier_hidden_size: size(2 ** 17).nullish(),
  id2label: z.record(z.string(), z.string()).nullish(),
  eos_token_id: z.union([tokenId, z.array(z.int().min(0)).min(1)]),
  bos_token_id: tokenId,
  pad_token_id: tokenId,
  dtype: z.string().nullish(),
  torch_dtype: z.string().nullish(),
})

type RawConfig = z.output<typeof schema>

/**
 * Reads and checks a config.json.
 * @throws ConfigError naming the file and every key that is missing or wrong
 */
export async function readDecoderConfig(path: string): Promise<DecoderConfig> {
  let json: unknown
  try {
    json = JSON.parse(await readFile(path, 'utf8'))
  } catch (cause) {
    const reason = (cause as Error).message
    throw configError(
      path,
      [{ path: '', message: `cannot be read as JSON (${reason}); check the path or download it again` }],
      cause,
    )
  }
  return parseDecoderConfig(json, path)
}

/**
 * Checks the content of a config.json of the Qwen2 family, in the dialect of transformers 4 (`rope_theta`, `torch_dtype`) or 5
 * (`rope_parameters`, `dtype`, `layer_types`). Keys that do not change what the model computes are ignored.
 * @param file name for messages
 * @throws ConfigError naming every key that is missing or wrong
 */
export function parseDecoderConfig(json: unknown, file = 'config.json'): DecoderConfig {
  const parsed = schema.safeParse(json)
  if (!parsed.success)
    throw configError(
      file,
      parsed.error.issues.map(({ path, message }) => ({
        path: path.join('.'),
        message: explain(path.join('.'), message),
      })),
    )
  const raw = parsed.data
  const problems = inconsistencies(raw)
  if (problems.length > 0) throw configError(file, problems)
  const labels = labelsOf(raw)
  return {
    modelType: raw.model_type,
    hiddenSize: raw.hidden_size,
    layers: raw.num_hidden_layers,
    heads: raw.num_attention_heads,
    kvHeads: raw.num_key_value_heads ?? raw.num_attention_heads,
    headDim: headDimOf(raw),
    intermediateSize: raw.intermediate_size,
    vocabSize: raw.vocab_size,
    ropeTheta: raw.rope_parameters?.rope_theta ?? raw.rope_scaling?.rope_theta ?? raw.rope_theta ?? 10_000,
    rmsNormEps: raw.rms_norm_eps,
    tieWordEmbeddings: raw.tie_word_embeddings,
    slidingWindow: windowsOf(raw),
    maxPositionEmbeddings: raw.max_position_embeddings,
    causal: raw.is_causal,
    attentionBias: true,
    ...(labels && { numLabels: labels.length, id2label: labels }),
    ...(labels && raw.classifier_hidden_size != null && { classifierHiddenSize: raw.classifier_hidden_size }),
    eosTokenId: Array.isArray(raw.eos_token_id) ? raw.eos_token_id : idOf(raw.eos_token_id),
    bosTokenId: idOf(raw.bos_token_id),
    padTokenId: idOf(raw.pad_token_id),
    dtype: (raw.dtype ?? raw.torch_dtype) === 'bfloat16' ? 'bfloat16' : 'float32',
  }
}

function explain(key: string, message: string): string {
  if (key === 'model_type') return 'only "qwen2" is supported; use a model of the Qwen2 or Qwen2.5 family'
  if (message.endsWith('received undefined')) return 'is missing'
  return message
}

/** What no single key is wrong about. */
function inconsistencies(raw: RawConfig): ConfigProblem[] {
  const problems: ConfigProblem[] = []
  const wrong = (path: string, message: string) => problems.push({ path, message })
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
  for (const key of ['rope_parameters', 'rope_scaling'] as const) {
    const type = raw[key]?.rope_type ?? raw[key]?.type ?? 'default'
    if (type !== 'default')
      wrong(
        `${key}.rope_type`,
        `${JSON.stringify(type)} is not supported; remove the scaling to use the model up to its native length`,
      )
  }
  for (const key of ['eos_token_id', 'bos_token_id', 'pad_token_id'] as const)
    for (const id of [raw[key] ?? []].flat())
      if (id >= raw.vocab_size) wrong(key, `${id} is beyond vocab_size ${raw.vocab_size}`)
  const indices = raw.id2label && Object.keys(raw.id2label)
  if (
    indices &&
    (indices.length === 0 ||
      indices.some((k) => !(Number(k) < indices.length && String(Number(k)) === k && /^\d+$/.test(k))))
  )
    wrong('id2label', `the keys must be 0 to ${Math.max(indices.length - 1, 0)}`)
  if (indices && raw.num_labels != null && indices.length !== raw.num_labels)
    wrong('num_labels', `${raw.num_labels} labels, but id2label names ${indices.length}`)
  return problems
}

const headDimOf = (raw: RawConfig): number => raw.head_dim ?? raw.hidden_size / raw.num_attention_heads

/** Older files use -1 for "none". */
const idOf = (id: number | null | undefined): number | null => (id == null || id < 0 ? null : id)

function windowsOf(raw: RawConfig): (number | null)[] | null {
  const window = raw.use_sliding_window ? raw.sliding_window : null
  if (window == null) return null
  const slides = (i: number) =>
    raw.layer_types ? raw.layer_types[i] === 'sliding_attention' : i >= raw.max_window_layers
  const windows = Array.from({ length: raw.num_hidden_layers }, (_, i) => (slides(i) ? window : null))
  return windows.some((w) => w !== null) ? windows : null
}

/** Labels of a classifier by index; undefined for other models, even if their file carries a default `id2label`. */
function labelsOf(raw: RawConfig): string[] | undefined {
  const named = raw.id2label ? Object.keys(raw.id2label).length : undefined
  const count = named ?? raw.num_labels ?? undefined
  const classifier = raw.architectures?.length
    ? raw.architectures.some((a) => a.endsWith('ForSequenceClassification'))
    : count !== undefined
  if (!classifier) return undefined
  return Array.from({ length: count ?? 2 }, (_, i) => raw.id2label?.[i] ?? `LABEL_${i}`)
}

function configError(file: string, problems: ConfigProblem[], cause?: unknown): ConfigError {
  const list = problems.map(({ path, message }) => (path ? `${path}: ${message}` : message)).join('; ')
  const next = problems.every((p) => p.path === '') ? '' : '. Correct the file, or download it again'
  return new ConfigError('ERR_MODEL_CONFIG', `${file}: ${list}${next}`, file, problems, { cause })
}

/** Every tensor that a model of this config has, by its Hugging Face name, in the order of the forward pass. */
export function tensorShapes(config: DecoderConfig): Map<string, Shape> {
  const { hiddenSize: h, intermediateSize: f, heads, kvHeads, headDim, vocabSize } = config
  const shapes = new Map<string, Shape>([['model.embed_tokens.weight', [vocabSize, h]]])
  const rows = { q_proj: heads * headDim, k_proj: kvHeads * headDim, v_proj: kvHeads * headDim }
  for (let i = 0; i < config.layers; i++) {
    const p = `model.layers.${i}`
    shapes.set(`${p}.input_layernorm.weight`, [h])
    for (const [name, n] of Object.entries(rows)) {
      shapes.set(`${p}.self_attn.${name}.weight`, [n, h])
      if (config.attentionBias) shapes.set(`${p}.self_attn.${name}.bias`, [n])
    }
    shapes.set(`${p}.self_attn.o_proj.weight`, [h, heads * headDim])
    shapes.set(`${p}.post_attention_layernorm.weight`, [h])
    shapes.set(`${p}.mlp.gate_proj.weight`, [f, h])
    shapes.set(`${p}.mlp.up_proj.weight`, [f, h])
    shapes.set(`${p}.mlp.down_proj.weight`, [h, f])
  }
  shapes.set('model.norm.weight', [h])
  if (config.numLabels !== undefined) {
    const c = config.classifierHiddenSize
    if (c !== undefined) shapes.set('score.dense.weight', [c, h]).set('score.dense.bias', [c])
    shapes.set('score.weight', [config.numLabels, c ?? h])
  }
  if (config.numLabels === undefined && !config.tieWordEmbeddings) shapes.set('lm_head.weight', [vocabSize, h])
  return shapes
}

/** Number of parameters; a tied head counts once. */
export function parameterCount(config: DecoderConfig): number {
  let count = 0
  for (const shape of tensorShapes(config).values()) count += shape.reduce((n, d) => n * d, 1)
  return count
}

/** Ids that end a generation. */
export const eosTokenIds = ({ eosTokenId }: DecoderConfig): readonly number[] => [eosTokenId ?? []].flat()

/**
 * The content of a config.json that transformers 4 and 5, vLLM and llama.cpp's converter read: both dialects, saying the same.
 * @param extra further keys, such as `transformers_version`; they win
 */
export function configToJson(
  config: DecoderConfig,
  extra: Readonly<Record<string, unknown>> = {},
): Record<string, unknown> {
  const windows = config.slidingWindow
  const labels = config.numLabels === undefined ? undefined : labelNames(config, config.numLabels)
  return {
    architectures: [labels ? 'Qwen2ForSequenceClassification' : 'Qwen2ForCausalLM'],
    model_type: config.modelType,
    hidden_size: config.hiddenSize,
    num_hidden_layers: config.layers,
    num_attention_heads: config.heads,
    num_key_value_heads: config.kvHeads,
    head_dim: config.headDim,
    intermediate_size: config.intermediateSize,
    vocab_size: config.vocabSize,
    hidden_act: 'silu',
    max_position_embeddings: config.maxPositionEmbeddings,
    rms_norm_eps: config.rmsNormEps,
    rope_theta: config.ropeTheta,
    rope_parameters: { rope_type: 'default', rope_theta: config.ropeTheta },
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
    bos_token_id: config.bosTokenId,
    eos_token_id: config.eosTokenId,
    pad_token_id: config.padTokenId,
    ...(labels && {
      id2label: Object.fromEntries(labels.map((label, i) => [i, label])),
      ...(config.classifierHiddenSize !== undefined && { classifier_hidden_size: config.classifierHiddenSize }),
      label2id: Object.fromEntries(labels.map((label, i) => [label, i])),
    }),
    dtype: config.dtype,
    torch_dtype: config.dtype,
    ...extra,
  }
}

const labelNames = ({ id2label }: DecoderConfig, count: number): string[] =>
  Array.from({ length: count }, (_, i) => id2label?.[i] ?? `LABEL_${i}`)
