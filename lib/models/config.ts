import { z } from 'zod'
import { ConfigError, type ConfigProblem } from '../errors.js'
import type { DType } from '../tensor/tensor.js'

/** What a classifier reads of a sequence's states. */
export type Pooling = 'last' | 'mean' | 'cls'

/** How two towers meet: [u; v] through a hidden layer of `hiddenSize`, or u * v, element by element. */
export type TwoTowerHead = { interaction: 'concat'; hiddenSize: number } | { interaction: 'dot' }

/** What is said of every model, whichever family it is of and whichever dialect of config.json it came in. */
export interface ModelConfig {
  modelType: string
  hiddenSize: number
  layers: number
  heads: number
  /** Heads of keys and values; `heads` is a multiple of it. */
  kvHeads: number
  headDim: number
  intermediateSize: number
  vocabSize: number
  /**
   * Per layer, null where a query sees all; null when no layer has a window. Causal: how many tokens a query sees, itself included.
   * Bidirectional: how far away the farthest is.
   */
  slidingWindow: readonly (number | null)[] | null
  maxPositionEmbeddings: number
  /** False for bidirectional bodies. */
  causal: boolean
  /** Set for a sequence classifier: its classes. It has no language-model head. */
  numLabels?: number
  /** Names of the labels, by index. */
  id2label?: readonly string[]
  /** Set for a classifier of pairs, whose body encodes each text alone (twoTower.ts); the body then has no head of its own. */
  twoTower?: TwoTowerHead
  /** What stands for a sequence: the state of its last token, of its first, or the mean. Absent: as the family does. */
  pooling?: Pooling
  /** Divides a classifier's logits before they become probabilities; default 1. Fitted to held-out data (lib/eval/calibration.ts). */
  classifierTemperature?: number
  eosTokenId: number | readonly number[] | null
  bosTokenId: number | null
  padTokenId: number | null
  /** What the weights are stored in; float16 and float64 files are read as float32. */
  dtype: Exclude<DType, 'int32'>
}

// Limits far above any model: what is beyond them is a damaged or hostile file, not a large one.
export const size = (max: number) => z.int().min(1).max(max)
const tokenId = z.int().min(-1).nullish()

/** The keys that every family has. */
export const sharedKeys = {
  architectures: z.array(z.string()).nullish(),
  hidden_size: size(2 ** 17),
  num_hidden_layers: size(2048),
  num_attention_heads: size(4096),
  intermediate_size: size(2 ** 20),
  vocab_size: size(2 ** 24),
  num_labels: size(2 ** 20).nullish(),
  id2label: z.record(z.string(), z.string()).nullish(),
  two_tower: z
    .discriminatedUnion('interaction', [
      z.looseObject({ interaction: z.literal('concat'), hidden_size: size(2 ** 17) }),
      z.looseObject({ interaction: z.literal('dot') }),
    ])
    .nullish(),
  classifier_temperature: z.number().positive().max(1e3).nullish(),
  eos_token_id: z.union([tokenId, z.array(z.int().min(0)).min(1)]),
  bos_token_id: tokenId,
  pad_token_id: tokenId,
  dtype: z.string().nullish(),
  torch_dtype: z.string().nullish(),
}

export type SharedKeys = z.output<z.ZodObject<typeof sharedKeys>>

/** Says what no single key is wrong about. */
export type Complain = (path: string, message: string) => void

/**
 * Checks the content of a config.json against the keys of a family.
 * @param consistent what no single key is wrong about
 * @throws ConfigError naming every key that is missing or wrong
 */
export function parseKeys<S extends z.ZodType<SharedKeys>>(
  schema: S,
  json: unknown,
  file: string,
  consistent: (raw: z.output<S>, wrong: Complain) => void,
): z.output<S> {
  const parsed = schema.safeParse(json)
  if (!parsed.success)
    throw configError(
      file,
      parsed.error.issues.map(({ path, message }) => ({
        path: path.join('.'),
        message: message.endsWith('received undefined') ? 'is missing' : message,
      })),
    )
  const problems: ConfigProblem[] = []
  const wrong: Complain = (path, message) => problems.push({ path, message })
  consistent(parsed.data, wrong)
  checkTokenIds(parsed.data, wrong)
  checkLabels(parsed.data, wrong)
  if (problems.length > 0) throw configError(file, problems)
  return parsed.data
}

function checkTokenIds(raw: SharedKeys, wrong: Complain): void {
  for (const key of ['eos_token_id', 'bos_token_id', 'pad_token_id'] as const)
    for (const id of [raw[key] ?? []].flat())
      if (id >= raw.vocab_size) wrong(key, `${id} is beyond vocab_size ${raw.vocab_size}`)
}

function checkLabels(raw: SharedKeys, wrong: Complain): void {
  const indices = raw.id2label && Object.keys(raw.id2label)
  if (!indices) return
  const counted = indices.every((k) => Number(k) < indices.length && String(Number(k)) === k && /^\d+$/.test(k))
  if (indices.length === 0 || !counted) wrong('id2label', `the keys must be 0 to ${Math.max(indices.length - 1, 0)}`)
  if (raw.num_labels != null && indices.length !== raw.num_labels)
    wrong('num_labels', `${raw.num_labels} labels, but id2label names ${indices.length}`)
}

/** What the keys of every family say. */
export function sharedConfig(raw: SharedKeys) {
  const labels = labelsOf(raw)
  return {
    hiddenSize: raw.hidden_size,
    layers: raw.num_hidden_layers,
    heads: raw.num_attention_heads,
    intermediateSize: raw.intermediate_size,
    vocabSize: raw.vocab_size,
    ...(labels && { numLabels: labels.length, id2label: labels }),
    ...(raw.two_tower && { twoTower: twoTowerOf(raw.two_tower) }),
    ...(labels && raw.classifier_temperature != null && { classifierTemperature: raw.classifier_temperature }),
    eosTokenId: Array.isArray(raw.eos_token_id) ? raw.eos_token_id : idOf(raw.eos_token_id),
    bosTokenId: idOf(raw.bos_token_id),
    padTokenId: idOf(raw.pad_token_id),
    dtype: (raw.dtype ?? raw.torch_dtype) === 'bfloat16' ? ('bfloat16' as const) : ('float32' as const),
  }
}

function twoTowerOf(head: NonNullable<SharedKeys['two_tower']>): TwoTowerHead {
  return head.interaction === 'dot' ? { interaction: 'dot' } : { interaction: 'concat', hiddenSize: head.hidden_size }
}

/** Older files use -1 for "none". */
const idOf = (id: number | null | undefined): number | null => (id == null || id < 0 ? null : id)

/** Labels of a classifier by index; undefined for other models, even if their file carries a default `id2label`. */
function labelsOf(raw: SharedKeys): string[] | undefined {
  const named = raw.id2label ? Object.keys(raw.id2label).length : undefined
  const count = named ?? raw.num_labels ?? undefined
  const classifier = raw.two_tower
    ? true
    : raw.architectures?.length
      ? raw.architectures.some((a) => a.endsWith('ForSequenceClassification'))
      : count !== undefined
  if (!classifier) return undefined
  return Array.from({ length: count ?? 2 }, (_, i) => raw.id2label?.[i] ?? `LABEL_${i}`)
}

/** The keys of every family, as a config.json has them. */
export function sharedJson(config: ModelConfig): Record<string, unknown> {
  const { numLabels, twoTower, classifierTemperature } = config
  const labels =
    numLabels === undefined
      ? undefined
      : Array.from({ length: numLabels }, (_, i) => config.id2label?.[i] ?? `LABEL_${i}`)
  return {
    model_type: config.modelType,
    hidden_size: config.hiddenSize,
    num_hidden_layers: config.layers,
    num_attention_heads: config.heads,
    intermediate_size: config.intermediateSize,
    vocab_size: config.vocabSize,
    bos_token_id: config.bosTokenId,
    eos_token_id: config.eosTokenId,
    pad_token_id: config.padTokenId,
    ...(labels && {
      id2label: Object.fromEntries(labels.map((label, i) => [i, label])),
      label2id: Object.fromEntries(labels.map((label, i) => [label, i])),
    }),
    ...(classifierTemperature !== undefined && { classifier_temperature: classifierTemperature }),
    ...(twoTower && {
      two_tower: {
        interaction: twoTower.interaction,
        ...(twoTower.interaction === 'concat' && { hidden_size: twoTower.hiddenSize }),
      },
    }),
    dtype: config.dtype,
    torch_dtype: config.dtype,
  }
}

/** How the class names in `architectures` end. What holds two towers is a body to everybody else. */
export function taskSuffix(config: ModelConfig & { bare?: boolean }, languageModel: string): string {
  if (config.twoTower) return 'Model'
  if (config.numLabels !== undefined) return 'ForSequenceClassification'
  return config.bare ? 'Model' : languageModel
}

export function configError(file: string, problems: ConfigProblem[], cause?: unknown): ConfigError {
  const list = problems.map(({ path, message }) => (path ? `${path}: ${message}` : message)).join('; ')
  const next = problems.every((p) => p.path === '') ? '' : '. Correct the file, or download it again'
  return new ConfigError('ERR_MODEL_CONFIG', `${file}: ${list}${next}`, file, problems, { cause })
}

/** Ids that end a generation. */
export const eosTokenIds = ({ eosTokenId }: ModelConfig): readonly number[] => [eosTokenId ?? []].flat()
